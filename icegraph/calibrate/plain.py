"""A raster's pixels as a file of bare numbers, from which any thread reads any window.

A tile of the map needs a slanted part of the image. GDAL decodes whole lines for it, in one thread at a time, again and again; in a zip it
even starts from the beginning. An uncompressed TIFF is such a file already; all else is decoded once, from first to last line, into an
unnamed one, which is gone with its last reader, however that ends.
"""

import mmap
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from icegraph.grid import Window
from icegraph.ingest.pixels import open_raster

_STRIP_BYTES = 8 << 20  # decoded at a time
_SLAB_BYTES = 2 << 20  # mapped at a time


_Prepare = Callable[[NDArray[Any]], NDArray[Any]]


class PlainPixels:
    """One band of a raster.

    Args:
        place: What rasterio opens.
        band: Number of the band, from 1.
        scratch: On whose disk decoded pixels go; that of the system's temporary files by default.
        prepare: Changes each strip of lines before it is kept.

    Raises:
        PassError: It cannot be opened.
        OSError: There is no room.
    """

    def __init__(self, place: str | Path, band: int, scratch: Path | None = None, prepare: _Prepare | None = None) -> None:
        with open_raster(place) as dataset:
            self.shape = dataset.height, dataset.width
            self.dtype = np.dtype(dataset.dtypes[band - 1])
            first = None if prepare else _bare(dataset)
            # Open as long as this object lives.
            self._file: IO[bytes] = Path(place).open("rb") if first else tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115
            self._first = first or 0
            if first:
                return
            try:
                rows = max(1, _STRIP_BYTES // (dataset.width * self.dtype.itemsize))
                for row in range(0, dataset.height, rows):
                    strip = Window(row, 0, min(rows, dataset.height - row), dataset.width)
                    pixels = dataset.read(band, window=strip.rasterio())
                    self._append(prepare(pixels) if prepare else pixels)
            except OSError as error:
                self.close()
                if error.filename is None and error.errno is not None:
                    error.filename = str(scratch or tempfile.gettempdir())
                raise

    def _append(self, pixels: NDArray[Any]) -> None:
        self.dtype = pixels.dtype
        left = np.ascontiguousarray(pixels).data.cast("B")
        while left:
            left = left[self._file.write(left) :]

    def read(self, window: Window) -> NDArray[Any]:
        """The pixels of a window, [H, W]. In any thread."""
        out = np.empty(window.shape, self.dtype)
        line = self.shape[1] * self.dtype.itemsize
        # Mapped a few lines at a time, and only while they are copied: the file's pages do not count as this process's memory then.
        rows = max(1, _SLAB_BYTES // line)
        for row in range(0, window.height, rows):
            part = out[row : row + rows]
            start = self._first + (window.row + row) * line
            aligned = start % mmap.ALLOCATIONGRANULARITY
            with mmap.mmap(self._file.fileno(), len(part) * line + aligned, access=mmap.ACCESS_READ, offset=start - aligned) as mapped:
                pixels = np.frombuffer(mapped, self.dtype, part.shape[0] * self.shape[1], aligned).reshape(len(part), -1)
                part[:] = pixels[:, window.slices[1]]
                del pixels  # a map that is looked at cannot be closed
        return out

    def close(self) -> None:
        """Give the disk's room back."""
        self._file.close()


def _bare(dataset: rasterio.io.DatasetReader) -> int | None:
    """The byte of a TIFF where its pixels begin, line behind line as in an array; None where they lie otherwise."""
    height, width = dataset.block_shapes[0]
    plain = dataset.driver == "GTiff" and dataset.count == 1 and dataset.compression is None and width == dataset.width
    if not plain or not Path(dataset.name).is_file() or _order(Path(dataset.name)) != sys.byteorder:
        return None
    size = height * width * np.dtype(dataset.dtypes[0]).itemsize
    told = [dataset.get_tag_item(f"BLOCK_OFFSET_0_{strip}", "TIFF", bidx=1) for strip in range(-(-dataset.height // height))]
    first = int(told[0] or 0)
    return first if first and told == [str(first + number * size) for number in range(len(told))] else None


def _order(path: Path) -> str:
    with path.open("rb") as stream:
        return "little" if stream.read(2) == b"II" else "big"
