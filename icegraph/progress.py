"""How long work tells a person where it stands: a callable that takes a sentence and the share done, 0 to 1."""

from collections.abc import Callable

Progress = Callable[[str, float], None]

_MARK = "icegraph-progress"


def silent(text: str, share: float) -> None:
    """Tell nobody."""


def print_progress(text: str, share: float) -> None:
    """Print a line that `parse_progress` reads: how a task of a pipeline talks to whoever follows its log."""
    print(f"{_MARK} {share:.3f} {text}", flush=True)


def parse_progress(line: str) -> tuple[str, float] | None:
    """The sentence and the share in a log line, or None where it holds none."""
    _, mark, rest = line.partition(f"{_MARK} ")
    share, _, text = rest.partition(" ")
    return (text.strip(), float(share)) if mark else None
