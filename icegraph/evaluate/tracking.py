"""How well floes were followed over many passes: HOTA and IDF1.

HOTA, DetA, AssA: Luiten et al. 2021, doi:10.1007/s11263-020-01375-2, averaged over IoU thresholds 0.05, 0.10 … 0.95. IDF1: Ristani et al.
2016, doi:10.1007/978-3-319-48881-3_2, with outlines that match at IoU > 0.5. All sums run over overlapping pairs only: a dense matrix of
thousands of floes by thousands of tracks is never made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from icegraph.evaluate.segmentation import scored
from icegraph.truth import Overlap

ALPHAS = np.arange(1, 20) * 0.05


@dataclass(frozen=True)
class PassPairs:
    """Known floes and tracks of one pass, and how alike their outlines are.

    Args:
        known: Identities in the pass, [K].
        tracks: Track ids in the pass, [T].
        pairs: Index into `known` and into `tracks` of each overlapping pair, [P, 2].
        iou: Intersection over union of each pair, [P].
    """

    known: NDArray[np.int64]
    tracks: NDArray[np.int64]
    pairs: NDArray[np.int64]
    iou: NDArray[np.float64]


def pass_pairs(overlap: Overlap, track_of: Mapping[int, int], alone: int) -> PassPairs:
    """Pair known floes with tracks in one pass; found floes that are not scored are left out.

    Args:
        overlap: Common pixels of the pass.
        track_of: Floe id → track id.
        alone: A floe without a track counts as a track of its own: `-(alone + floe id)`. Give another number to each pass.
    """
    use = scored(overlap)
    place = np.cumsum(use) - 1
    tracks = np.array([track_of.get(int(floe), -(alone + int(floe))) for floe in overlap.found[use]], np.int64)
    keep = use[overlap.pairs[:, 0]]
    pairs = np.column_stack([overlap.pairs[keep, 1], place[overlap.pairs[keep, 0]]]).astype(np.int64)
    return PassPairs(overlap.known, tracks, pairs, overlap.iou[keep])


def hota(passes: Sequence[PassPairs]) -> dict[str, float]:
    """`hota`, `det_a`, `ass_a`, `loc_a`, the means over all thresholds; empty where no floe is known.

    `loc_a` is the mean IoU of the matched, averaged over thresholds.
    """
    known_ids, known_counts = _count_ids([p.known for p in passes])
    track_ids, track_counts = _count_ids([p.tracks for p in passes])
    if not len(known_ids):
        return {}
    if not len(track_ids):
        return {"hota": 0.0, "det_a": 0.0, "ass_a": 0.0}
    rows, cols, keys = _global_pairs(passes, known_ids, track_ids)
    unique, place = np.unique(np.concatenate(keys), return_inverse=True)
    both_counts = known_counts[unique // len(track_ids)] + track_counts[unique % len(track_ids)]
    potential = np.bincount(place, weights=np.concatenate([_normalised(p) for p in passes]), minlength=len(unique))
    alignment = potential / (both_counts - potential)

    chosen_keys, chosen_iou, start = [], [], 0
    for one, row, col in zip(passes, rows, cols, strict=True):
        here = place[start : start + len(one.iou)]
        start += len(one.iou)
        best = _assign(row, col, alignment[here] * one.iou)
        chosen_keys.append(here[best])
        chosen_iou.append(one.iou[best])
    return _hota_figures(np.concatenate(chosen_keys), np.concatenate(chosen_iou), both_counts, int(known_counts.sum() + track_counts.sum()))


def idf1(passes: Sequence[PassPairs]) -> dict[str, float]:
    """`idf1`, `id_precision`, `id_recall`: the share of sightings under the one track that fits each identity best; empty without floes."""
    known_ids, known_counts = _count_ids([p.known for p in passes])
    track_ids, track_counts = _count_ids([p.tracks for p in passes])
    if not len(known_ids):
        return {}
    _, _, keys = _global_pairs(passes, known_ids, track_ids)
    same = np.concatenate(keys)[np.concatenate([p.iou for p in passes]) > 0.5]
    pairs, sightings = np.unique(same, return_counts=True)
    width = max(len(track_ids), 1)
    best = _assign(pairs // width, pairs % width, sightings.astype(float))
    true = float(sightings[best].sum())
    known, tracked = float(known_counts.sum()), float(track_counts.sum())
    out = {"idf1": 2 * true / (known + tracked), "id_recall": true / known}
    return out | ({"id_precision": true / tracked} if tracked else {})


def _hota_figures(keys: NDArray[np.int64], iou: NDArray[np.float64], both_counts: NDArray[np.int64], total: int) -> dict[str, float]:
    """Means over the thresholds of the figures of Luiten et al., from the chosen pairs of all passes."""
    values = []
    for alpha in ALPHAS:
        good = iou >= alpha - np.finfo(float).eps
        hits = int(good.sum())
        together = np.bincount(keys[good], minlength=len(both_counts))
        det = hits / (total - hits)
        ass = float((together * (together / (both_counts - together))).sum()) / max(hits, 1)
        values.append((np.sqrt(det * ass), det, ass, iou[good].mean() if hits else 1.0))
    return dict(zip(("hota", "det_a", "ass_a", "loc_a"), map(float, np.mean(values, axis=0)), strict=True))


def _count_ids(ids: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    unique, counts = np.unique(np.concatenate([*ids, np.zeros(0, np.int64)]), return_counts=True)
    return unique.astype(np.int64), counts.astype(np.int64)


def _global_pairs(
    passes: Sequence[PassPairs], known_ids: NDArray[np.int64], track_ids: NDArray[np.int64]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Rows (of `known_ids`), columns (of `track_ids`) and flat keys of each pass's pairs."""
    rows = [np.searchsorted(known_ids, p.known[p.pairs[:, 0]]) for p in passes]
    cols = [np.searchsorted(track_ids, p.tracks[p.pairs[:, 1]]) for p in passes]
    return rows, cols, [row * len(track_ids) + col for row, col in zip(rows, cols, strict=True)]


def _normalised(one: PassPairs) -> NDArray[np.float64]:
    """Each pair's IoU over all IoU that its two members have in the pass, [P] (equation 13 of Luiten et al. in its soft form)."""
    known = np.bincount(one.pairs[:, 0], weights=one.iou, minlength=len(one.known))
    track = np.bincount(one.pairs[:, 1], weights=one.iou, minlength=len(one.tracks))
    return np.asarray(one.iou / np.maximum(known[one.pairs[:, 0]] + track[one.pairs[:, 1]] - one.iou, np.finfo(float).eps))


def _assign(rows: NDArray[np.int64], cols: NDArray[np.int64], score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the pairs of the one-to-one assignment with the largest total score; solved apart in each group of touching pairs."""
    if not len(rows):
        return np.zeros(0, np.int64)
    row_ids, row = np.unique(rows, return_inverse=True)
    col_ids, col = np.unique(cols, return_inverse=True)
    size = len(row_ids) + len(col_ids)
    _, group = connected_components(coo_array((np.ones(len(row)), (row, len(row_ids) + col)), shape=(size, size)), directed=False)
    order = np.argsort(group[row], kind="stable")
    chosen = []
    for part in np.split(order, np.flatnonzero(np.diff(group[row][order])) + 1):
        if len(part) == 1:
            chosen.append(part)
            continue
        part_rows, r = np.unique(row[part], return_inverse=True)
        part_cols, c = np.unique(col[part], return_inverse=True)
        table, index = np.zeros((len(part_rows), len(part_cols))), np.full((len(part_rows), len(part_cols)), -1)
        table[r, c], index[r, c] = score[part], part
        picked = index[linear_sum_assignment(table, maximize=True)]
        chosen.append(picked[picked >= 0])
    return np.concatenate(chosen).astype(np.int64)
