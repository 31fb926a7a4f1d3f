"""HOTA against TrackEval, IDF1 against motmetrics, and closed forms."""

import numpy as np
import pytest

from icegraph.evaluate.tracking import PassPairs, hota, idf1, pass_pairs
from icegraph.truth import Overlap


def random_sequence(seed: int) -> list[PassPairs]:
    """Passes with missed floes, false ones and tracks that change identity; several outlines overlap."""
    rng = np.random.default_rng(seed)
    passes = []
    switch = rng.permutation(30)
    for number in range(int(rng.integers(3, 7))):
        known = np.sort(rng.choice(30, rng.integers(8, 25), replace=False)).astype(np.int64)
        tracks = np.unique(np.concatenate([switch[known] if number > 2 else known, rng.integers(30, 45, 5)]))
        tracks = np.sort(rng.choice(tracks, rng.integers(5, len(tracks)), replace=False)).astype(np.int64)
        similar = np.where(rng.random((len(known), len(tracks))) < 0.25, rng.random((len(known), len(tracks))), 0)
        similar[(known[:, None] == tracks[None]) & (rng.random(similar.shape) < 0.8)] += 0.5
        similar = np.minimum(similar, 1.0)
        pairs = np.argwhere(similar > 0)
        passes.append(PassPairs(known, tracks, pairs, similar[similar > 0]))
    return passes


def dense(one: PassPairs) -> np.ndarray:
    similar = np.zeros((len(one.known), len(one.tracks)))
    similar[one.pairs[:, 0], one.pairs[:, 1]] = one.iou
    return similar


@pytest.mark.parametrize("seed", range(8))
def test_hota_agrees_with_trackeval(seed):
    trackeval = pytest.importorskip("trackeval")
    passes = random_sequence(seed)
    known, tracks = (np.unique(np.concatenate([getattr(p, name) for p in passes])) for name in ("known", "tracks"))
    data = {
        "num_gt_ids": len(known),
        "num_tracker_ids": len(tracks),
        "num_gt_dets": sum(len(p.known) for p in passes),
        "num_tracker_dets": sum(len(p.tracks) for p in passes),
        "gt_ids": [np.searchsorted(known, p.known) for p in passes],
        "tracker_ids": [np.searchsorted(tracks, p.tracks) for p in passes],
        "similarity_scores": [dense(p) for p in passes],
    }
    expected = trackeval.metrics.HOTA().eval_sequence(data)
    ours = hota(passes)
    for name, theirs in (("hota", "HOTA"), ("det_a", "DetA"), ("ass_a", "AssA"), ("loc_a", "LocA")):
        assert ours[name] == pytest.approx(expected[theirs].mean(), abs=1e-9), name


@pytest.mark.parametrize("seed", range(8))
def test_idf1_agrees_with_motmetrics(seed):
    motmetrics = pytest.importorskip("motmetrics")
    passes = random_sequence(seed)
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for one in passes:
        distance = 1 - dense(one)
        distance[distance >= 0.5] = np.nan
        accumulator.update(one.known, one.tracks, distance)
    expected = motmetrics.metrics.create().compute(accumulator, metrics=["idf1", "idp", "idr"]).iloc[0]
    ours = idf1(passes)
    for name, theirs in (("idf1", "idf1"), ("id_precision", "idp"), ("id_recall", "idr")):
        assert ours[name] == pytest.approx(expected[theirs], abs=1e-9), name


def perfect(tracks: list[list[int]]) -> list[PassPairs]:
    """Two floes, found as they are, with the given track ids in each pass."""
    return [PassPairs(np.array([1, 2]), np.array(ids), np.array([[0, 0], [1, 1]]), np.ones(2)) for ids in tracks]


def test_floes_that_keep_their_track_score_one():
    assert hota(perfect([[10, 20]] * 3)) == {"hota": 1.0, "det_a": 1.0, "ass_a": 1.0, "loc_a": 1.0}
    assert idf1(perfect([[10, 20]] * 3))["idf1"] == 1.0


def test_a_swap_halfway_costs_half_of_the_identities():
    passes = perfect([[10, 20], [10, 20], [20, 10], [20, 10]])
    assert idf1(passes)["idf1"] == pytest.approx(0.5)
    assert hota(passes)["ass_a"] == pytest.approx(2 / 6)  # 2 sightings together; 4 + 4 - 2 apart or together
    assert hota(passes)["hota"] == pytest.approx(np.sqrt(1 / 3))


def test_nothing_found_scores_zero_and_nothing_known_is_not_scored():
    none = np.zeros(0, np.int64)
    empty = np.zeros((0, 2), np.int64)
    assert hota([PassPairs(np.array([1]), none, empty, np.zeros(0))])["hota"] == 0
    assert idf1([PassPairs(np.array([1]), none, empty, np.zeros(0))])["idf1"] == 0
    assert hota([PassPairs(none, np.array([1]), empty, np.zeros(0))]) == {}
    assert hota([]) == idf1([]) == {}


def test_a_found_floe_without_a_track_is_a_track_of_its_own_and_an_unscored_one_is_none():
    overlap = Overlap(
        found=np.array([1, 2, 3]),
        found_px=np.array([100, 100, 10]),
        found_total_px=np.array([100, 100, 100]),
        known=np.array([7, 8]),
        known_px=np.array([100, 100]),
        pairs=np.array([[0, 0], [1, 1], [2, 1]]),
        pairs_px=np.array([90, 80, 10]),
    )
    pairs = pass_pairs(overlap, {1: 5}, alone=1 << 33)
    assert pairs.tracks.tolist() == [5, -(1 << 33) - 2]
    assert pairs.pairs.tolist() == [[0, 0], [1, 1]]
    assert pairs.iou == pytest.approx([90 / 110, 80 / 120])
