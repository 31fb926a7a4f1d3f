"""From maps to floes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label, maximum_filter
from skimage.segmentation import watershed

from icegraph.grid import Window, tiles
from icegraph.segment import predict
from icegraph.segment.instances import HALO, fill_holes, find_floes, marker_pixels
from icegraph.segment.model import FloeRule

RULE = FloeRule(probability=0.5, marker_px=2.0, min_area_px=20)
Maps = tuple[NDArray[np.float32], NDArray[np.float32]]


class InMemory:
    """A raster that remembers the largest window it was asked for."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.pixels = np.zeros(shape, np.uint32)

    def write(self, window: Window, pixels: NDArray[np.uint32]) -> None:
        self.pixels[window.slices] = pixels

    def read(self, window: Window) -> NDArray[np.uint32]:
        return self.pixels[window.slices]


def floes_by_windows(maps: Maps, size: int, rule: FloeRule = RULE, brightness: NDArray[np.float32] | None = None) -> NDArray[np.uint32]:
    """Outline floes in windows of `size`; the maps are never read beyond a window and its halo."""
    shape = maps[0].shape
    brightness = np.full(shape, np.nan, np.float32) if brightness is None else brightness
    asked = []

    def read(window: Window) -> Maps:
        asked.append(window)
        return maps[0][window.slices], maps[1][window.slices]

    def bright(window: Window) -> NDArray[np.float32]:
        asked.append(window)
        return brightness[window.slices]

    floes = find_floes(read, bright, shape, rule, InMemory(shape), InMemory(shape), size)
    assert max(max(window.shape) for window in asked) <= size + 2 * HALO
    out = np.zeros(shape, np.uint32)
    for window in tiles(shape, size):
        out[window.slices] = floes.read(window)
    return out


def outline(probability: NDArray[np.float32], distance: NDArray[np.float32], rule: FloeRule) -> NDArray[np.uint32]:
    untold = np.full_like(distance, np.nan)
    return predict.outline(np.stack([1 - probability, 0 * probability, probability, distance, untold]), rule).labels


def random_ice(seed: int, shape: tuple[int, int] = (64, 450)) -> Maps:
    """Polygons of a Voronoi diagram, cracked apart, some missing."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (110, 2)) * shape
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    reach = np.sqrt((rows[..., None] - points[:, 0]) ** 2 + (cols[..., None] - points[:, 1]) ** 2)
    near = np.sort(reach, axis=-1)
    inside = (near[..., 1] - near[..., 0] > 1.5) & (rng.random(110)[reach.argmin(-1)] < 0.8)
    distance = np.minimum(distance_transform_edt(inside), 8) + rng.normal(0, 0.1, shape)
    return np.where(inside, 0.9, 0.1).astype(np.float32), distance.astype(np.float32)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(70, 160))
def test_floes_do_not_depend_on_the_windows(seed: int, size: int) -> None:
    maps = random_ice(seed)
    np.testing.assert_array_equal(floes_by_windows(maps, size), floes_by_windows(maps, 1024))


@pytest.mark.parametrize("seam", [40, 64, 1024])
def test_what_fills_little_of_its_convex_hull_is_no_floe(seam: int) -> None:
    """A square fills its hull, an L of arms as long as 4 widths fills 7 of 11.5 parts of it, a disc nearly all."""
    inside = np.zeros((160, 160), bool)
    inside[10:40, 10:40] = inside[60:140, 10:30] = inside[120:140, 10:90] = True
    rows, cols = np.ogrid[:160, :160]
    inside |= (rows - 50) ** 2 + (cols - 110) ** 2 < 30**2
    maps = inside.astype(np.float32), np.minimum(distance_transform_edt(inside), 8).astype(np.float32)
    for least, count in ((0.55, 3), (0.65, 2), (0.97, 2)):
        floes = floes_by_windows(maps, seam, RULE.model_copy(update={"min_solidity": least}))
        assert floes.max() == count, least
    np.testing.assert_array_equal(floes > 0, inside & (label(inside)[0] != label(inside)[0][100, 20]))


@pytest.mark.parametrize("seam", [40, 64, 1024])
def test_ice_along_land_or_cloud_is_no_floe(seam: int) -> None:
    """Fast ice has a side on land; a floe may touch it, and may be cut by the edge of the scene."""
    inside = np.zeros((120, 120), bool)
    inside[20:60, 20:50] = inside[70:110, 20:60] = inside[0:30, 80:110] = True
    seen = np.ones_like(inside)
    seen[:, :20] = False  # a quarter of the first square's rim, as of the second's
    seen[70:110, :20] = seen[75:110, :20] = True
    seen[70:75, :20] = False
    maps = np.where(seen, inside, np.nan).astype(np.float32), np.minimum(distance_transform_edt(inside & seen), 8).astype(np.float32)
    floes = floes_by_windows(maps, seam)
    assert not floes[20:60, 20:50].any()
    assert len(np.unique(floes)) == 3
    assert floes[90, 40] > 0
    assert floes[10, 90] > 0


@pytest.mark.parametrize("seam", [40, 64, 1024])
def test_a_large_floe_ends_where_floe_is_as_likely_as_not_and_a_small_one_goes_on(seam: int) -> None:
    rows, cols = np.ogrid[:120, :120]
    large, small = np.hypot(rows - 62, cols - 62), np.hypot(rows - 20, cols - 40)
    inside, sure = (large < 21) | (small < 4), (large < 19) | (small < 3)
    probability = np.select([sure, inside], [0.9, 0.4], 0.1).astype(np.float32)
    maps = probability, np.minimum(distance_transform_edt(sure), 8).astype(np.float32)
    rule = FloeRule(probability=0.3, edge=0.45, marker_px=1.9)
    floes = floes_by_windows(maps, seam, rule)
    np.testing.assert_array_equal(floes > 0, (large < 19) | (small < 4))
    np.testing.assert_array_equal(floes_by_windows(maps, seam, rule.model_copy(update={"edge": 0.3})) > 0, inside)


@pytest.mark.parametrize("seam", [50, 75, 80, 90])
def test_a_floe_on_a_seam_is_one_floe(seam: int) -> None:
    rows, cols = np.ogrid[:160, :160]
    inside = (rows - 75) ** 2 + (cols - 80) ** 2 < 50**2
    distance = np.minimum(distance_transform_edt(inside), 8).astype(np.float32)
    floes = floes_by_windows((inside.astype(np.float32), distance), seam)
    assert floes.max() == 1
    np.testing.assert_array_equal(floes > 0, inside)


def test_floes_agree_with_a_watershed_of_the_whole_scene() -> None:
    probability, distance = random_ice(7)
    inside = probability > RULE.probability
    markers, _ = label(inside & (distance > RULE.marker_px))
    whole = watershed(-distance, markers, mask=inside)
    mine = floes_by_windows((probability, distance), 64)
    for floe in np.unique(whole[whole > 0]):
        region = whole == floe
        if region.sum() < 40:
            continue
        best = np.bincount(mine[region]).argmax()
        iou = (region & (mine == best)).sum() / (region | (mine == best)).sum()
        assert best > 0
        assert iou > 0.97


def test_floes_begin_where_they_are_deep_or_deepest_around() -> None:
    rng = np.random.default_rng(0)
    probability, distance = rng.random((60, 90), np.float32), rng.uniform(0, 2.02, (60, 90)).astype(np.float32)
    depth = np.where(probability > RULE.probability, distance, 0)
    peaks = (depth >= maximum_filter(depth, 7, mode="constant")) & (depth > 1.1)
    assert (peaks & (depth <= RULE.marker_px)).any()
    np.testing.assert_array_equal(marker_pixels(probability, distance, RULE), (depth > RULE.marker_px) | peaks)


def test_touching_discs_with_a_crack_in_the_distance_become_two() -> None:
    rows, cols = np.ogrid[:40, :80]
    left, right = (rows - 20) ** 2 + (cols - 25) ** 2 < 15**2, (rows - 20) ** 2 + (cols - 54) ** 2 < 15.5**2
    floes = np.where(left, 1, 0) + np.where(right & ~left, 2, 0)
    # The classes see one piece of ice; only the distance, to each disc's own boundary, sees the crack.
    distance = np.maximum(distance_transform_edt(floes == 1), distance_transform_edt(floes == 2)).astype(np.float32)
    found = outline((floes > 0).astype(np.float32), np.minimum(distance, 8), RULE)
    assert found.max() == 2
    assert label(found > 0)[1] == 1
    for disc in (floes == 1, floes == 2):
        number = found[disc].max()
        assert (disc & (found == number)).sum() / (disc | (found == number)).sum() > 0.98


def test_a_floe_too_small_for_a_deep_marker_is_found() -> None:
    inside = np.zeros((20, 20), bool)
    inside[8:13, 8:13] = True
    distance = np.minimum(distance_transform_edt(inside), 8).astype(np.float32) * 0.6
    found = outline(inside.astype(np.float32), distance, RULE)
    np.testing.assert_array_equal(found > 0, inside)


def test_small_pieces_are_dropped_and_ids_are_dense() -> None:
    inside = np.zeros((40, 60), bool)
    inside[2:12, 2:12] = inside[2:12, 40:52] = inside[25:37, 20:40] = True
    inside[30:34, 50:54] = True
    distance = distance_transform_edt(inside).astype(np.float32)
    found = outline(inside.astype(np.float32), distance, RULE)
    assert np.unique(found).tolist() == [0, 1, 2, 3]
    assert not found[30:34, 50:54].any()
    first = [np.flatnonzero(found == number)[0] for number in (1, 2, 3)]
    assert first == sorted(first)


def test_invalid_pixels_are_never_floe() -> None:
    inside = np.ones((60, 60), bool)
    probability, distance = inside.astype(np.float32), np.full(inside.shape, 8, np.float32)
    probability[20:23, 20:23] = distance[20:23, 20:23] = np.nan
    found = outline(probability, distance, RULE)
    assert found.max() == 1
    np.testing.assert_array_equal(found == 0, np.isnan(probability))


def test_ponds_and_doubtful_holes_are_filled_and_leads_are_not() -> None:
    ids = np.full((200, 200), 3, np.uint32)
    ids[0] = ids[-1] = ids[:, 0] = ids[:, -1] = 0
    probability = np.full(ids.shape, 0.9, np.float32)
    pond, doubtful, lead, invalid, vast = (
        np.s_[10:13, 10:13],
        np.s_[10:22, 40:60],
        np.s_[10:22, 80:100],
        np.s_[40:42, 40:42],
        np.s_[60:130, 60:130],
    )
    for hole, chance in ((pond, 0.0), (doubtful, 0.3), (lead, 0.01), (invalid, np.nan), (vast, 0.3)):
        ids[hole], probability[hole] = 0, chance
    filled = fill_holes(ids, probability)
    assert (filled[pond] == 3).all()
    assert (filled[doubtful] == 3).all()
    for kept in (lead, invalid, vast):
        np.testing.assert_array_equal(filled[kept], ids[kept])


def test_an_island_without_a_gap_is_part_of_its_floe_and_one_in_a_lead_is_not() -> None:
    ids = np.full((100, 100), 3, np.uint32)
    ids[0] = ids[-1] = ids[:, 0] = ids[:, -1] = 0
    ids[20:30, 20:30] = 5
    ids[60:80, 60:80] = 0
    ids[65:75, 65:75] = 7
    probability = np.where(ids > 0, 0.9, 0.02).astype(np.float32)
    filled = fill_holes(ids, probability)
    assert (filled[20:30, 20:30] == 3).all()
    np.testing.assert_array_equal(filled[60:80, 60:80], ids[60:80, 60:80])


def test_a_scene_without_ice_has_no_floes() -> None:
    nothing = np.zeros((30, 40), np.float32)
    assert outline(nothing, nothing, RULE).max() == 0


def test_floes_below_the_confidence_asked_for_are_dropped_and_the_others_stay_as_they_were():
    probability, distance = random_ice(3)
    probability = np.where(np.arange(450) < 225, np.minimum(probability, 0.7), probability).astype(np.float32)
    every, sure = (outline(probability, distance, RULE.model_copy(update={"min_confidence": least})) for least in (0.0, 0.8))
    areas = np.bincount(every.ravel())
    confidence = np.bincount(every.ravel(), probability.ravel()) / areas
    assert 0 < (confidence[1:] < 0.8).sum() < len(areas) - 1
    np.testing.assert_array_equal(sure > 0, (every > 0) & (confidence >= 0.8)[every])
    assert sure.max() == (confidence[1:] >= 0.8).sum()


@pytest.mark.parametrize("seam", [64, 1024])
def test_what_has_a_winding_rim_is_no_floe(seam: int) -> None:
    """Cracks that run a few pixels into a square leave its hull nearly filled, and make its rim more than twice as long."""
    inside = np.zeros((80, 140), bool)
    inside[10:70, 10:60] = inside[10:70, 70:130] = True
    inside[10:15, 72:130:3] = inside[65:70, 72:130:3] = False
    maps = inside.astype(np.float32), np.minimum(distance_transform_edt(inside), 8).astype(np.float32)
    for most, count in ((9.0, 2), (1.5, 1)):
        floes = floes_by_windows(maps, seam, RULE.model_copy(update={"max_roughness": most}))
        assert floes.max() == count
    np.testing.assert_array_equal(floes > 0, inside & (np.arange(140) < 65))


@pytest.mark.parametrize("seam", [64, 1024])
def test_what_is_hardly_brighter_than_what_lies_beyond_its_rim_is_no_floe(seam: int) -> None:
    """Two floes with a crack of one pixel between them, and two pieces of slush as bright as they are, on slush."""
    inside = np.zeros((90, 150), bool)
    inside[10:40, 10:40] = inside[10:40, 41:71] = True
    inside[50:80, 90:110] = inside[50:80, 115:140] = True
    brightness = np.where(inside, 0.8, -0.6).astype(np.float32)
    brightness[45:, 85:] = np.where(inside[45:, 85:], 0.8, 0.6)
    maps = inside.astype(np.float32), np.minimum(distance_transform_edt(inside), 8).astype(np.float32)
    floes = floes_by_windows(maps, seam, brightness=brightness)
    np.testing.assert_array_equal(floes > 0, inside & (np.arange(150) < 80))
    assert floes.max() == 2
    assert floes_by_windows(maps, seam, RULE.model_copy(update={"min_contrast": 0.1}), brightness).max() == 4
    brightness[45:] = np.nan
    assert floes_by_windows(maps, seam, brightness=brightness).max() == 4


def test_ice_a_few_pixels_from_land_is_fast_and_ice_further_off_is_a_floe() -> None:
    inside = np.zeros((60, 120), bool)
    inside[20:50, 10:50] = inside[20:50, 70:110] = True
    probability = inside.astype(np.float32)
    probability[:18, :60] = probability[:14, 60:] = np.nan
    distance = np.minimum(distance_transform_edt(inside), 8).astype(np.float32)
    floes = outline(probability, distance, RULE)
    np.testing.assert_array_equal(floes > 0, inside & (np.arange(120) >= 60))
