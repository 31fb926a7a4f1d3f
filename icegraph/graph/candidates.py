"""Which floes of a later pass a floe might be: candidate edges, few for each floe however far ice may have drifted.

All is looked up in k-d trees, so that the cost grows with the number of floes little faster than in proportion.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from icegraph.ahead import cores, map_ahead
from icegraph.graph.nodes import NAMES, NOISE, Nodes, neighbours, spacing
from icegraph.graph.pattern import NO_PATTERN, PatternDrift
from icegraph.graph.profile import best_fit

Whole = NDArray[np.int64]
Doubles = NDArray[np.float64]

CANDIDATES = 24
_POOL = 96  # floes within reach that are compared one by one; of more, those that look most alike and are not far
_LOOKS = ("log_area_m2", "elongation", "brightness")  # what the k-d tree of looks knows
_NEAR = 2.0  # the reach, in units of measurement noise: what place counts among looks
_VOTES, _VOTERS = 4, 24
_ASIDE, _ASIDE_PATCH = 0.5, 0.25  # so far from where the pattern leads, in floe sizes and patches, may a floe lie that it leads
_FIT_NOISE = 0.5, 0.05  # what is left between two outlines of one floe: pixels, and share of the floe's size
_FIT_WEIGHT = 8  # features that the outline counts for
_ROWS = 1 << 17  # pairs that one thread compares at once


def candidate_edges(
    a: Nodes, b: Nodes, reach_m: float, count: int = CANDIDATES, pattern: PatternDrift = NO_PATTERN
) -> tuple[Whole, Doubles]:
    """Candidate partners within reach, at most `count` for each floe of `a`.

    Where more lie within reach, a third are the nearest to where the floe's surroundings seem to have drifted (by `pattern`, and where
    that does not know, by `coarse_drift`), half the most alike, the rest the nearest to where it was; each list passes over what the
    one before has taken. Where `pattern` knows, a floe is looked for only where it leads.

    Args:
        a: Floes of the earlier pass.
        b: Floes of the later pass.
        reach_m: How far a floe may have moved.
        count: Candidates of a floe.
        pattern: How the ice itself moved.

    Returns:
        Edges [2, E] (index into `a`, into `b`), sorted; and the coarse drift of each floe of `a` [Na, 2], metres.
    """
    if len(a) == 0 or len(b) == 0:
        return np.zeros((2, 0), np.int64), np.zeros((len(a), 2))
    pool = _pool(a, b, reach_m, max(_POOL, count))
    drift = pattern.at(a.xy)
    led = np.isfinite(drift[:, 0])
    unknown = np.flatnonzero(~led)
    drift[unknown] = coarse_drift(a, b, reach_m, unknown, pool)
    parts = (count // 3, count - count // 3 - count // 6, count // 6)
    places = _nearest(a.xy, b.xy, parts[0] + parts[2], reach_m), _within(a, b, _nearest(a.xy + drift, b.xy, 2 * parts[0], np.inf), reach_m)
    edges = np.unique(np.concatenate([pool, *places], axis=1), axis=1)
    way = b.xy[edges[1]] - a.xy[edges[0]]
    off = np.hypot(*(way - drift[edges[0]]).T)
    here = ~led[edges[0]] | (off <= _ASIDE * a.size_m[edges[0]] + _ASIDE_PATCH * pattern.patch_m)
    edges, way, off = edges[:, here], way[here], off[here]
    costs = off, unlikeness(a, b, edges)[0], np.hypot(*way.T)
    taken = np.zeros(edges.shape[1], bool)
    for cost, most in zip(costs, parts, strict=True):
        free = np.flatnonzero(~taken)
        taken[free[_rank(edges[0, free], cost[free]) < most]] = True
    return edges[:, taken], drift


def coarse_drift(a: Nodes, b: Nodes, reach_m: float, floes: Whole | None = None, pool: Whole | None = None) -> Doubles:
    """Where the surroundings of each of the `floes` [N] of `a` (default: of all) seem to have drifted [N, 2], metres.

    A vote, as in the generalised Hough transform (Ballard 1981, doi 10.1016/0031-3203(81)90009-1): each floe near by votes for the way
    to each of the few floes within reach that look most like it, once as it is and once for surroundings that turned as that floe would
    have turned; of the votes of a floe's surroundings the densest spot wins.
    """
    asked = np.arange(len(a)) if floes is None else floes
    if not asked.size:
        return np.zeros((0, 2))
    places, turns, weights = _votes(a, b, _pool(a, b, reach_m, _POOL) if pool is None else pool)
    near = np.concatenate([np.arange(len(a))[:, None], neighbours(a.xy, _VOTERS - 1)], axis=1)[asked]
    # Ice a few floes away drifts differently by a part of the spacing, and less than half of the reach.
    width = np.minimum(0.8 * (np.median(spacing(a.xy)) + np.median(spacing(b.xy))), 0.5 * reach_m)
    drift = np.zeros((asked.size, 2))
    for first in range(0, asked.size, 64):
        rows = near[first : first + 64]
        off = (a.xy[asked[first : first + 64], None] - a.xy[rows])[:, :, None]
        spin = np.exp(1j * turns[rows])
        turned = (off[..., 0] + 1j * off[..., 1]) * spin
        mine = a.xy[asked[first : first + 64], None, None]
        plain = places[rows] + off - mine
        with_turn = places[rows] + np.stack([turned.real, turned.imag], axis=-1) - mine
        way = np.concatenate([plain, with_turn], axis=2).reshape(len(rows), -1, 2)
        weight = np.concatenate([weights[rows], weights[rows]], axis=2).reshape(len(rows), -1)
        weight = np.where(np.hypot(way[..., 0], way[..., 1]) <= reach_m, weight, 0)
        # 1 - |w - w'|² for all pairs of votes, in single precision and in place: this is what candidates cost.
        unit = (way / width).astype(np.float32)
        square = np.einsum("rvk,rvk->rv", unit, unit)
        kernel = 2 * unit @ unit.transpose(0, 2, 1)
        kernel -= square[:, :, None] - 1
        kernel -= square[:, None]
        np.maximum(kernel, 0, out=kernel)
        best = np.argmax((kernel @ weight[..., None].astype(np.float32))[..., 0], axis=1)
        near_best = kernel[np.arange(len(rows)), best] * weight
        drift[first : first + 64] = np.einsum("rv,rvk->rk", near_best, way) / np.maximum(near_best.sum(axis=1), 1e-12)[:, None]
    return drift


def unlikeness(a: Nodes, b: Nodes, edges: Whole) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much the floes of each pair differ, whatever their places and turns, and the turn from one to the other, radians: [E] each.

    The mean squared difference of features, and of what is left between the outlines at their best turn, in units of measurement noise,
    each at most 9.
    """
    total, turn = np.zeros(edges.shape[1], np.float32), np.zeros(edges.shape[1], np.float32)

    def compare(first: int) -> None:
        rows = slice(first, first + _ROWS)
        one, other = edges[:, rows]
        gap = (a.features[one] - b.features[other]) / (np.sqrt(2) * NOISE)
        _, turn[rows], rest, _ = best_fit(a.profile, b.profile, edges[:, rows])
        noise = _FIT_NOISE[0] * np.maximum(a.pixel_m[one], b.pixel_m[other]) + _FIT_NOISE[1] * np.sqrt(a.size_m[one] * b.size_m[other])
        total[rows] = np.minimum(gap * gap, 9).sum(axis=1) + _FIT_WEIGHT * np.minimum((rest / noise) ** 2, 9)

    deque(map_ahead(compare, range(0, edges.shape[1], _ROWS)), maxlen=0)
    return total / np.float32(len(NOISE) + _FIT_WEIGHT), turn


def _pool(a: Nodes, b: Nodes, reach_m: float, most: int) -> Whole:
    """All pairs within reach [2, P], sorted; of a floe that has more than `most`, those most alike, near ones first among equals."""
    found = _nearest(a.xy, b.xy, most + 1, reach_m)
    many = np.flatnonzero(np.bincount(found[0], minlength=len(a)) > most)
    if not many.size:
        return found
    look = [NAMES.index(name) for name in _LOOKS]
    one, other = (np.column_stack([n.features[:, look] / NOISE[look], _NEAR * n.xy / reach_m]) for n in (a, b))
    alike = _nearest(one[many], other, most, np.inf)
    alike = _within(a, b, np.stack([many[alike[0]], alike[1]]), reach_m)
    pool = np.concatenate([found[:, ~np.isin(found[0], many)], alike], axis=1)
    return np.asarray(pool[:, np.lexsort(pool[::-1])])


def _nearest(places: NDArray[np.floating], others: NDArray[np.floating], most: int, reach: float) -> Whole:
    """Pairs [2, P], sorted by the first: of each place the nearest others within reach, at most `most`."""
    distance, found = cKDTree(others).query(places, k=np.arange(1, min(most, len(others)) + 1), workers=cores())
    row, rank = np.nonzero(distance <= reach)
    pairs = np.stack([row, found[row, rank]]).astype(np.int64)
    return np.asarray(pairs[:, np.lexsort(pairs[::-1])])


def _within(a: Nodes, b: Nodes, pairs: Whole, reach_m: float) -> Whole:
    way = b.xy[pairs[1]] - a.xy[pairs[0]]
    return np.asarray(pairs[:, np.hypot(way[:, 0], way[:, 1]) <= reach_m])


def _rank(group: Whole, cost: NDArray[np.floating]) -> Whole:
    """The rank of each cost within its group [E], from 0."""
    order = np.lexsort((cost, group))
    sorted_group = group[order]
    start = np.searchsorted(sorted_group, sorted_group)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - start
    return rank


def _votes(a: Nodes, b: Nodes, pool: Whole) -> tuple[Doubles, Doubles, Doubles]:
    """The places [Na, V, 2] of those most like each floe, the turn to each [Na, V], and the weight of each vote [Na, V]."""
    cost, turn = unlikeness(a, b, pool)
    rank = _rank(pool[0], cost)
    best = rank < _VOTES
    row, place = pool[0, best], rank[best]
    places, turns, weights = np.zeros((len(a), _VOTES, 2)), np.zeros((len(a), _VOTES)), np.zeros((len(a), _VOTES))
    places[row, place], turns[row, place] = b.xy[pool[1, best]], turn[best]
    # A floe that looks like no other speaks louder than one of many alike.
    weights[row, place] = np.exp(-(len(NOISE) + _FIT_WEIGHT) / 6 * cost[best])
    weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12) * (weights.max(axis=1, keepdims=True) ** 0.5)
    return places, turns, weights
