"""Counts of floes against hand-made cases, a brute force, and real labels."""

import numpy as np
import pytest
from affine import Affine

from icegraph.evaluate.segmentation import (
    FloeCounts,
    class_metrics,
    count_classes,
    count_false_ground,
    count_floes,
    false_ground_metrics,
    floe_areas_px,
    matched,
    scored,
    unknown_share,
)
from icegraph.grid import Grid
from icegraph.scene import read_grid
from icegraph.truth import overlap

from .conftest import write_raster

GRID = Grid("EPSG:3413", Affine(100, 0, 0, 0, -100, 0), 120, 140)


def compare(tmp_path, found, true, grid=GRID):
    labels = write_raster(tmp_path / "labels.tif", grid, found.astype(np.uint32))
    truth = write_raster(tmp_path / "x.labels.tif", grid, true.astype(np.uint16))
    return overlap(labels, truth, grid)


def block(*boxes):
    """Labels [H, W] of (id, row, col, height, width)."""
    labels = np.zeros(GRID.shape, np.int64)
    for number, row, col, height, width in boxes:
        labels[row : row + height, col : col + width] = number
    return labels


def test_figures_of_a_case_counted_by_hand(tmp_path):
    true = block((1, 0, 0, 10, 10), (2, 0, 20, 10, 10), (3, 0, 40, 10, 10))
    # 1 found exactly; 2 found 2 px too far right: 80 / 120; 3 missed; one invented.
    found = block((5, 0, 0, 10, 10), (6, 0, 22, 10, 10), (7, 50, 50, 8, 8))
    figures = count_floes(compare(tmp_path, found, true)).metrics()
    assert figures["precision"] == pytest.approx(2 / 3)
    assert figures["recall"] == pytest.approx(2 / 3)
    assert figures["f1"] == pytest.approx(2 / 3)
    assert figures["mean_iou"] == pytest.approx((1 + 2 / 3) / 2)
    assert figures["pq"] == pytest.approx(figures["f1"] * figures["mean_iou"])


def test_half_overlap_is_not_a_match(tmp_path):
    both = compare(tmp_path, block((1, 0, 0, 10, 10)), block((9, 0, 0, 10, 20)))
    assert both.iou.tolist() == [0.5]
    assert matched(both) == {}


@pytest.mark.parametrize(
    ("hidden", "counts"),
    [(4, True), (5, False), (6, False)],  # of 10 columns: more than half must be in the open
)
def test_a_floe_counts_only_if_more_than_half_is_outside_ignore(tmp_path, hidden, counts):
    found, true = block((1, 0, 0, 10, 10)), block()
    true[:, :hidden] = 65535
    assert scored(compare(tmp_path, found, true)).tolist() == [counts]


@pytest.mark.parametrize(("pixels", "counts"), [(39, False), (40, True)])
def test_a_floe_counts_only_from_40_pixels_outside_ignore(tmp_path, pixels, counts):
    both = compare(tmp_path, block((1, 0, 0, 1, pixels)), block())
    assert scored(both).tolist() == [counts]
    assert count_floes(both).found == int(counts)
    assert unknown_share(both) == float(not counts)


def test_areas_and_intersections_are_taken_outside_ignore(tmp_path):
    true = block((1, 0, 0, 10, 6))
    true[:, 6:] = 65535
    both = compare(tmp_path, block((1, 0, 0, 10, 10)), true)
    assert both.iou.tolist() == [1.0]


def test_counts_agree_with_a_brute_force_over_masks(tmp_path):
    rng = np.random.default_rng(3)
    true, found = block(), block()
    for number in range(1, 40):
        row, col, height, width = (*rng.integers(0, 100, 2), *rng.integers(4, 18, 2))
        true[row : row + height, col : col + width] = number
        dr, dc = rng.integers(-2, 3, 2)
        if rng.random() < 0.8:
            found[max(row + dr, 0) : row + dr + height, max(col + dc, 0) : col + dc + width] = number + 100
    true[rng.random(true.shape) < 0.05] = 65535
    true[90:, :] = 65535
    clear = true != 65535
    pairs, iou_sum, number_found = 0, 0.0, 0
    for f in np.unique(found[found > 0]):
        mask = found == f
        if (mask & clear).sum() < 40 or 2 * (mask & clear).sum() <= mask.sum():
            continue
        number_found += 1
        for k in np.unique(true[clear & (true > 0)]):
            inter = (mask & (true == k)).sum()
            union = ((mask & clear) | (true == k)).sum()
            if inter / union > 0.5:
                pairs, iou_sum = pairs + 1, iou_sum + inter / union
    counts = count_floes(compare(tmp_path, found, true))
    assert pairs > 5
    assert (counts.matched, counts.found, counts.known) == (pairs, number_found, len(np.unique(true[clear & (true > 0)])))
    assert counts.iou_sum == pytest.approx(iou_sum)


def test_sums_over_passes_are_sums_of_counts():
    a = FloeCounts(10, 8, 6, 5.0, (10, 0, 0, 0, 0, 0), (6, 0, 0, 0, 0, 0))
    total = (a + FloeCounts(2, 2, 2, 2.0)).metrics()
    assert total["f1"] == pytest.approx(2 * 8 / 22)
    assert total["mean_iou"] == pytest.approx(7 / 8)
    assert FloeCounts().metrics() == {"known": 0, "found": 0, "matched": 0}


def test_recall_is_told_by_the_size_of_the_known_floe(tmp_path):
    true = block((1, 0, 0, 6, 6), (2, 20, 0, 20, 20))
    counts = count_floes(compare(tmp_path, block((1, 20, 0, 20, 20)), true))
    assert counts.known_by_size == (1, 0, 0, 1, 0, 0)
    assert counts.matched_by_size == (0, 0, 0, 1, 0, 0)


def test_class_figures_leave_out_what_is_not_known(tmp_path):
    rng = np.random.default_rng(0)
    predicted, true = (rng.choice([0, 1, 2, 255], GRID.shape).astype(np.uint8) for _ in range(2))
    confusion = count_classes(write_raster(tmp_path / "p.tif", GRID, predicted), write_raster(tmp_path / "t.tif", GRID, true), GRID)
    use = (predicted < 3) & (true < 3)
    expected = np.array([[np.sum(use & (true == t) & (predicted == p)) for p in range(3)] for t in range(3)])
    assert confusion.tolist() == expected.tolist()
    floe = [np.sum(use & op) for op in ((true == 2) & (predicted == 2), (true == 2) | (predicted == 2))]
    assert class_metrics(confusion)["iou_floe"] == pytest.approx(floe[0] / floe[1])
    assert class_metrics(np.array([[5, 0, 0], [0, 0, 0], [5, 0, 10]])) == pytest.approx(
        {"iou_water": 0.5, "iou_floe": 2 / 3, "miou": 7 / 12, "accuracy": 0.75}
    )


def test_floes_on_ground_without_floes_are_told_by_kind(tmp_path):
    found = block((1, 0, 0, 10, 10))
    negatives = np.zeros(GRID.shape, np.uint8)
    negatives[:20, :10] = 3
    negatives[60:, :] = 1
    labels = write_raster(tmp_path / "l.tif", GRID, found.astype(np.uint32))
    counts = count_false_ground(labels, write_raster(tmp_path / "n.tif", GRID, negatives), GRID)
    assert false_ground_metrics(counts) == {"cloud_called_floe": 0.0, "open_water_called_floe": 0.5}


def test_areas_are_those_of_numpy(tmp_path):
    big = Grid("EPSG:3413", Affine(40, 0, 0, 0, -40, 0), 1500, 1100)
    labels = np.random.default_rng(1).integers(0, 50, big.shape).astype(np.uint32)
    labels[1200:, 1050:] = 70
    expected = np.bincount(labels.ravel())
    expected[0] = 0
    assert floe_areas_px(write_raster(tmp_path / "l.tif", big, labels), big).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "case", ["hudson_bay-100km-20060513", "sea_of_okhostk-50km-20180412", "east_siberian_sea-100km-20190612", "baffin_bay-200km-20060704"]
)
def test_hand_drawn_labels_score_one_against_themselves_and_less_when_moved(shared_data, tmp_path, case):
    import rasterio

    truth = shared_data / "modis_floes" / case / "aqua.labels.tif"
    with rasterio.open(truth) as dataset:
        grid, true = read_grid(dataset), dataset.read(1)
    found = np.where(true == 65535, 0, true).astype(np.uint32)
    same = count_floes(overlap(write_raster(tmp_path / "same.tif", grid, found), truth, grid)).metrics()
    assert same["precision"] == same["mean_iou"] == 1
    # Known floes below 40 px cannot be found by the rule for found ones.
    areas = np.bincount(found.ravel())[1:]
    assert same["recall"] == np.sum(areas >= 40) / np.sum(areas > 0)
    moved = write_raster(tmp_path / "moved.tif", grid, np.roll(found, 3, axis=1))
    shifted = count_floes(overlap(moved, truth, grid)).metrics()
    assert shifted["f1"] < same["f1"]
    assert shifted["mean_iou"] < 0.85
