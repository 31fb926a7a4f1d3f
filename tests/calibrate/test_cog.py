"""The files that calibrate writes, read by GDAL."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from icegraph.calibrate.cog import CogWriter, blocks, halved
from icegraph.grid import Grid

GRID = Grid("EPSG:3976", Affine(40, 0, 1e6, 0, -40, 2e6), 2601, 1733)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    out = np.random.default_rng(0).normal(-20, 3, GRID.shape).astype(np.float32)
    out[:700, :900] = np.nan
    return out


def write(path: Path, grid: Grid, pixels: np.ndarray, unit: str = "") -> Path:
    with CogWriter(path, grid, str(pixels.dtype), unit=unit) as writer:
        for window in blocks(grid):
            writer.append(writer.encode(window, pixels[window.slices]))
    return path


def test_gdal_reads_what_was_written_where_it_lies(pixels: np.ndarray, tmp_path: Path) -> None:
    with rasterio.open(write(tmp_path / "a.tif", GRID, pixels, "dB")) as dataset:
        np.testing.assert_array_equal(dataset.read(1), pixels)
        assert (dataset.crs.to_epsg(), dataset.transform, dataset.units) == (3976, GRID.transform, ("dB",))
        assert np.isnan(dataset.nodata)
        assert dataset.tags(ns="IMAGE_STRUCTURE") == {"COMPRESSION": "ZSTD", "INTERLEAVE": "BAND", "LAYOUT": "COG", "PREDICTOR": "3"}
        assert dataset.block_shapes == [(512, 512)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_overviews_are_means_of_what_is_known(pixels: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GRID, pixels)
    expected = pixels.astype(np.float64)
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2, 4, 8]
    for level in range(3):
        height, width = expected.shape
        wide = np.full((height + height % 2, width + width % 2), np.nan)
        wide[:height, :width] = expected
        with np.errstate(invalid="ignore"):
            quads = np.stack([wide[::2, ::2], wide[1::2, ::2], wide[::2, 1::2], wide[1::2, 1::2]])
            expected = np.nansum(quads, axis=0) / np.isfinite(quads).sum(axis=0)
        with rasterio.open(path, overview_level=level) as dataset:
            np.testing.assert_allclose(dataset.read(1), expected, rtol=1e-5)


def test_directories_come_first_then_the_smallest_overview(pixels: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GRID, pixels)
    starts = []
    for level in (None, 0, 1, 2):
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
            starts.append(int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1)))
            if level is None:
                assert int(dataset.get_tag_item("IFD_OFFSET", "TIFF", bidx=1)) < 300
    assert starts == sorted(starts, reverse=True)
    assert 2000 < starts[-1] < 6000


@pytest.mark.parametrize("shape", [(1, 1), (512, 512), (513, 40), (1024, 1025), (2049, 1)])
def test_masks_of_any_size_come_back(shape: tuple[int, int], tmp_path: Path) -> None:
    grid = Grid("EPSG:3413", Affine(40, 0, 0, 0, -40, 0), *shape)
    mask = (np.random.default_rng(1).random(shape) > 0.5).astype(np.uint8)
    with rasterio.open(write(tmp_path / "m.tif", grid, mask)) as dataset:
        np.testing.assert_array_equal(dataset.read(1), mask)
        assert dataset.nodata is None
        assert len(dataset.overviews(1)) == max(0, int(np.ceil(np.log2(max(shape) / 512))))


def test_a_file_that_was_not_finished_is_not_there(pixels: np.ndarray, tmp_path: Path) -> None:
    def fails() -> None:
        with CogWriter(tmp_path / "a.tif", GRID, "float32") as writer:
            window = blocks(GRID)[0]
            writer.append(writer.encode(window, pixels[window.slices]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert list(tmp_path.iterdir()) == []


def test_half_of_an_odd_side_keeps_the_last_pixel() -> None:
    np.testing.assert_array_equal(halved(np.float32([[1, 3, 5], [5, 7, np.nan], [2, 4, 9]])), np.float32([[4, 5], [3, 9]]))
