import numpy as np
import pytest
import rasterio.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from icegraph.grid import NORTH, SOUTH, Grid, Window, polar_crs, tiles

sizes = st.integers(1, 300)


@settings(deadline=None)
@given(sizes, sizes, st.integers(8, 128))
def test_tiles_cover_every_pixel_once(height: int, width: int, size: int) -> None:
    seen = np.zeros((height, width), int)
    for window in tiles((height, width), size):
        assert max(window.shape) <= size
        seen[window.slices] += 1
    assert (seen == 1).all()


@settings(deadline=None)
@given(sizes, sizes, st.integers(8, 64), st.integers(0, 40))
def test_padded_window_gives_the_core_back(height: int, width: int, size: int, halo: int) -> None:
    pixels = np.arange(height * width).reshape(height, width)
    for window in tiles((height, width), size):
        outer = window.padded(halo, (height, width))
        assert (pixels[outer.slices][window.within(outer).slices] == pixels[window.slices]).all()
        assert outer.height <= window.height + 2 * halo


def test_pixel_positions_agree_with_rasterio() -> None:
    grid = Grid.covering(NORTH, np.array([1003.0, 8999.0]), np.array([-5001.0, 2100.0]), 40.0)
    row, col = np.array([0.0, 7.0, 30.0]), np.array([0.0, 11.0, 2.0])
    x, y = grid.xy(row, col)
    expected_x, expected_y = rasterio.transform.xy(grid.transform, row, col)
    assert x == pytest.approx(np.array(expected_x))
    assert y == pytest.approx(np.array(expected_y))
    back_row, back_col = grid.rowcol(x, y)
    assert back_row == pytest.approx(row)
    assert back_col == pytest.approx(col)


def test_grids_of_one_pixel_size_share_pixels() -> None:
    one = Grid.covering(NORTH, np.array([13.0, 900.0]), np.array([5.0, 800.0]), 40.0)
    other = Grid.covering(NORTH, np.array([777.0, 1500.0]), np.array([-33.0, 400.0]), 40.0)
    row, col = other.rowcol(*one.xy(np.array([3.0]), np.array([4.0])))
    assert row == pytest.approx(np.round(row))
    assert col == pytest.approx(np.round(col))
    left, bottom, right, top = one.bounds
    assert (left, bottom, right, top) == (0.0, 0.0, 920.0, 800.0)


def test_part_of_a_grid_lies_where_its_window_does() -> None:
    grid = Grid.covering(NORTH, np.array([0.0, 4000.0]), np.array([0.0, 4000.0]), 40.0)
    part = grid.part(Window(5, 9, 20, 30))
    assert np.array(part.xy(np.array([0.0]), np.array([0.0]))) == pytest.approx(np.array(grid.xy(np.array([5.0]), np.array([9.0]))))
    assert part.shape == (20, 30)


@pytest.mark.parametrize(("lat", "crs"), [(80.0, NORTH), (-70.0, SOUTH)])
def test_polar_grid_follows_the_hemisphere(lat: float, crs: str) -> None:
    assert polar_crs(np.array([lat])) == crs
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform([10.0], [lat])
    grid = Grid.covering(crs, np.array(x), np.array(y), 40.0)
    lon, back = grid.lonlat(np.array(x), np.array(y))
    assert lon == pytest.approx([10.0])
    assert back == pytest.approx([lat])
