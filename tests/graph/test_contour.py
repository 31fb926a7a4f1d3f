import numpy as np
import pytest
from affine import Affine
from rasterio import features
from skimage.draw import disk
from skimage.measure import perimeter_crofton

from icegraph.graph.contour import ORDERS, descriptors, length, middles


def outline(mask):
    (ring, _), *_ = features.shapes(mask.astype(np.uint8), mask=mask, connectivity=8, transform=Affine.identity())
    return middles(np.array(ring["coordinates"][0]), 1.0)


def blob(turn_deg=0.0, scale=1.0):
    """A lopsided star of about 60 pixels across, drawn at any turn."""
    row, col = np.mgrid[:240, :240] - 119.5
    angle, radius = np.arctan2(row, col) - np.radians(turn_deg), np.hypot(row, col)
    return radius < scale * 30 * (1 + 0.25 * np.cos(2 * angle) + 0.15 * np.cos(3 * angle + 1) + 0.08 * np.cos(5 * angle))


@pytest.mark.parametrize("radius", [8, 20, 60])
def test_length_of_a_disk_is_its_circumference(radius):
    mask = np.zeros((140, 140), bool)
    mask[disk((70, 70), radius + 0.5)] = True
    assert length(outline(mask)) == pytest.approx(2 * np.sqrt(np.pi * mask.sum()), rel=0.03)
    assert length(outline(mask)) == pytest.approx(perimeter_crofton(mask, 4), rel=0.05)


def test_length_of_a_rectangle_along_the_axes_is_five_percent_short():
    mask = np.zeros((100, 100), bool)
    mask[20:60, 10:90] = True
    # The four corners are cut by half a diagonal each, the rest is the mean factor for all directions.
    expected = (2 * (40 + 80) - 4 + 2 * np.sqrt(2)) * np.pi * (1 + np.sqrt(2)) / 8
    assert length(outline(mask)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_descriptors_are_the_same_after_a_quarter_turn(turn):
    np.testing.assert_allclose(descriptors(outline(np.rot90(blob(), turn))), descriptors(outline(blob())), atol=1e-12)


def test_descriptors_are_the_same_for_a_mirror_image_and_another_first_point():
    points = outline(blob())
    np.testing.assert_allclose(descriptors(np.roll(points, 17)), descriptors(points), atol=1e-12)
    np.testing.assert_allclose(descriptors(outline(blob()[::-1])), descriptors(points), atol=1e-12)


def test_descriptors_hardly_change_with_turn_and_size():
    reference = descriptors(outline(blob()))
    assert reference.max() > 0.1
    np.testing.assert_allclose(descriptors(outline(blob(37))), reference, atol=0.01)
    np.testing.assert_allclose(descriptors(outline(blob(37, scale=2))), reference, atol=0.01)


def test_descriptors_of_an_ellipse_follow_the_closed_form():
    # z = e^it + e e^-it; with s = t - (e/2) sin 2t + O(e²) the arc length: z = e^is + (3e/4) e^-is + (e/4) e^3is + O(e²).
    angle = np.linspace(0, 2 * np.pi, 721)[:-1]
    found = descriptors(1.1 * np.cos(angle) + 1j * 0.9 * np.sin(angle))
    assert found[ORDERS.index(-1)] == pytest.approx(0.075, rel=0.05)
    assert found[ORDERS.index(3)] == pytest.approx(0.025, rel=0.05)
    assert found[ORDERS.index(2)] == pytest.approx(0, abs=1e-9)
    circle = descriptors(np.exp(1j * angle))
    np.testing.assert_allclose(circle, 0, atol=1e-5)
