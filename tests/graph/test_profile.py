import numpy as np
import pytest
from shapely import affinity
from shapely.geometry import Point, Polygon, box

from icegraph.graph.profile import RAYS, best_fit, profiles, turned

ANGLES = np.arange(RAYS) * 2 * np.pi / RAYS
PAIR = np.zeros((2, 1), np.int64)


def floe(seed):
    """A bumpy, stretched outline of about 30 pixels."""
    rng, angle = np.random.default_rng(seed), np.linspace(0, 2 * np.pi, 200, endpoint=False)
    radius = 15 + sum(rng.normal(0, 5 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 7))
    return Polygon(np.column_stack([radius * np.cos(angle), 0.8 * radius * np.sin(angle)]))


def told(*shapes):
    return profiles(np.array(shapes, dtype=object), 1.0)


def test_a_disk_and_a_square_have_their_closed_forms():
    disk, square = told(Point(7, -3).buffer(20, 200), box(100, 200, 140, 240))
    np.testing.assert_allclose(disk, 20, rtol=0.01)
    # Corners are cut through the middles of sides a pixel long.
    exact = 20 / np.maximum(np.abs(np.cos(ANGLES)), np.abs(np.sin(ANGLES)))
    np.testing.assert_allclose(square, exact, atol=0.75)
    np.testing.assert_allclose(
        np.delete(square, RAYS // 8 + np.arange(4) * RAYS // 4), np.delete(exact, RAYS // 8 + np.arange(4) * RAYS // 4), rtol=0.01
    )


def test_of_an_outline_that_rays_cross_more_than_once_the_area_is_kept():
    horseshoe = box(0, 0, 60, 60).difference(box(20, 20, 40, 70))
    assert np.pi * np.square(told(horseshoe)[0], dtype=float).mean() == pytest.approx(horseshoe.area, rel=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_fit_is_that_of_the_polygons_themselves(seed):
    one, other = floe(seed), affinity.translate(floe(seed + 100), 400, -50)
    fit, turn, _, plain = (float(x[0]) for x in best_fit(told(one), told(other), PAIR))
    centred = [affinity.translate(shape, *(-np.array(shape.centroid.coords[0]))) for shape in (one, other)]

    def overlap(degrees):
        spun = affinity.rotate(centred[0], degrees, origin=(0, 0))
        return spun.intersection(centred[1]).area / spun.union(centred[1]).area

    oracle = [overlap(degrees) for degrees in range(0, 360, 3)]
    assert fit == pytest.approx(max(oracle), abs=0.02)
    assert overlap(np.degrees(turn)) == pytest.approx(max(oracle), abs=0.03)
    assert plain == pytest.approx(oracle[0], abs=0.02)


@pytest.mark.parametrize("degrees", [0, 37, 123, 180, -91])
def test_a_turned_floe_fits_and_tells_its_turn(degrees):
    there = affinity.rotate(affinity.translate(floe(3), 1000, 2000), degrees)
    fit, turn, rest, _ = (float(x[0]) for x in best_fit(told(floe(3)), told(there), PAIR))
    assert fit > 0.94
    assert rest < 0.3
    off = (np.degrees(turn) - degrees + 180) % 360 - 180
    assert abs(off) < 2
    np.testing.assert_allclose(turned(told(floe(3)), np.array([np.radians(degrees)])), told(there), atol=0.5)


def test_a_mirror_image_is_another_floe():
    mirrored = affinity.scale(floe(3), -1, 1)
    assert best_fit(told(floe(3)), told(mirrored), PAIR)[0][0] < 0.93


def test_no_floes_have_no_profiles():
    assert told().shape == (0, RAYS)
