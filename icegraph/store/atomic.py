"""Nothing half-written is ever visible: write beside, then rename."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write a file to; it takes the target's place when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: GDAL and pyarrow read it. The folder is private, so that side files (.aux.xml) go with it.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as beside:
        path = Path(beside) / target.name
        yield path
        path.replace(target)


@contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` to fill; it takes the target's place, whole, when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        fresh = beside / "new"
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.replace(beside / "old")
        fresh.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
