"""Cloud Optimized GeoTIFF, written tile by tile as tiles are made, by as many threads as make them.

GDAL's driver wants the whole raster in another file first, reads that twice, and compresses in one thread. Here a tile's overviews are
made with it, while its pixels are at hand:

    window of 2 × 2 tiles ──▶ 4 tiles ──halved──▶ 1 tile of overview 1 ──halved──▶ a quarter of a tile of overview 2 ── … ──▶ the last

Layout, after TIFF 6.0, BigTIFF, and OGC 21-026 "Cloud Optimized GeoTIFF", section 7: header, then all directories, full size first, then
the tiles of the overviews, smallest first, then those of full size. Tiles are ZSTD (compression 50000), floats with predictor 3 (Adobe
Photoshop TIFF Technical Note 3: differences of the bytes of a row, most significant bytes first).
"""

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from icegraph.compiled import compiled
from icegraph.grid import Grid, Window, tiles

TILE = 512
BLOCK = 2 * TILE  # windows are encoded by blocks of this side
_LEVEL = 1  # of ZSTD: level 9 makes files 5 % smaller, and takes ten times as long
_GHOST = (  # tells GDAL the layout, so that it needs fewer requests over a network: its COG driver's page, "Header ghost area"
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)
_NODATA, _METADATA = 42113, 42112
_SHORT, _LONG, _LONG8 = 3, 4, 16
_SIZES = {1: 1, 2: 1, _SHORT: 2, _LONG: 4, 12: 8, _LONG8: 8}

Pixels = NDArray[Any]
Tag = tuple[int, int, int, bytes]  # number, type, count, values


@dataclass(frozen=True)
class Encoded:
    """A block made ready to be written: its tiles, each (overview, row, column, bytes), and what further overviews are made of."""

    tiles: list[tuple[int, int, int, bytes]]
    rest: tuple[int, int, Pixels] | None


class CogWriter:
    """A raster of one band that is written by blocks. Use it in a `with` statement; the file is there when that ends without an error.

    Args:
        path: The file.
        grid: Its grid.
        dtype: `float32`, with NaN as nodata and means as overviews, or `uint8`, with every second pixel as overviews.
        unit: Of the values.
    """

    def __init__(self, path: Path, grid: Grid, dtype: str, *, unit: str = "") -> None:
        self._path, self._dtype = path, np.dtype(dtype)
        self._tags = _header_tags(grid, dtype, unit)
        self._shapes = [grid.shape]
        while max(self._shapes[-1]) > TILE:
            height, width = self._shapes[-1]
            self._shapes.append((-(-height // 2), -(-width // 2)))
        self._counts = [(-(-height // TILE), -(-width // TILE)) for height, width in self._shapes]
        self._places: list[dict[tuple[int, int], tuple[int, int]]] = [{} for _ in self._shapes]
        self._at: list[dict[tuple[int, int], int]] = [{} for _ in self._shapes]
        self._spools: list[IO[bytes]] = [tempfile.TemporaryFile(dir=path.parent, buffering=0) for _ in self._shapes]  # noqa: SIM115
        self._ends = [0 for _ in self._shapes]
        self._waiting: dict[tuple[int, int, int], tuple[Pixels, int]] = {}

    def encode(self, window: Window, pixels: Pixels) -> Encoded:
        """Compress one of `blocks(grid)`, [H, W], in any thread."""
        out = [
            (0, (window.row + part.row) // TILE, (window.col + part.col) // TILE, self._compress(pixels[part.slices]))
            for part in tiles(pixels.shape, TILE)
        ]
        if len(self._shapes) == 1:
            return Encoded(out, None)
        half, row, col = halved(pixels), window.row // BLOCK, window.col // BLOCK
        out.append((1, row, col, self._compress(half)))
        return Encoded(out, (row, col, halved(half)) if len(self._shapes) > 2 else None)

    def append(self, block: Encoded) -> None:
        """Write an encoded block. Blocks come one at a time, in the order of `blocks`: it is that of the bytes."""
        for level, row, col, data in block.tiles:
            self._keep(level, row, col, data)
        if block.rest:
            self._join(2, *block.rest)

    def _join(self, level: int, row: int, col: int, quarter: Pixels) -> None:
        """Put a quarter into its tile of an overview; a tile that has all of its quarters goes to the file, and halved to the next."""
        key = (level, row // 2, col // 2)
        shape = tuple(min(TILE, self._shapes[level][axis] - TILE * key[1 + axis]) for axis in (0, 1))
        tile, count = self._waiting.pop(key, (np.empty(shape, self._dtype), 0))
        top, left = TILE // 2 * (row % 2), TILE // 2 * (col % 2)
        tile[top : top + quarter.shape[0], left : left + quarter.shape[1]] = quarter
        below = [min(2, self._counts[level - 1][axis] - 2 * key[1 + axis]) for axis in (0, 1)]
        if count + 1 < below[0] * below[1]:
            self._waiting[key] = tile, count + 1
            return
        self._keep(level, key[1], key[2], self._compress(tile))
        if level + 1 < len(self._shapes):
            self._join(level + 1, key[1], key[2], halved(tile))

    def _compress(self, pixels: Pixels) -> bytes:
        if pixels.shape != (TILE, TILE):
            whole = np.full((TILE, TILE), np.nan if self._dtype.kind == "f" else 0, self._dtype)
            whole[: pixels.shape[0], : pixels.shape[1]] = pixels
            pixels = whole
        data: Pixels = np.ascontiguousarray(pixels)
        if self._dtype.kind == "f":
            data, plain = np.empty((TILE, TILE * 4), np.uint8), data
            _predict(plain, data)
        return bytes(pa.Codec("zstd", compression_level=_LEVEL).compress(data.data.cast("B"), asbytes=True))

    def _keep(self, level: int, row: int, col: int, data: bytes) -> None:
        """Put a tile into its overview's own file: how far the directories reach is known only when all tiles are."""
        record = memoryview(struct.pack("<I", len(data)) + data + data[-4:])
        self._places[level][row, col] = self._ends[level], len(data)
        self._ends[level] += len(record)
        with self._named():
            while record:
                record = record[self._spools[level].write(record) :]

    def __enter__(self) -> "CogWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with self._named():
                    self._finish()
        finally:
            for spool in self._spools:
                spool.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """An unnamed file that cannot be written is of no help to anyone: tell the name that its bytes would get."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def _finish(self) -> None:
        size = len(self._directories())
        for level in reversed(range(len(self._shapes))):
            for place in sorted(self._places[level]):
                self._at[level][place] = size + 4
                size += 8 + self._places[level][place][1]
        with self._path.open("wb", buffering=0) as out:
            out.write(self._directories())
            for level in reversed(range(len(self._shapes))):
                for place in sorted(self._places[level]):
                    start, length = self._places[level][place]
                    done, end = start, start + length + 8
                    while done < end:
                        done += os.sendfile(out.fileno(), self._spools[level].fileno(), done, end - done)

    def _directories(self) -> bytes:
        """Header and directories, of the same length whether it is known yet where tiles lie or not."""
        ghost = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(_GHOST) + _GHOST
        out = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16 + len(ghost) + len(ghost) % 2) + ghost)
        out += b"\0" * (len(out) % 2)
        for level, ((height, width), (rows, columns)) in enumerate(zip(self._shapes, self._counts, strict=True)):
            places = [(row, col) for row in range(rows) for col in range(columns)]
            bits, kind = self._dtype.itemsize * 8, 3 if self._dtype.kind == "f" else 1
            tags = [
                _tag(254, _LONG, [1 if level else 0]),  # a reduced image
                _tag(256, _LONG, [width]),
                _tag(257, _LONG, [height]),
                _tag(258, _SHORT, [bits]),
                _tag(259, _SHORT, [50000]),
                _tag(262, _SHORT, [1]),  # black is zero
                _tag(277, _SHORT, [1]),
                _tag(284, _SHORT, [1]),
                *([_tag(317, _SHORT, [3])] if kind == 3 else []),
                _tag(322, _SHORT, [TILE]),
                _tag(323, _SHORT, [TILE]),
                _tag(324, _LONG8, [self._at[level].get(place, 0) for place in places]),
                _tag(325, _LONG, [self._places[level][place][1] for place in places]),
                _tag(339, _SHORT, [kind]),
                *(tag for tag in self._tags if level == 0 or tag[0] == _NODATA),
            ]
            _append_directory(out, sorted(tags), last=level + 1 == len(self._shapes))
        return bytes(out)


def blocks(grid: Grid) -> list[Window]:
    """The windows that `CogWriter` takes, in its order: the four that make a tile of an overview follow each other, at every level.

    So few tiles wait for their last quarter, however large the grid is.
    """

    def along_z(window: Window) -> int:
        row, col = window.row // BLOCK, window.col // BLOCK
        return sum(((row >> bit & 1) << 1 | col >> bit & 1) << 2 * bit for bit in range(16))

    return sorted(tiles(grid.shape, BLOCK), key=along_z)


def halved(pixels: Pixels) -> Pixels:
    """Half the size: of floats the mean of the known among 2 × 2 pixels, of whole numbers every second pixel."""
    if pixels.dtype.kind != "f":
        return pixels[::2, ::2]
    out = np.empty((-(-pixels.shape[0] // 2), -(-pixels.shape[1] // 2)), pixels.dtype)
    _halve(np.ascontiguousarray(pixels), out)
    return out


@compiled
def _halve(pixels: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    height, width = pixels.shape
    for i in range(out.shape[0]):
        upper, lower = pixels[2 * i], pixels[min(2 * i + 1, height - 1)]
        for j in range(out.shape[1]):
            left, right = 2 * j, min(2 * j + 1, width - 1)
            a, b, c, d = upper[left], upper[right], lower[left], lower[right]
            mean = ((a + b) + (c + d)) * np.float32(0.25)
            if mean != mean:
                total, count = np.float32(0), np.float32(0)
                for value in (a, b, c, d):
                    if value == value:
                        total += value
                        count += np.float32(1)
                mean = total / count  # NaN of none
            out[i, j] = mean


@compiled
def _predict(pixels: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
    height, width = pixels.shape
    line = np.empty(4 * width, np.uint8)
    for i in range(height):
        bits = pixels[i].view(np.uint32)
        for k in range(4):
            part = line[k * width : (k + 1) * width]
            shift = np.uint32(24 - 8 * k)
            for j in range(width):
                part[j] = np.uint8((bits[j] >> shift) & np.uint32(255))
        to, left, right = out[i, 1:], line[:-1], line[1:]
        out[i, 0] = line[0]
        for j in range(4 * width - 1):
            to[j] = right[j] - left[j]


def _header_tags(grid: Grid, dtype: str, unit: str) -> list[Tag]:
    """What GDAL writes of a raster's place, nodata and unit, taken from a raster of one pixel: any projection, and none by hand."""
    profile = {"driver": "GTiff", "height": 1, "width": 1, "count": 1, "dtype": dtype, "crs": grid.crs, "transform": grid.transform}
    with MemoryFile() as memory:
        with memory.open(**profile, nodata=float("nan") if dtype.startswith("float") else None, BIGTIFF="YES") as dataset:
            if unit:
                dataset.set_band_unit(1, unit)
        data = bytes(memory.getbuffer())
    (offset,) = struct.unpack_from("<Q", data, 8)
    (count,) = struct.unpack_from("<Q", data, offset)
    tags: list[Tag] = []
    for at in range(offset + 8, offset + 8 + 20 * count, 20):
        number, kind, values, place = struct.unpack_from("<HHQQ", data, at)
        if number in (*_GEO_TAGS, _NODATA, _METADATA):
            length = values * _SIZES[kind]
            start = at + 12 if length <= 8 else place
            tags.append((number, kind, values, data[start : start + length]))
    return tags


def _tag(number: int, kind: int, values: list[int]) -> Tag:
    code = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}[kind]
    return number, kind, len(values), struct.pack(f"<{len(values)}{code}", *values)


def _append_directory(out: bytearray, tags: list[Tag], *, last: bool) -> None:
    """A directory at the end of `out`, which is where the one before says it is, and behind it the values that do not fit into it."""
    behind = len(out) + 8 + 20 * len(tags) + 8
    table, values = struct.pack("<Q", len(tags)), b""
    for number, kind, count, data in tags:
        if len(data) <= 8:
            table += struct.pack("<HHQ8s", number, kind, count, data)
        else:
            table += struct.pack("<HHQQ", number, kind, count, behind + len(values))
            values += data + b"\0" * (-len(data) % 8)
    out += table + struct.pack("<Q", 0 if last else behind + len(values)) + values


__all__ = ["BLOCK", "TILE", "CogWriter", "Encoded", "blocks", "halved"]
