"""What the matcher sees of two passes: relative things only, so that a shift or a turn of the whole plane changes nothing.

Three sparse sets of edges: spatial (floe, its neighbour in the same pass), candidate (floe, possible partner), and supports (candidate
i→j, candidate n→m), where n is a neighbour of i: if i moved to j as one piece with its surroundings, m should lie from j as n lies from i.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icegraph.ahead import map_ahead
from icegraph.compiled import compiled
from icegraph.graph.nodes import NOISE, RADIOMETRY, Nodes, spacing
from icegraph.graph.profile import RAYS, best_fit
from icegraph.track.likelihood import Beliefs, beliefs

SPATIAL_ATTRIBUTES = 4
CANDIDATE_GEOMETRY = 10
SUPPORT_ATTRIBUTES = 7
_SUPPORTS = 2  # partners kept of each neighbour: the one expected, and one in case of doubt
_SUPPORT_NEIGHBOURS = 8
_WORST = 60.0  # a cost from which a support says nothing
_AT_ONCE = 1 << 16  # candidates whose supports are looked for by one thread


@dataclass(frozen=True)
class Pair:
    """Tensors of two passes; floes of the later pass follow those of the earlier one in the order of nodes.

    Args:
        first: Floes of the earlier pass.
        second: Floes of the later pass.
        nodes: Features [N, F].
        spatial: Spatial edges [2, S], neighbour → floe.
        spatial_attributes: [S, SPATIAL_ATTRIBUTES].
        candidates: Candidate edges [2, E], node → node.
        candidate_attributes: [E, F + CANDIDATE_GEOMETRY].
        belief: Probability of each candidate before anything is learnt [E], see `likelihood`.
        alone: Probability that each node has no partner [N], likewise.
        way: Displacement of each candidate [E, 2] in mean spacings.
        place: Position of each node [N, 2] in mean spacings.
        supports: [2, P], supporting candidate → supported one, in the order of the latter.
        support_attributes: [P, SUPPORT_ATTRIBUTES].
        support_turn: Angle from neighbour's place to its partner's place [P], radians.
    """

    first: int
    second: int
    nodes: Tensor
    spatial: Tensor
    spatial_attributes: Tensor
    candidates: Tensor
    candidate_attributes: Tensor
    belief: Tensor
    alone: Tensor
    way: Tensor
    place: Tensor
    supports: Tensor
    support_attributes: Tensor
    support_turn: Tensor


def make_pair(
    a: Nodes,
    b: Nodes,
    near: tuple[NDArray[np.int64], NDArray[np.int64]],
    edges: NDArray[np.int64],
    drift: NDArray[np.float64],
    reach_m: float,
) -> Pair:
    """Describe two passes to the matcher.

    Args:
        a: Floes of the earlier pass.
        b: Floes of the later pass.
        near: Neighbours of each floe of `a` and of `b`, [N, K] each, nearest first.
        edges: Candidates [2, E], index into `a` and `b`.
        drift: Coarse drift of each floe of `a` [Na, 2], metres.
        reach_m: How far a floe may have moved.
    """
    near_a, near_b = near
    space_a, space_b = spacing(a.xy), spacing(b.xy)
    unit = float(np.median(np.concatenate([space_a, space_b]))) if len(a) + len(b) else 1.0
    spatial = [_spatial(nodes, near, space, start) for nodes, near, space, start in ((a, near_a, space_a, 0), (b, near_b, space_b, len(a)))]
    from_a = b.xy[edges[1]] - a.xy[edges[0]]
    local = (space_a[edges[0]] + space_b[edges[1]]) / 2
    unlike = (a.features[edges[0]] - b.features[edges[1]]) / (np.sqrt(2) * NOISE)
    fit, own_turn, rest, unturned = best_fit(a.profile, b.profile, edges)
    rest_px = rest / np.maximum(a.pixel_m[edges[0]], b.pixel_m[edges[1]])
    outline = np.stack([4 * (1 - fit), 4 * (1 - unturned), np.log(rest_px + 0.1)], axis=1)
    alike = np.minimum(unlike**2, 9).mean(axis=1) + np.minimum(rest_px, 6)
    known = _beliefs(a, b, edges, rest_px, np.stack([from_a, from_a - drift[edges[0]]]) / reach_m)
    outline = np.concatenate([outline, _log_odds(known.pair)[:, None] / 4, np.log(rest_px / known.rest_px + 0.1)[:, None]], axis=1)
    supports, attributes, turn = _supports(a, b, edges, near_a, local, alike, own_turn)
    nodes = np.concatenate([a.features, b.features])
    return Pair(
        len(a),
        len(b),
        torch.from_numpy(nodes),
        torch.from_numpy(np.concatenate([edge for edge, _ in spatial], axis=1)),
        _float(np.concatenate([attribute for _, attribute in spatial])),
        torch.from_numpy(edges + np.array([[0], [len(a)]])),
        _float(np.concatenate([np.tanh(np.abs(unlike) / 3), outline, _geometry(a, b, edges, from_a, drift, local, reach_m)], axis=1)),
        _float(known.pair),
        _float(np.concatenate([known.first, known.second])),
        _float(from_a / unit),
        _float((np.concatenate([a.xy, b.xy]) - (a.xy.mean(axis=0) if len(a) else 0.0)) / unit),
        torch.from_numpy(supports),
        _float(attributes),
        _float(turn),
    )


def _float(values: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _beliefs(a: Nodes, b: Nodes, edges: NDArray[np.int64], rest_px: NDArray[np.floating], ways: NDArray[np.float64]) -> Beliefs:
    around = [2 * np.pi * side.profile.mean(axis=1, dtype=float) / side.pixel_m for side in (a, b)]
    points = np.clip((around[0][edges[0]] + around[1][edges[1]]) / 2, 8, RAYS)
    bright = (a.features[edges[0]] - b.features[edges[1]])[:, RADIOMETRY].astype(float)
    return beliefs(edges, (len(a), len(b)), rest_px.astype(float), points, bright, np.hypot(ways[..., 0], ways[..., 1]))


def _log_odds(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(chance / (1 - chance)))


def _spatial(
    nodes: Nodes, near: NDArray[np.int64], space: NDArray[np.float64], start: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Spatial edges [2, S] and, for each, distance, difference of size, and the neighbour's bearing from the floe's own long axis."""
    target = np.repeat(np.arange(len(nodes)), near.shape[1])
    source = near.ravel()
    off = nodes.xy[source] - nodes.xy[target]
    distance = np.hypot(off[:, 0], off[:, 1])
    bearing = 2 * (np.arctan2(off[:, 1], off[:, 0]) - nodes.axis[target])
    # A round floe has no long axis: its bearing fades out.
    trust = nodes.eccentricity[target] ** 2
    size = np.log(nodes.size_m[source] / nodes.size_m[target])
    attributes = np.stack([np.log(distance / space[target] + 0.1), size, trust * np.cos(bearing), trust * np.sin(bearing)], axis=1)
    return np.stack([source, target]) + start, attributes


def _geometry(
    a: Nodes,
    b: Nodes,
    edges: NDArray[np.int64],
    way: NDArray[np.float64],
    drift: NDArray[np.float64],
    local: NDArray[np.float64],
    reach_m: float,
) -> NDArray[np.float64]:
    """What place says of each candidate [E, 5]."""
    distance = np.hypot(way[:, 0], way[:, 1])
    off = np.hypot(*(way - drift[edges[0]]).T)
    size = np.sqrt(a.size_m[edges[0]] * b.size_m[edges[1]])
    columns = (np.log1p(distance / local), np.log1p(off / local), np.log1p(distance / size), np.log1p(off / size), distance / reach_m)
    return np.stack(columns, axis=1)


def _supports(
    a: Nodes,
    b: Nodes,
    edges: NDArray[np.int64],
    near: NDArray[np.int64],
    local: NDArray[np.float64],
    unlike: NDArray[np.float32],
    own_turn: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Supports [2, P], their attributes [P, SUPPORT_ATTRIBUTES], and their turn [P]; see the module's text."""
    ends = np.searchsorted(edges[0], np.arange(len(a) + 1))
    near = np.ascontiguousarray(near[:, :_SUPPORT_NEIGHBOURS])
    given = edges, ends, near, a.xy, b.xy, local, unlike.astype(np.float64), own_turn.astype(np.float64)
    parts = range(0, edges.shape[1], _AT_ONCE)
    found = deque(map_ahead(lambda first: _find_supports(first, min(first + _AT_ONCE, edges.shape[1]), *given), parts))
    count = sum(len(numbers) for _, numbers in found)
    # Of many floes there are millions: arrays filled part by part and column by column, and each part let go.
    place, attributes, turn = np.empty((2, count), np.int64), np.empty((count, SUPPORT_ATTRIBUTES), np.float32), np.empty(count, np.float32)
    end = 0
    while found:
        where, numbers = found.popleft()
        rows = slice(end, end := end + len(numbers))
        stretch, aside, angle, far, cost, rank = numbers.T
        place[:, rows], turn[rows] = where, angle
        columns = (np.tanh(2 * stretch), np.tanh(aside), np.tanh(2 * np.hypot(stretch, aside)), np.abs(angle), far, np.exp(-cost / 4), rank)
        for number, column in enumerate(columns):
            attributes[rows, number] = column
    return place, attributes, turn


@compiled
def _find_supports(
    first: int,
    last: int,
    edges: NDArray[np.int64],
    ends: NDArray[np.int64],
    near: NDArray[np.int64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    local: NDArray[np.float64],
    unlike: NDArray[np.float64],
    own_turn: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Supports [2, P] of the candidates from `first` to before `last`, and what is known of them.

    That is, stretch and departure aside in spacings, turn, distance in spacings, cost and rank [P, 6]. `ends` tells where the edges of each
    floe of the earlier pass begin and end.
    """
    most = (last - first) * near.shape[1] * _SUPPORTS
    place, numbers = np.empty((2, most), np.int32), np.empty((most, 6), np.float32)
    count = 0
    best = np.empty((_SUPPORTS, 6))
    chosen = np.empty(_SUPPORTS, np.int64)
    for edge in range(first, last):
        i, j = edges[0, edge], edges[1, edge]
        for k in range(near.shape[1]):
            n = near[i, k]
            base_x, base_y = a[n, 0] - a[i, 0], a[n, 1] - a[i, 1]
            long = np.hypot(base_x, base_y)
            far = long / local[edge]
            found = 0
            for support in range(ends[n], ends[n + 1]):
                m = edges[1, support]
                if m == j:
                    continue
                then_x, then_y = b[m, 0] - b[j, 0], b[m, 1] - b[j, 1]
                stretch = abs(np.hypot(then_x, then_y) - long) / local[edge]
                cost = (stretch / 0.3) ** 2 + 2 * unlike[support]
                if cost >= _WORST:
                    continue
                turn = np.arctan2(base_x * then_y - base_y * then_x, base_x * then_x + base_y * then_y)
                # Surroundings lie as they lay, or turned as the floe itself did.
                against = abs((turn - own_turn[edge] + np.pi) % (2 * np.pi) - np.pi)
                aside = min(abs(turn), against) * far
                # The partner wanted is near its expected place, allowing for some turn, and looks like the neighbour.
                cost += (aside / (0.3 + 0.4 * far)) ** 2
                if cost >= _WORST or (found == _SUPPORTS and cost >= best[found - 1, 4]):
                    continue
                at = min(found, _SUPPORTS - 1)
                while at > 0 and best[at - 1, 4] > cost:
                    best[at], chosen[at] = best[at - 1], chosen[at - 1]
                    at -= 1
                best[at, 0], best[at, 1], best[at, 2], best[at, 3], best[at, 4] = stretch, aside, turn, far, cost
                chosen[at] = support
                found = min(found + 1, _SUPPORTS)
            for rank in range(found):
                place[0, count], place[1, count] = chosen[rank], edge
                best[rank, 5] = rank
                numbers[count] = best[rank]
                count += 1
    return place[:, :count], numbers[:count]  # what lies beyond was never touched and takes no memory
