"""The errors a user can meet: each one sentence that names the thing, what is wrong with it, and the mend."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class IceGraphError(Exception):
    """An error whose text is meant for the user.

    Args:
        subject: The thing concerned, usually a path.
        problem: What was found, and what was expected.
        mend: What the user can do about it.
    """

    def __init__(self, subject: str | Path, problem: str, mend: str) -> None:
        super().__init__(f"{subject}: {problem}; {mend}.")
        self.subject = str(subject)
        self.problem = problem
        self.mend = mend


class PassError(IceGraphError):
    """A pass that cannot be used: truncated, incomplete, hostile, empty or of an unknown kind."""


class ModelError(IceGraphError):
    """A model that is missing, damaged or does not fit the scene."""


class InputError(IceGraphError):
    """Arguments or inputs that leave nothing useful to do."""


@contextmanager
def told() -> Iterator[None]:
    """End the process with one sentence, and no traceback, for what a user can meet: our errors, a full disk, an interruption."""
    try:
        yield
    except IceGraphError as error:
        _end(str(error), 1)
    except KeyboardInterrupt:
        _end("interrupted: nothing half-written is left; run the same command again.", 130)
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        _end(f"disk full while writing ({error}); free some space and run again." if full else f"{error}.", 1)


def _end(text: str, status: int) -> None:
    print(f"icegraph: {text}", file=sys.stderr, flush=True)
    raise SystemExit(status)
