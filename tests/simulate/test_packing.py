"""Convex shapes against shapely."""

import numpy as np
import pytest
import shapely

from icegraph.simulate import packing


def shape(polygon: np.ndarray, angle: float, place: np.ndarray) -> shapely.Polygon:
    return shapely.Polygon(packing.rotated(polygon, angle) + place)


@pytest.mark.parametrize("roundness", [0, 1, 2])
def test_random_polygons_are_convex_and_of_the_size_asked_for(roundness: int) -> None:
    rng = np.random.default_rng(roundness)
    for diameter in (7.0, 300.0):
        polygon = packing.random_polygon(diameter, roundness, rng)
        outline = shapely.Polygon(polygon)
        assert outline.area == pytest.approx(np.pi / 4 * diameter**2)
        assert outline.convex_hull.area == pytest.approx(outline.area)
        assert packing.area(polygon) == pytest.approx(outline.area)
        assert np.allclose([outline.centroid.x, outline.centroid.y], 0, atol=1e-9 * diameter)


def test_a_clipped_polygon_is_its_intersection_with_the_half_plane() -> None:
    polygon = packing.random_polygon(10.0, 1, np.random.default_rng(1))
    normal = np.array([0.6, 0.8])
    along = np.array([-0.8, 0.6])
    corners = [1.5 * normal + 99 * along, 1.5 * normal - 99 * along, -99 * normal - 99 * along, -99 * normal + 99 * along]
    expected = shapely.Polygon(polygon).intersection(shapely.Polygon(corners))
    assert shapely.Polygon(packing.clip(polygon, normal, 1.5)).symmetric_difference(expected).area < 1e-9
    assert len(packing.clip(polygon, normal, -99.0)) == 0


def test_weathered_outlines_stay_inside() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        polygon = packing.random_polygon(20.0, 1, rng)
        assert shapely.Polygon(polygon).contains(shapely.Polygon(packing.weathered(polygon, 0.3, 0.4, rng)))


def test_what_is_found_separate_is_separate_and_depths_agree_with_the_distance() -> None:
    rng = np.random.default_rng(3)
    polygons = [packing.random_polygon(float(d), 1, rng) for d in rng.uniform(5, 30, 60)]
    angle, place = rng.uniform(0, 6.28, 60), rng.uniform(0, 120, (60, 2))
    shapes = [shape(*parts) for parts in zip(polygons, angle, place, strict=True)]
    reach = packing.supports(polygons, angle)
    pairs = packing.neighbours(place, reach.max(axis=1), 5.0)
    gap, _ = packing.separation(place, reach, pairs)
    distance = np.array([shapes[a].distance(shapes[b]) for a, b in pairs])
    assert (distance[gap > 0] > 0).all()
    assert (gap <= distance + 1e-9).all()
    assert np.median(np.abs(gap - distance)[gap > 0]) < 0.05


def test_overlapping_shapes_are_pushed_apart_and_the_heavier_moves_less() -> None:
    rng = np.random.default_rng(4)
    polygons = [packing.random_polygon(float(d), 1, rng) for d in (40.0, 8.0, 8.0, 8.0)]
    start = np.array([[0.0, 0], [18, 0], [0, -17], [-10, 15]])
    reach = packing.supports(polygons, np.zeros(4))
    weight = np.array([packing.area(p) for p in polygons])
    end = packing.push_apart(start, reach, weight, rounds=100, tolerance=0.01)
    shapes = [shape(p, 0.0, at) for p, at in zip(polygons, end, strict=True)]
    for a in range(4):
        for b in range(a):
            assert shapes[a].intersection(shapes[b]).area < 0.2
    moved = np.linalg.norm(end - start, axis=1)
    assert moved[0] < 0.3 * moved[1:].max()
    assert not packing.overlapping(end, reach, weight, 0.02).any()


def test_shapes_find_the_same_neighbours_as_a_plain_search() -> None:
    rng = np.random.default_rng(5)
    place, radius = rng.uniform(0, 100, (80, 2)), rng.uniform(1, 15, 80)
    plain = {(a, b) for a in range(80) for b in range(80) if a < b and np.hypot(*(place[a] - place[b])) < radius[a] + radius[b] + 2}
    assert {(min(a, b), max(a, b)) for a, b in packing.neighbours(place, radius, 2.0).tolist()} == plain
