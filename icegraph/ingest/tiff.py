"""A TIFF's header and block table, checked against the file's size before any pixel is decoded.

GDAL opens a truncated TIFF without a word and fails, or gives zeros, only when the lost block is read; and a header of a few hundred
bytes can claim any number of pixels. Both are told here from the tags alone (TIFF 6.0, sections 2, 3 and 15; BigTIFF as libtiff
writes it). Only the tags that tell of shape and blocks are read:

    header → IFD → IFD → …       each IFD: ImageWidth 256, ImageLength 257, BitsPerSample 258, Compression 259, SamplesPerPixel 277,
                                 RowsPerStrip 278, StripOffsets 273, StripByteCounts 279, TileWidth 322 … TileByteCounts 325
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from icegraph.errors import PassError

SIDE_LIMIT = 65_535  # pixels; Sentinel-1 IW GRDH has at most about 27 000, EW 11 000
PIXEL_LIMIT = 4_000_000_000
TILE_LIMIT = 256 << 20  # bytes unpacked; GDAL holds a whole tile to read one pixel of it. Its writers make tiles of 512 × 512 pixels
_IFD_LIMIT = 64
_TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # BYTE, SHORT, LONG, LONG8: all that shapes and offsets come in
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MEND = "download or write the file again"


@dataclass(frozen=True)
class TiffHeader:
    """Shape of a TIFF's first image: rows, columns, bands, bits a sample."""

    height: int
    width: int
    bands: int
    bits: int


def check_tiff(path: Path) -> TiffHeader:
    """Check a TIFF file.

    Raises:
        PassError: Not a TIFF, a claim of too many pixels, or blocks beyond the file's end.
    """
    with path.open("rb") as stream:
        return check_tiff_stream(stream, path.stat().st_size, path)


def check_tiff_stream(stream: IO[bytes], size: int, subject: str | Path) -> TiffHeader:
    """Check a TIFF given as a seekable stream of `size` bytes. Raises as `check_tiff` does."""
    try:
        reader = _Reader(stream, size, subject)
        first, offset = None, reader.first
        seen: set[int] = set()
        while offset:
            if offset in seen or len(seen) >= _IFD_LIMIT:
                raise PassError(subject, "has a directory list without end", _MEND)
            seen.add(offset)
            tags, offset = reader.directory(offset)
            header = _check_directory(reader, tags)
            first = first or header
    except struct.error as error:
        raise PassError(subject, "is cut off within its TIFF directory", _MEND) from error
    if first is None:
        raise PassError(subject, "is a TIFF without an image", _MEND)
    return first


class _Reader:
    """Reads directories of a classic or Big TIFF of either byte order."""

    def __init__(self, stream: IO[bytes], size: int, subject: str | Path) -> None:
        self.stream, self.size, self.subject = stream, size, subject
        head = stream.read(8)
        orders: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
        self.order = orders.get(head[:2], "<")
        known = head[:2] in orders and len(head) == 8
        version = struct.unpack(self.order + "H", head[2:4])[0] if known else 0
        if version not in (42, 43):
            raise PassError(subject, "is not a TIFF (its first bytes are others)", "name a GeoTIFF")
        self.big = version == 43
        self.first = struct.unpack(self.order + "Q", stream.read(8))[0] if self.big else struct.unpack(self.order + "I", head[4:])[0]

    def directory(self, offset: int) -> tuple[dict[int, tuple[int, int, bytes]], int]:
        """Tag → (type, count, the field that holds its value or offset), and the next directory's offset."""
        word, count_format, entry = ("Q", "Q", 20) if self.big else ("I", "H", 12)
        count = self._unpack(offset, count_format)
        start = offset + struct.calcsize(self.order + count_format)
        table = self._bytes(start, count * entry)
        tags = {}
        for at in range(0, len(table), entry):
            tag, kind, number = struct.unpack_from(self.order + "HH" + word, table, at)
            tags[tag] = (kind, number, table[at + 4 + struct.calcsize(word) : at + entry])
        return tags, self._unpack(start + count * entry, word)

    def values(self, tag: tuple[int, int, bytes]) -> NDArray[np.uint64]:
        """The values of a tag of an integer type."""
        kind, count, field = tag
        if kind not in _TYPES:
            raise PassError(self.subject, f"has a tag of type {kind} where a whole number belongs", _MEND)
        length = count * _SIZES[kind]
        data = (
            field[:length]
            if length <= len(field)
            else self._bytes(struct.unpack(self.order + ("Q" if self.big else "I"), field)[0], length)
        )
        return np.frombuffer(data, np.dtype(_TYPES[kind]).newbyteorder(self.order)).astype(np.uint64)

    def one(self, tags: dict[int, tuple[int, int, bytes]], tag: int, default: int) -> int:
        """The first value of a tag; `default` where the tag is not there or holds none."""
        return int(self.values(tags[tag])[0]) if tag in tags and tags[tag][1] else default

    def _unpack(self, offset: int, code: str) -> int:
        return int(struct.unpack(self.order + code, self._bytes(offset, struct.calcsize(self.order + code)))[0])

    def _bytes(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise PassError(
                self.subject, f"is cut off: its directory reaches to byte {offset + length}, the file ends at {self.size}", _MEND
            )
        self.stream.seek(offset)
        return self.stream.read(length)


def _check_directory(reader: _Reader, tags: dict[int, tuple[int, int, bytes]]) -> TiffHeader:
    width, height = reader.one(tags, 256, 0), reader.one(tags, 257, 0)
    bands, bits = reader.one(tags, 277, 1), reader.one(tags, 258, 1)
    if not width or not height:
        raise PassError(reader.subject, "has a directory without an image size", _MEND)
    if max(width, height) > SIDE_LIMIT or width * height > PIXEL_LIMIT:
        raise PassError(
            reader.subject,
            f"claims {width} × {height} pixels, more than {SIDE_LIMIT} a side or {PIXEL_LIMIT} in all",
            "cut it into smaller files if that is true",
        )
    if bands > 256:
        raise PassError(reader.subject, f"claims {bands} bands, more than 256", "name a file with fewer")
    header = TiffHeader(height, width, bands, bits)
    _check_blocks(reader, tags, header, compressed=reader.one(tags, 259, 1) != 1, separate=reader.one(tags, 284, 1) == 2)
    return header


def _check_blocks(
    reader: _Reader, tags: dict[int, tuple[int, int, bytes]], header: TiffHeader, *, compressed: bool, separate: bool
) -> None:
    tiled = 322 in tags
    offset_tag, count_tag = (324, 325) if tiled else (273, 279)
    if offset_tag not in tags:
        raise PassError(reader.subject, "has no table of its blocks", _MEND)
    if tiled:
        across, down = reader.one(tags, 322, 0), reader.one(tags, 323, 0)
    else:
        across, down = header.width, min(reader.one(tags, 278, header.height), header.height)
    if not across or not down:
        raise PassError(reader.subject, "has blocks of no size", _MEND)
    planes = header.bands if separate else 1
    expected = -(-header.width // across) * -(-header.height // down) * planes
    samples = 1 if separate else header.bands
    plain = -(-across * samples * header.bits // 8) * (down if tiled else 1)
    if tiled and plain > TILE_LIMIT:
        raise PassError(reader.subject, f"has tiles of {plain} bytes unpacked, more than {TILE_LIMIT}", "write it again in smaller tiles")
    if tags[offset_tag][1] < expected:
        raise PassError(reader.subject, f"lists {tags[offset_tag][1]} blocks where its size needs {expected}", _MEND)
    offsets = reader.values(tags[offset_tag])
    counts = reader.values(tags[count_tag]) if count_tag in tags else np.full(len(offsets), plain, np.uint64)
    if len(counts) != len(offsets):
        raise PassError(reader.subject, f"lists {len(offsets)} blocks but {len(counts)} sizes", _MEND)
    if not compressed and np.any((counts < plain) & (counts > 0)):
        raise PassError(reader.subject, "has blocks smaller than their pixels need", _MEND)
    size = np.uint64(reader.size)
    # Compared one by one: a hostile sum of two 64-bit numbers would wrap round.
    lost = int(np.count_nonzero((offsets > size) | (counts > size) | (counts > size - np.minimum(offsets, size))))
    if lost:
        raise PassError(reader.subject, f"is cut off: {lost} of its {len(offsets)} blocks lie beyond its end at byte {reader.size}", _MEND)
