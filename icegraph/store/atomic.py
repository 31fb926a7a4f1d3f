"""Nothing half-written is ever visible: write beside, then rename."""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = "icegraph-"
_FORMER = f"{_MARK}former"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write a file to; it takes the target's place when the block ends without an error."""
    # The suffix is kept: GDAL and pyarrow read it. The folder is private, so that side files (.aux.xml) go with it.
    with folder_beside(target) as beside:
        path = beside / target.name
        yield path
        path.replace(target)


@contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` to fill; it takes the target's place, whole, when the block ends without an error."""
    with folder_beside(target) as beside:
        fresh = beside / "new"
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.replace(beside / _FORMER)
        fresh.replace(target)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside `target`, gone when the block ends; what killed processes left of theirs goes with it.

    A living process holds a lock on its folder, so that one without can be told and removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.{_MARK}*"):
        _remove_if_left(left, target)
    beside, lock = _locked_folder(target)
    try:
        yield beside
    finally:
        _remove(beside, target)
        os.close(lock)


def is_beside(name: str) -> bool:
    """Whether a folder's name is that of a hidden folder that something is written to first."""
    return name.startswith(".") and f".{_MARK}" in name


def remove_left(root: Path) -> None:
    """Remove all that killed processes left in hidden folders below `root`."""
    for parent, folders, _ in os.walk(root):
        for name in filter(is_beside, folders):
            _remove_if_left(Path(parent, name), Path(parent, name[1:].rpartition(f".{_MARK}")[0]))


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new hidden folder and the lock on it; another process may take one for left, and remove it, until it is locked: then try again."""
    while True:
        try:
            beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.{_MARK}"))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error  # the hidden name would tell nobody anything
        with suppress(FileNotFoundError):
            lock = os.open(beside, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if beside.exists():
                return beside, lock
            os.close(lock)


def _remove(folder: Path, target: Path) -> None:
    """Remove a hidden folder; a former target whose successor did not come to its place goes back there."""
    if not target.exists():
        with suppress(OSError):
            (folder / _FORMER).replace(target)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path, target: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:  # gone meanwhile, or another user's
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder, target)
    except OSError:
        return
    finally:
        os.close(lock)
