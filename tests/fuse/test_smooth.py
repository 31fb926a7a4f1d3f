"""A smooth band from its cells: what a reader sees of the file."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from rasterio.windows import Window as RasterioWindow

from icegraph.fuse.resample import CoarseGrid
from icegraph.fuse.smooth import SCALE, write_smooth
from icegraph.grid import Grid
from icegraph.scene import read_pixels

GRID = Grid("EPSG:3413", Affine(100, 0, 300_000, 0, -100, -900_000), 1333, 1287)
COARSE = CoarseGrid.over(GRID)
ROW, COL = ((np.arange(size) - 0.5) * COARSE.step - 0.5 for size in COARSE.lon.shape)  # pixels of the cells' middles


def written(path: Path, cells: np.ndarray, offset: float = 0.0, grid: Grid = GRID) -> Path:
    write_smooth(path, CoarseGrid.over(grid), cells, unit="K", offset=offset)
    return path


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 K + 0.03 K a row - 0.02 K a column."""
    return written(tmp_path_factory.mktemp("plane") / "tb.tif", 200 + 0.03 * ROW[:, None] - 0.02 * COL[None, :])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1300), st.integers(0, 1250), st.integers(1, 33), st.integers(1, 37))
def test_any_window_of_a_plane_is_that_plane(plane: Path, row: int, col: int, height: int, width: int) -> None:
    with rasterio.open(plane) as dataset:
        seen = read_pixels(dataset, window=RasterioWindow(col, row, width, height))
    rows, cols = np.mgrid[row : row + height, col : col + width]
    assert np.abs(seen - (200 + 0.03 * rows - 0.02 * cols)).max() < 1.5 * SCALE


def test_pixels_are_the_bilinear_mean_of_the_cells(tmp_path: Path) -> None:
    from scipy.ndimage import map_coordinates

    cells = np.random.default_rng(1).uniform(100, 300, COARSE.lon.shape)
    with rasterio.open(written(tmp_path / "tb.tif", cells)) as dataset:
        seen = read_pixels(dataset)
    place = [(np.arange(size) + 0.5) / COARSE.step + 0.5 for size in GRID.shape]
    expected = map_coordinates(cells, np.meshgrid(*place, indexing="ij"), order=1)
    assert np.abs(seen - expected).max() < 1.5 * SCALE


def test_the_file_is_a_cog_that_tells_its_unit_scale_and_place(plane: Path) -> None:
    with rasterio.open(plane) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (dataset.crs.to_epsg(), dataset.transform, dataset.shape) == (3413, GRID.transform, GRID.shape)
        assert (dataset.units, dataset.scales, dataset.dtypes) == (("K",), (SCALE,), ("uint16",))
        assert dataset.overviews(1) == [4]
        quarter = read_pixels(dataset, out_shape=(333, 321))
    rows, cols = np.mgrid[:333, :321]
    assert np.abs(quarter - (200 + 0.03 * (rows + 0.5) * 1333 / 333 - 0.02 * (cols + 0.5) * 1287 / 321)).max() < 0.15


def test_what_is_not_known_stays_so_and_what_is_reaches_to_it(tmp_path: Path) -> None:
    cells = np.full(COARSE.lon.shape, -7.25)
    cells[:, 33:] = np.nan  # from the 32nd cell of the scene on
    with rasterio.open(written(tmp_path / "age.tif", cells, offset=-320.0)) as dataset:
        seen = read_pixels(dataset)
    edge = 32 * COARSE.step
    np.testing.assert_allclose(seen[:, :edge], -7.25, atol=SCALE)
    assert np.isnan(seen[:, edge + COARSE.step :]).all()


def test_a_scene_of_one_cell_and_one_of_odd_size_are_written(tmp_path: Path) -> None:
    for height, width in ((1, 1), (7, 513), (20, 20)):
        grid = Grid(GRID.crs, GRID.transform, height, width)
        cells = np.full(CoarseGrid.over(grid).lon.shape, 211.0)
        with rasterio.open(written(tmp_path / "tb.tif", cells, grid=grid)) as dataset:
            np.testing.assert_allclose(read_pixels(dataset), np.full((height, width), 211.0), atol=SCALE)


def test_a_grid_that_has_no_number_is_kept(tmp_path: Path) -> None:
    wkt = CRS.from_proj4("+proj=laea +lat_0=90 +lon_0=12 +ellps=WGS84 +units=m").to_wkt()
    grid = Grid(wkt, Affine(100, 20, 300_000, 20, -100, -900_000), 60, 50)
    with rasterio.open(written(tmp_path / "tb.tif", np.full(CoarseGrid.over(grid).lon.shape, 211.0), grid=grid)) as dataset:
        there = Transformer.from_crs(CRS(dataset.crs), wkt, always_xy=True).transform(3e5, -9e5)
        assert there == pytest.approx((3e5, -9e5), abs=1e-3)
        assert dataset.transform.almost_equals(grid.transform)
