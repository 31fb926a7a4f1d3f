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
            target.replace(beside / "old")
        fresh.replace(target)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside `target`, gone when the block ends; what killed processes left of theirs goes with it.

    A living process holds a lock on its folder, so that one without can be told and removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.{_MARK}*"):
        _remove_if_left(left)
    try:
        beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.{_MARK}"))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error  # the hidden name would tell nobody anything
    lock = os.open(beside, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        os.close(lock)


def _remove_if_left(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:  # gone meanwhile, or another user's
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
    finally:
        os.close(lock)
