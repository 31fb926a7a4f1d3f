"""Floes that came out as one are cut where they meet."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.draw import disk, polygon
from skimage.measure import regionprops

from icegraph.grid import Window, tiles
from icegraph.segment.split import Hulls, cut


def discs(*places: tuple[int, int, int], shape: tuple[int, int] = (90, 120)) -> NDArray[np.bool_]:
    inside = np.zeros(shape, bool)
    for row, col, radius in places:
        inside[disk((row, col), radius, shape=shape)] = True
    return inside


def depth(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """As a network would give it that sees half of each crack."""
    return np.minimum(distance_transform_edt(inside), 8).astype(np.float32)


def test_two_floes_that_touch_are_cut_where_they_touch() -> None:
    inside = np.zeros((90, 120), bool)
    inside[10:30, 10:80] = inside[33:80, 50:75] = inside[30:33, 60:64] = True  # a bridge of four pixels
    parts = cut(inside, depth(inside))
    assert parts.max() == 2
    np.testing.assert_array_equal(parts > 0, inside)
    assert len(np.unique(parts[10:30, 10:80])) == len(np.unique(parts[33:80, 50:75])) == 1


def test_a_chain_falls_apart_into_its_floes() -> None:
    inside = discs((20, 20, 14), (43, 37, 15), (62, 61, 16), (40, 81, 14))
    assert cut(inside, depth(inside)).max() == 4


@pytest.mark.parametrize("shape", ["disc", "rectangle", "triangle", "notched"])
def test_one_floe_stays_one(shape: str) -> None:
    inside = np.zeros((90, 120), bool)
    if shape == "disc":
        inside = discs((45, 60, 30))
    elif shape == "triangle":
        inside[polygon([10, 80, 70], [20, 15, 100])] = True
    else:
        inside[20:70, 20:100] = True
        if shape == "notched":
            inside[20:32, 55:62] = False
    np.testing.assert_array_equal(cut(inside, depth(inside)), inside)


@pytest.mark.parametrize("side", [17, 64, 200])
def test_hulls_and_boxes_are_those_of_the_whole_floes(side: int) -> None:
    rng = np.random.default_rng(3)
    ids = np.zeros((150, 170), np.uint32)
    for name in range(1, 12):
        corners = rng.uniform(0, 1, (5, 2)) * 60 + rng.uniform(0, 90, 2)
        ids[polygon(*corners.T, shape=ids.shape)] = name
    hulls = Hulls(int(ids.max()) + 1)
    for window in tiles(ids.shape, side):
        hulls.add(window, ids[window.slices])
    area, box = hulls.measure()
    for floe in regionprops(ids.astype(int)):
        assert tuple(box[floe.label]) == (floe.bbox[0], floe.bbox[2], floe.bbox[1], floe.bbox[3])
        # The oracle counts the hull's pixels: it differs by those along its outline.
        assert abs(area[floe.label] - floe.area_convex) < 0.6 * floe.perimeter + 2
    assert area[0] == 0


def test_windows_without_floes_have_no_hulls() -> None:
    hulls = Hulls(3)
    hulls.add(Window(0, 0, 8, 8), np.zeros((8, 8), np.uint32))
    assert hulls.measure()[0].tolist() == [0, 0, 0]
