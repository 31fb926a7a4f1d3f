"""From points to coarse cells."""

import numpy as np
import pytest
from affine import Affine

from icegraph.fuse.points import Points
from icegraph.fuse.resample import CoarseGrid
from icegraph.grid import Grid

GRID = Grid("EPSG:3413", Affine(100, 0, 300_000, 0, -100, -900_000), 333, 287)
COARSE = CoarseGrid.over(GRID)


def plane(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    return 200 + 0.05 * row - 0.03 * col


def test_cells_lie_on_the_grid_one_ring_wider() -> None:
    assert COARSE.step == 20
    assert COARSE.lon.shape == (17 + 2, 15 + 2)
    lon, lat = GRID.lonlat(*GRID.xy(np.array(9.5), np.array(9.5)))  # the middle of the first 20 × 20 pixels
    assert (COARSE.lon[1, 1], COARSE.lat[1, 1]) == (pytest.approx(lon), pytest.approx(lat))


def test_swath_points_of_a_smooth_field_come_back_on_the_cells() -> None:
    col, row = np.meshgrid(np.arange(-300, 600, 50.0), np.arange(-300, 650, 50.0))  # 5 km apart
    lon, lat = GRID.lonlat(*GRID.xy(row.ravel(), col.ravel()))
    kelvin = plane(row.ravel(), col.ravel())
    cells = COARSE.resample(Points(lon, lat, np.stack([kelvin, kelvin + 10], axis=1), ("a", "b"), 2_500.0))
    r, c = np.mgrid[: COARSE.lon.shape[0], : COARSE.lon.shape[1]]
    truth = plane((r - 0.5) * 20 - 0.5, (c - 0.5) * 20 - 0.5)
    assert np.abs(cells["a"] - truth).max() < 0.5
    assert np.allclose(cells["b"] - cells["a"], 10)


def test_cells_far_from_any_point_are_nan() -> None:
    lon, lat = GRID.lonlat(*GRID.xy(np.array([0.0]), np.array([0.0])))
    cells = COARSE.resample(Points(lon, lat, np.full((1, 1), 200.0), ("a",), 2_000.0))["a"]
    assert np.isfinite(cells[0, 0])
    assert np.isnan(cells[-1, -1])
    elsewhere = Points(np.array([0.0]), np.array([-70.0]), np.full((1, 1), 200.0), ("a",), 2_000.0)
    assert np.isnan(COARSE.resample(elsewhere)["a"]).all()


def test_a_scene_across_the_date_line_is_reached() -> None:
    grid = Grid("EPSG:3413", Affine(100, 0, -1_560_000, 0, -100, 1_560_000), 300, 300)  # 135 + 45 = 180 degrees
    coarse = CoarseGrid.over(grid)
    assert coarse.lon.min() < -179 and coarse.lon.max() > 179
    col, row = np.meshgrid(np.arange(-100, 400, 50.0), np.arange(-100, 400, 50.0))
    lon, lat = grid.lonlat(*grid.xy(row.ravel(), col.ravel()))
    points = Points(lon, lat, np.full((lon.size, 1), 250.0), ("a",), 2_500.0)
    assert np.allclose(coarse.resample(points)["a"], 250.0)


def test_cells_agree_with_pyresamples_own_gaussian_mean_where_the_field_is_flat_enough() -> None:
    """An independent oracle: a weighted mean and a weighted plane agree where points lie evenly about a cell."""
    from pyresample.geometry import SwathDefinition
    from pyresample.kd_tree import resample_gauss

    col, row = np.meshgrid(np.arange(-200, 500, 25.0), np.arange(-200, 550, 25.0))  # 2.5 km apart
    lon, lat = GRID.lonlat(*GRID.xy(row.ravel(), col.ravel()))
    kelvin = 200 + 20 * np.sin(row.ravel() / 150) * np.cos(col.ravel() / 120)
    ours = COARSE.resample(Points(lon, lat, kelvin[:, None], ("a",), 2_500.0))["a"]
    # pyresample's sigma is that of exp(-d²/σ²), ours that of exp(-d²/2σ²)
    theirs = resample_gauss(
        SwathDefinition(lon, lat), kelvin, SwathDefinition(COARSE.lon, COARSE.lat), 7_500.0, 2_500.0 * np.sqrt(2), neighbours=64
    )
    inside = np.s_[2:-2, 2:-2]
    assert np.abs(ours - theirs)[inside].max() < 0.7
    assert np.abs(ours - theirs)[inside].mean() < 0.2
