"""Bounds where longitudes wrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box
from shapely.geometry import shape

from icegraph.bounds import lonlat_bounds, raster_bounds, split_outline


def test_bounds_across_180_degrees_have_west_above_east() -> None:
    assert lonlat_bounds([178, -179, 179.5], [70, 71, 72]) == (178, 70, -179, 72)


def test_a_raster_that_holds_the_pole_reaches_it() -> None:
    west, south, east, north = raster_bounds("EPSG:3413", -1e6, -1e6, 1e6, 1e6)
    assert (west, east, north) == (-180, 180, 90)
    assert 75 < south < 79
    assert raster_bounds("EPSG:3976", -1e6, -1e6, 1e6, 1e6)[1] == -90


def test_a_raster_beside_the_pole_does_not() -> None:
    west, south, east, north = raster_bounds("EPSG:3413", -831466.0, -2298010.0, -631466.0, -2098010.0)
    assert (west, south, east, north) == pytest.approx((-66.619, 67.71446, -60.36497, 69.97264), abs=1e-4)  # Baffin's STAC item


@given(st.floats(-180, 180), st.floats(0.1, 100), st.integers(2, 9))
def test_the_arc_holds_all_points_and_is_the_shortest(west: float, width: float, count: int) -> None:
    lon = (west + np.linspace(0, width, count) + 180) % 360 - 180
    found = lonlat_bounds(lon, np.full(count, 50.0))
    assert (found[2] - found[0]) % 360 == pytest.approx(width, abs=1e-4)
    assert (found[0] - west + 180) % 360 - 180 == pytest.approx(0, abs=1e-4)


def ring(west: float, east: float, south: float, north: float) -> tuple[np.ndarray, np.ndarray]:
    lon, lat = np.array([west, east, east, west, west]), np.array([south, south, north, north, south])
    return (lon + 180) % 360 - 180, lat


def test_an_outline_is_cut_at_180_degrees() -> None:
    cut = shape(split_outline(*ring(178, 183, 70, 72)))
    assert cut.equals(box(178, 70, 180, 72) | box(-180, 70, -177, 72))
    assert shape(split_outline(*ring(-20, 30, 70, 72))).equals(box(-20, 70, 30, 72))


@pytest.mark.parametrize("sign", [1, -1])
def test_an_outline_round_a_pole_holds_it(sign: int) -> None:
    lon = (np.arange(0, 361, 15) * sign + 100 + 180) % 360 - 180
    cap = shape(split_outline(lon, np.full(lon.shape, 80.0 * sign)))
    assert cap.equals(box(-180, min(80 * sign, 90 * sign), 180, max(80 * sign, 90 * sign)))
