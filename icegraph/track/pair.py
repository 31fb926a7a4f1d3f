"""What the matcher sees of two passes: relative things only, so that a shift or a turn of the whole plane changes nothing.

Three sparse sets of edges: spatial (floe, its neighbour in the same pass), candidate (floe, possible partner), and supports (candidate
i→j, candidate n→m), where n is a neighbour of i: if i moved to j as one piece with its surroundings, m should lie from j as n lies from i.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icegraph.graph.nodes import NOISE, Nodes, spacing
from icegraph.graph.profile import best_fit

SPATIAL_ATTRIBUTES = 4
CANDIDATE_GEOMETRY = 8
SUPPORT_ATTRIBUTES = 7
_SUPPORTS = 2  # partners kept of each neighbour: the one expected, and one in case of doubt
_SUPPORT_NEIGHBOURS = 8


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
        way: Displacement of each candidate [E, 2] in mean spacings.
        place: Position of each node [N, 2] in mean spacings.
        supports: [2, P], supporting candidate → supported one.
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
        _float(from_a / unit),
        _float((np.concatenate([a.xy, b.xy]) - (a.xy.mean(axis=0) if len(a) else 0.0)) / unit),
        torch.from_numpy(supports),
        _float(attributes),
        _float(turn),
    )


def _float(values: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


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
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Supports [2, P], their attributes, and their turn; see the module's text."""
    table = _edges_of(edges[0], len(a))  # [Na, k] candidate numbers, -1 where there are fewer
    near = near[:, :_SUPPORT_NEIGHBOURS]
    step = max(1, 2_000_000 // max(near.shape[1] * table.shape[1], 1))
    blocks = (np.arange(first, min(first + step, edges.shape[1])) for first in range(0, edges.shape[1], step))
    found = [_supports_of(rows, a, b, edges, near, table, local, unlike, own_turn) for rows in blocks]
    if not found or near.shape[1] == 0:
        return np.zeros((2, 0), np.int64), np.zeros((0, SUPPORT_ATTRIBUTES)), np.zeros(0)
    return np.concatenate([x[0] for x in found], axis=1), np.concatenate([x[1] for x in found]), np.concatenate([x[2] for x in found])


def _supports_of(
    rows: NDArray[np.int64],
    a: Nodes,
    b: Nodes,
    edges: NDArray[np.int64],
    near: NDArray[np.int64],
    table: NDArray[np.int64],
    local: NDArray[np.float64],
    unlike: NDArray[np.float32],
    own_turn: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    n = near[edges[0, rows]]  # [R, K]
    support = table[n]  # [R, K, k]
    m = edges[1, support]
    base = _complex(a.xy[n] - a.xy[edges[0, rows], None])[..., None]
    then = _complex(b.xy[m] - b.xy[edges[1, rows], None, None])
    ratio = then / np.where(base == 0, 1.0, base)
    turn, far, space = np.angle(ratio), np.abs(base), local[rows, None, None]
    # Surroundings lie as they lay, or turned as the floe itself did.
    against = np.abs((turn - own_turn[rows, None, None] + np.pi) % (2 * np.pi) - np.pi)
    stretch, aside = (np.abs(then) - far) / space, np.minimum(np.abs(turn), against) * far / space
    # The partner wanted is near its expected place, allowing for some turn, and looks like the neighbour.
    cost = (stretch / 0.3) ** 2 + (aside / (0.3 + 0.4 * far / space)) ** 2 + 2 * unlike[support]
    cost = np.where((support < 0) | (edges[1, rows, None, None] == m), np.inf, cost)
    most = min(_SUPPORTS, cost.shape[2])
    best = np.argpartition(cost, most - 1, axis=2)[..., :most]
    pick = [np.take_along_axis(np.broadcast_to(x, cost.shape), best, axis=2) for x in (cost, support, stretch, aside, turn, far / space)]
    good = pick[0] < 60
    cost, support, stretch, aside, turn, far = (x[good] for x in pick)
    target = np.broadcast_to(rows[:, None, None], good.shape)[good]
    rank = np.broadcast_to(np.arange(good.shape[2]), good.shape)[good]
    off = np.hypot(stretch, aside)
    columns = (np.tanh(2 * np.abs(stretch)), np.tanh(aside), np.tanh(2 * off), np.abs(turn), far, np.exp(-cost / 4), rank)
    return np.stack([support, target]), np.stack(columns, axis=1), turn


def _complex(way: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(way[..., 0] + 1j * way[..., 1])


def _edges_of(source: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Numbers of the edges that leave each node [number, most], −1 where there are fewer; `source` is sorted."""
    counts = np.bincount(source, minlength=number)
    table = np.full((number, max(int(counts.max(initial=0)), 1)), -1, np.int64)
    table[source, np.arange(source.size) - (np.cumsum(counts) - counts)[source]] = np.arange(source.size)
    return table
