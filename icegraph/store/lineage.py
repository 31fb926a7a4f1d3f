"""What made an artifact: its parents by SHA-256 and the version of the code."""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from icegraph import __version__


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their names in sorted order, as 64 hexadecimal digits."""
    if path.is_dir():
        return folder_sha256({file.relative_to(path).as_posix(): sha256(file) for file in path.rglob("*") if file.is_file()})
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_sha256(files: Mapping[str, str]) -> str:
    """SHA-256 of a folder whose files, named with `/`, have these SHA-256."""
    digest = hashlib.sha256()
    for name in sorted(files, key=PurePosixPath):
        digest.update(f"{name}\0{files[name]}\n".encode())
    return digest.hexdigest()


@cache
def code_version() -> str:
    """The release and the commit: of a git checkout, with `+dirty` where files differ from it; in an image, what ICEGRAPH_COMMIT says."""
    root = Path(__file__).parents[2]
    if commit := os.environ.get("ICEGRAPH_COMMIT"):
        return f"{__version__} ({commit})"
    if not (root / ".git").exists():
        return __version__
    git = subprocess.run(  # noqa: S603
        ["git", "-C", str(root), "describe", "--always", "--dirty=+dirty", "--abbrev=12"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{__version__} ({git.stdout.strip()})" if git.returncode == 0 else __version__


def lineage(parents: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """STAC properties that name the parents, each a (name, SHA-256), and the code that made the item."""
    return {
        "icegraph:parents": [{"name": name, "sha256": digest} for name, digest in parents],
        "processing:software": {"icegraph": code_version()},
    }
