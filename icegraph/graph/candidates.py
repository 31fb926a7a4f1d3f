"""Which floes of a later pass a floe might be: candidate edges, few for each floe however far ice may have drifted."""

import numpy as np
from numpy.typing import NDArray

from icegraph.graph.nodes import NOISE, Nodes, neighbours, spacing
from icegraph.graph.pattern import NO_PATTERN, PatternDrift

CANDIDATES = 24
_VOTES, _VOTERS = 6, 32
_ROWS = 512


def candidate_edges(
    a: Nodes, b: Nodes, reach_m: float, count: int = CANDIDATES, pattern: PatternDrift = NO_PATTERN
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Candidate partners within reach, at most `count` for each floe of `a`.

    Where more lie within reach, half are the nearest to where the floe's surroundings seem to have drifted (by `pattern`, and where that
    does not know, by `coarse_drift`), a third the most alike, the rest the nearest to where it was; each list passes over what the one
    before has taken.

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
    drift = pattern.at(a.xy)
    unknown = np.flatnonzero(np.isnan(drift).any(axis=1))
    drift[unknown] = coarse_drift(a, b, reach_m, unknown)
    parts = (count - count // 3 - count // 6, count // 3, count // 6)
    found = []
    for first in range(0, len(a), _ROWS):
        rows = slice(first, first + _ROWS)
        way = b.xy[None] - a.xy[rows, None]
        distance = np.hypot(way[..., 0], way[..., 1])
        off = np.hypot(way[..., 0] - drift[rows, None, 0], way[..., 1] - drift[rows, None, 1])
        free = distance <= reach_m
        taken = np.zeros_like(free)
        for cost, most in zip((off, unlikeness(a.features[rows], b.features), distance), parts, strict=True):
            taken |= _lowest(cost, free & ~taken, most)
        row, col = np.nonzero(taken)
        found.append(np.stack([row + first, col]))
    return np.concatenate(found, axis=1), drift


def coarse_drift(a: Nodes, b: Nodes, reach_m: float, floes: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Where the surroundings of each of the `floes` [N] of `a` (default: of all) seem to have drifted [N, 2], metres.

    A vote, as in the generalised Hough transform (Ballard 1981, doi 10.1016/0031-3203(81)90009-1): each floe votes for the way to each of
    the few floes within reach that look most like it; of the votes of a floe's surroundings the densest spot wins.
    """
    asked = np.arange(len(a)) if floes is None else floes
    if not asked.size:
        return np.zeros((0, 2))
    ways, weights = _votes(a, b, reach_m)
    near = np.concatenate([np.arange(len(a))[:, None], neighbours(a.xy, _VOTERS - 1)], axis=1)[asked]
    # Ice a few floes away drifts differently by a part of the spacing, and less than half of the reach.
    width = np.minimum(0.8 * (np.median(spacing(a.xy)) + np.median(spacing(b.xy))), 0.5 * reach_m)
    drift = np.zeros((asked.size, 2))
    for first in range(0, asked.size, 64):
        rows = near[first : first + 64]
        way, weight = ways[rows].reshape(len(rows), -1, 2), weights[rows].reshape(len(rows), -1)
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


def unlikeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared difference of features in units of measurement noise, mean over features, each at most 9: [Na, Nb]."""
    total = np.zeros((len(a), len(b)), np.float32)
    for column, noise in enumerate(NOISE):
        gap = (a[:, None, column] - b[None, :, column]) / (np.sqrt(2) * noise)
        total += np.minimum(gap * gap, 9)
    return total / np.float32(len(NOISE))


def _votes(a: Nodes, b: Nodes, reach_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ways [Na, V, 2] from each floe to those most like it, and the weight of each vote [Na, V]."""
    votes = min(_VOTES, len(b))
    ways, weights = np.zeros((len(a), votes, 2)), np.zeros((len(a), votes))
    for first in range(0, len(a), _ROWS):
        rows = slice(first, first + _ROWS)
        way = b.xy[None] - a.xy[rows, None]
        cost = np.where(np.hypot(way[..., 0], way[..., 1]) <= reach_m, unlikeness(a.features[rows], b.features), np.inf)
        best = np.argpartition(cost, votes - 1, axis=1)[:, :votes]
        ways[rows] = np.take_along_axis(way, best[..., None], axis=1)
        # A floe that looks like no other speaks louder than one of many alike.
        weight = np.exp(-len(NOISE) / 6 * np.take_along_axis(cost, best, axis=1))
        weights[rows] = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12) * (weight.max(axis=1, keepdims=True) ** 0.5)
    return ways, weights


def _lowest(cost: NDArray[np.floating], allowed: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Mark the `most` lowest allowed costs of each row."""
    if most < 1:
        return np.zeros_like(allowed)
    cost = np.where(allowed, cost, np.inf)
    if cost.shape[1] > most:
        edge = np.partition(cost, most - 1, axis=1)[:, most - 1 : most]
        return np.asarray(allowed & (cost <= edge))
    return allowed
