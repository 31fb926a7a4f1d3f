"""A TIFF is judged by its tags and its length alone."""

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from icegraph.errors import PassError
from icegraph.ingest.tiff import TiffHeader, check_tiff, check_tiff_stream

LAYOUTS = [
    {},
    {"tiled": True, "blockxsize": 32, "blockysize": 16},
    {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16},
    {"BIGTIFF": "YES"},
    {"ENDIANNESS": "BIG"},
    {"interleave": "band"},
    {"driver": "COG", "compress": "zstd"},
]


def write(path: Path, **layout: object) -> Path:
    pixels = np.random.default_rng(1).integers(0, 60_000, (2, 70, 90)).astype(np.uint16)
    profile = {"driver": "GTiff", "count": 2, "height": 70, "width": 90, "dtype": "uint16"} | layout
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_whole_files_of_every_layout_pass_and_tell_their_shape(tmp_path: Path, layout: dict[str, object]) -> None:
    assert check_tiff(write(tmp_path / "whole.tif", **layout)) == TiffHeader(70, 90, 2, 16)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9])
def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path, layout: dict[str, object], share: float) -> None:
    path = write(tmp_path / "cut.tif", **layout)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(PassError, match=r"cut\.tif: .*(cut off|not a TIFF)"):
        check_tiff(path)


def classic(width: int, height: int, *, offset: int = 8) -> bytes:
    """A classic TIFF of a header and one directory whose only strip starts at `offset`."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (277, 1), (278, height), (273, offset), (279, min(width * height, 2**32 - 1))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def test_a_header_that_claims_a_million_by_a_million_pixels_is_refused_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    path.write_bytes(classic(1_000_000, 1_000_000))
    with pytest.raises(PassError, match=r"huge\.tif: claims 1000000 × 1000000 pixels, more than 65535"):
        check_tiff(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("change", ["no values", "another tag"])
def test_tiles_without_a_length_are_refused(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "lost.tif", tiled=True, blockxsize=32, blockysize=16)
    forget(path, 323, change)
    with pytest.raises(PassError, match=r"lost\.tif: has blocks of no size"):
        check_tiff(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_strips_without_a_length_are_as_long_as_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / "one.tif", blockysize=70)
    forget(path, 278, "no values")
    assert check_tiff(path) == TiffHeader(70, 90, 2, 16)


def forget(path: Path, tag: int, change: str) -> None:
    """Take the value of a tag away, or the tag."""
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", tag, 3, 1))
    if change == "no values":
        data[at + 4 : at + 8] = bytes(4)
    else:
        data[at : at + 2] = struct.pack("<H", 40_000)
    path.write_bytes(data)


def test_a_directory_list_that_goes_round_ends(tmp_path: Path) -> None:
    path = tmp_path / "round.tif"
    data = bytearray(classic(4, 4))
    data[-4:] = struct.pack("<I", 8)
    path.write_bytes(bytes(data) + bytes(16))
    with pytest.raises(PassError, match="without end"):
        check_tiff(path)


@given(st.binary(max_size=64), st.integers(0, 110))
@settings(max_examples=150, deadline=None)
def test_no_damage_leads_to_anything_but_a_refusal(patch: bytes, at: int) -> None:
    import io

    data = bytearray(classic(20, 20) + bytes(400))
    data[at : at + len(patch)] = patch
    try:
        check_tiff_stream(io.BytesIO(bytes(data)), len(data), "x.tif")
    except PassError as error:
        assert str(error).startswith("x.tif: ")
