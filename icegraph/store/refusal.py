"""A pass that a stage could not use: a folder that holds `refused.json` instead of a scene, so that the rest of the batch goes on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from icegraph.store.atomic import atomic_dir

_FILE = "refused.json"


@dataclass(frozen=True)
class Refusal:
    """Which file was refused, and why.

    Args:
        path: The file or folder, as the user named it.
        reason: One sentence.
    """

    path: str
    reason: str


def write_refusal(folder: Path, refusal: Refusal) -> None:
    """Make `folder` a refusal."""
    with atomic_dir(folder) as fresh:
        (fresh / _FILE).write_text(json.dumps(asdict(refusal), indent=1))


def read_refusal(folder: Path) -> Refusal | None:
    """The refusal that `folder` is, or None."""
    path = folder / _FILE
    return Refusal(**json.loads(path.read_text())) if path.exists() else None
