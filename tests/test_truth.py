import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from icegraph.errors import InputError
from icegraph.grid import NORTH, Grid
from icegraph.truth import IGNORE, find_truth, overlap, read_labels

GRID = Grid.covering(NORTH, np.array([0.0, 250.0 * 60]), np.array([0.0, 250.0 * 50]), 250.0)


def write(path: Path, labels: np.ndarray, grid: Grid = GRID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "height": grid.height, "width": grid.width, "count": 1, "dtype": labels.dtype}
    with rasterio.open(path, "w", crs=grid.crs, transform=grid.transform, **profile) as dataset:
        dataset.write(labels, 1)
    return path


def test_labels_belong_to_the_item_beside_them_or_to_the_pass_they_are_named_after(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, np.uint16)
    named, beside = write(tmp_path / "p1.labels.tif", labels), write(tmp_path / "case" / "aqua.labels.tif", labels)
    (tmp_path / "case" / "aqua.json").write_text(json.dumps({"id": "hudson-aqua"}))
    assert find_truth([tmp_path]) == {"p1": named, "hudson-aqua": beside}
    assert find_truth([named]) == {"p1": named}
    with pytest.raises(InputError, match=r"no \*\.labels\.tif found"):
        find_truth([tmp_path / "nowhere"])


@pytest.mark.parametrize("text", ["[]", "{broken", "{}", ""])
def test_json_beside_labels_that_is_no_item_is_passed_over(tmp_path: Path, text: str) -> None:
    labels = write(tmp_path / "p1.labels.tif", np.zeros(GRID.shape, np.uint16))
    (tmp_path / "p1.json").write_text(text)
    assert find_truth([tmp_path]) == {"p1": labels}


def test_labels_come_on_the_asked_grid_and_are_unknown_outside(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, np.uint16)
    labels[10:20, 10:30] = 7
    labels[40:, :] = 65535
    path = write(tmp_path / "a.labels.tif", labels)
    x, y = GRID.xy(np.array([5.0, 70.0]), np.array([5.0, 50.0]))
    moved = Grid.covering(NORTH, x, y, 250.0)
    got = read_labels(path, moved)
    row, col = (int(v[0]) for v in moved.rowcol(*GRID.xy(np.array([10.0]), np.array([10.0]))))
    assert (got == 7).sum() == 200
    assert (got[row : row + 10, col : col + 20] == 7).all()
    assert got[-1, 0] == IGNORE
    np.testing.assert_array_equal(read_labels(path, GRID)[:40], labels[:40])


def test_overlap_agrees_with_a_count_by_hand(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth = np.kron(rng.integers(0, 6, (5, 6)), np.ones((10, 10), int)).astype(np.uint16)
    truth[:, :7] = 65535
    found = np.roll(np.kron(rng.integers(0, 5, (5, 6)), np.ones((10, 10), int)), 3, axis=1).astype(np.uint32)
    result = overlap(write(tmp_path / "f.tif", found), write(tmp_path / "t.labels.tif", truth), GRID)
    clear = truth != 65535
    for place, floe in enumerate(result.found):
        assert result.found_total_px[place] == (found == floe).sum()
        assert result.found_px[place] == ((found == floe) & clear).sum()
    shared = {(int(result.found[f]), int(result.known[k])): n for (f, k), n in zip(result.pairs, result.pairs_px, strict=True)}
    for floe in np.unique(found[found > 0]):
        for known in np.unique(truth[(truth > 0) & clear]):
            assert shared.get((floe, known), 0) == ((found == floe) & (truth == known)).sum()


def test_identity_needs_more_than_half_the_union(tmp_path: Path) -> None:
    truth, found = np.zeros(GRID.shape, np.uint16), np.zeros(GRID.shape, np.uint32)
    truth[5:15, 5:15], found[5:15, 6:16] = 3, 1  # IoU 90 / 110
    truth[30:40, 5:15], found[30:40, 10:20] = 4, 2  # IoU 50 / 150
    assert overlap(write(tmp_path / "f.tif", found), write(tmp_path / "t.labels.tif", truth), GRID).identities() == {1: 3}
