"""From swath points to coarse cells to windows."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from icegraph.fuse.amsr2 import Points
from icegraph.fuse.resample import CoarseGrid
from icegraph.grid import Grid, Window

GRID = Grid("EPSG:3413", Affine(100, 0, 300_000, 0, -100, -900_000), 333, 287)
COARSE = CoarseGrid.over(GRID)


def plane(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    return 200 + 0.05 * row - 0.03 * col


def test_cells_lie_on_the_grid_one_ring_wider() -> None:
    assert COARSE.step == 20
    assert COARSE.lon.shape == (17 + 2, 15 + 2)
    lon, lat = GRID.lonlat(*GRID.xy(np.array(9.5), np.array(9.5)))  # the middle of the first 20 × 20 pixels
    assert (COARSE.lon[1, 1], COARSE.lat[1, 1]) == (pytest.approx(lon), pytest.approx(lat))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 300), st.integers(0, 250), st.integers(1, 33), st.integers(1, 37))
def test_any_window_of_a_plane_is_that_plane(row: int, col: int, height: int, width: int) -> None:
    r, c = np.mgrid[: COARSE.lon.shape[0], : COARSE.lon.shape[1]]
    cells = plane((r - 0.5) * 20 - 0.5, (c - 0.5) * 20 - 0.5)
    rows, cols = np.mgrid[row : row + height, col : col + width]
    assert np.allclose(COARSE.window(cells, Window(row, col, height, width)), plane(rows, cols), atol=1e-3)


def test_swath_points_of_a_smooth_field_come_back_on_the_cells() -> None:
    col, row = np.meshgrid(np.arange(-300, 600, 50.0), np.arange(-300, 650, 50.0))  # 5 km apart
    lon, lat = GRID.lonlat(*GRID.xy(row.ravel(), col.ravel()))
    kelvin = plane(row.ravel(), col.ravel())
    points = Points(lon, lat, np.full(lon.shape, 5.0), np.stack([kelvin, kelvin + 10], axis=1), ["a", "b"])
    cells = COARSE.resample(points, radius_m=8_000, sigma_m=2_500)
    r, c = np.mgrid[: COARSE.lon.shape[0], : COARSE.lon.shape[1]]
    truth = plane((r - 0.5) * 20 - 0.5, (c - 0.5) * 20 - 0.5)
    assert np.abs(cells["a"] - truth).max() < 0.5
    assert np.allclose(cells["b"] - cells["a"], 10)
    assert COARSE.mean_time_s(points) == 5.0


def test_cells_far_from_any_point_are_nan() -> None:
    lon, lat = GRID.lonlat(*GRID.xy(np.array([0.0]), np.array([0.0])))
    cells = COARSE.resample(Points(lon, lat, np.zeros(1), np.full((1, 1), 200.0), ["a"]), radius_m=6_000, sigma_m=2_000)["a"]
    assert np.isfinite(cells[0, 0])
    assert np.isnan(cells[-1, -1])
    elsewhere = Points(np.array([0.0]), np.array([-70.0]), np.zeros(1), np.full((1, 1), 200.0), ["a"])
    assert np.isnan(COARSE.resample(elsewhere, 6_000, 2_000)["a"]).all()
    assert np.isnan(COARSE.mean_time_s(elsewhere))


def test_a_scene_across_the_date_line_is_reached() -> None:
    grid = Grid("EPSG:3413", Affine(100, 0, -1_560_000, 0, -100, 1_560_000), 300, 300)  # 135 + 45 = 180 degrees
    coarse = CoarseGrid.over(grid)
    assert coarse.lon.min() < -179 and coarse.lon.max() > 179
    col, row = np.meshgrid(np.arange(-100, 400, 50.0), np.arange(-100, 400, 50.0))
    lon, lat = grid.lonlat(*grid.xy(row.ravel(), col.ravel()))
    points = Points(lon, lat, np.zeros(lon.shape), np.full((lon.size, 1), 250.0), ["a"])
    assert np.allclose(coarse.resample(points, 8_000, 2_500)["a"], 250.0)
