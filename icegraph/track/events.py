"""How tracks begin and end: births and deaths, floes that break and floes that freeze together.

A floe breaks where its track ends and two or three begin about the place to which it would have drifted, with together its area and,
hull for hull, its shape. A merge is the same, seen backwards in time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from icegraph.graph import Graph, GraphPass
from icegraph.graph.profile import best_fit, profiles
from icegraph.track.link import Tracks, renumbered

BIRTH, DEATH, SPLIT, MERGE = "birth", "death", "split", "merge"

_NEIGHBOURS = 8  # links that tell how a floe would have drifted
_PIECES = 3  # at most
_NEAR_PIECES = 6  # tried
_AREA = 0.15  # the pieces' area may differ by so much of the whole's
_AWAY = 0.75  # of the whole's size: how far pieces may have gone, together, from where they belong
_APART = 1.6  # times as far may each of them be: pieces lie to either side, and drift apart
_FIT = 0.65  # of the hulls
_PLACE_M = 500.0
_DOUBTFUL = 0.25  # log ratio of areas from which a match may be that of a floe with one piece of it


@dataclass(frozen=True)
class Events:
    """What befalls tracks.

    Args:
        begins: Track → `BIRTH`, `SPLIT` (it is a piece of another) or `MERGE` (it is made of others); not those that the first pass shows.
        ends: Track → `DEATH`, `SPLIT` (it broke) or `MERGE` (it became part of another); not those that the last pass shows.
        parents: Track → the tracks it came from.
        children: Track → the tracks it became.
    """

    begins: dict[int, str] = field(default_factory=dict)
    ends: dict[int, str] = field(default_factory=dict)
    parents: dict[int, list[int]] = field(default_factory=dict)
    children: dict[int, list[int]] = field(default_factory=dict)


def find_events(graph: Graph, tracks: Tracks) -> Events:
    """Tell how the tracks of a graph begin and end."""
    out = Events()
    follows = {pair.first: pair.second for pair in reversed(graph.pairs)}  # the first pair of each pass
    last = {sea: max(np.flatnonzero(graph.seas == sea)) for sea in graph.seas}
    first = {sea: min(np.flatnonzero(graph.seas == sea)) for sea in graph.seas}
    ended = _alone(graph, [(link.first, link.floe) for link in tracks.links])
    begun = _alone(graph, [(link.second, link.partner) for link in tracks.links])
    for number, sea in enumerate(graph.seas):
        if number != first[sea]:
            out.begins.update(dict.fromkeys(map(int, tracks.track[number][begun[number]]), BIRTH))
        if number != last[sea]:
            out.ends.update(dict.fromkeys(map(int, tracks.track[number][ended[number]]), DEATH))
    for one, other in follows.items():
        a, b = graph.passes[one], graph.passes[other]
        links = [link for link in tracks.links if (link.first, link.second) == (one, other)]
        there = np.array([(link.floe, link.partner) for link in links], np.int64).reshape(-1, 2)
        for whole, pieces in _broken(a, b, ended[one], begun[other], there):
            parent, children = int(tracks.track[one][whole]), [int(tracks.track[other][piece]) for piece in pieces]
            _tell(out, SPLIT, [parent], children)
        for whole, pieces in _broken(b, a, begun[other], ended[one], there[:, ::-1]):
            parents, child = [int(tracks.track[one][piece]) for piece in pieces], int(tracks.track[other][whole])
            if not any(out.ends.get(parent) == SPLIT for parent in parents) and out.begins.get(child) != SPLIT:
                _tell(out, MERGE, parents, [child])
    return out


def without_breaks(graph: Graph, tracks: Tracks) -> Tracks:
    """The tracks without links between a floe and one piece of it, where other pieces tell that it broke or froze together."""
    follows = {pair.first: pair.second for pair in reversed(graph.pairs)}
    ended = _alone(graph, [(link.first, link.floe) for link in tracks.links])
    begun = _alone(graph, [(link.second, link.partner) for link in tracks.links])
    wrong = set()
    for one, other in follows.items():
        a, b = graph.passes[one], graph.passes[other]
        there = np.array([(k.floe, k.partner) for k in tracks.links if (k.first, k.second) == (one, other)], np.int64).reshape(-1, 2)
        more = 2 * np.log(a.nodes.size_m[there[:, 0]] / b.nodes.size_m[there[:, 1]])
        for sign, end, ways, free in ((1, (a, b), there, begun[other]), (-1, (b, a), there[:, ::-1], ended[one])):
            doubtful = ways[sign * more > _DOUBTFUL]
            for whole, pieces in _broken(*end, doubtful[:, 0], np.concatenate([free, doubtful[:, 1]]), ways):
                own = int(doubtful[doubtful[:, 0] == whole, 1][0])
                if own in pieces:
                    wrong.add((one, whole, other, own) if sign > 0 else (one, own, other, whole))
    return renumbered(graph, [k for k in tracks.links if (k.first, k.floe, k.second, k.partner) not in wrong])


def _tell(out: Events, kind: str, parents: Sequence[int], children: Sequence[int]) -> None:
    for parent in parents:
        out.ends[parent] = kind
        out.children[parent] = sorted(children)
    for child in children:
        out.begins[child] = kind
        out.parents[child] = sorted(parents)


def _alone(graph: Graph, linked: Sequence[tuple[int, int]]) -> list[NDArray[np.int64]]:
    """Of each pass, the floes that are not among the linked."""
    free = [np.ones(len(entry.nodes), bool) for entry in graph.passes]
    for number, floe in linked:
        free[number][floe] = False
    return [np.flatnonzero(those) for those in free]


def _broken(
    a: GraphPass, b: GraphPass, wholes: NDArray[np.int64], pieces: NDArray[np.int64], links: NDArray[np.int64]
) -> list[tuple[int, tuple[int, ...]]]:
    """Floes of `a` among the `wholes`, each with those of the `pieces` of `b` that it broke into; the surest first, none twice.

    What the edge of a pass cuts off a floe may look broken off: such floes and pieces are left out.
    """
    wholes, pieces = (those[~end.table["touches_edge"].to_numpy(bool)[those]] for end, those in ((a, wholes), (b, pieces)))
    if not len(links) or not len(wholes) or len(pieces) < 2:
        return []
    size_a, size_b = a.nodes.size_m.astype(float), b.nodes.size_m.astype(float)
    near = cKDTree(a.nodes.xy[links[:, 0]]).query(a.nodes.xy[wholes], k=np.arange(1, min(_NEIGHBOURS, len(links)) + 1))[1]
    way = np.median((b.nodes.xy[links[:, 1]] - a.nodes.xy[links[:, 0]])[near], axis=1)
    tree, found = cKDTree(b.nodes.xy[pieces]), []
    for whole, place in zip(wholes.tolist(), a.nodes.xy[wholes] + way, strict=True):
        around = pieces[tree.query_ball_point(place, _APART * (_AWAY * size_a[whole] + _PLACE_M))]
        around = around[size_b[around] < 0.97 * size_a[whole]]
        around = around[np.argsort(-size_b[around], kind="stable")][:_NEAR_PIECES]
        for number in range(2, _PIECES + 1):
            for chosen in combinations(around.tolist(), number):
                cost = _cost(a, b, whole, list(chosen), place)
                if cost < 1:
                    found.append((cost, whole, chosen))
    out: list[tuple[int, tuple[int, ...]]] = []
    for _, whole, chosen in sorted(found):
        if not any(whole == other or set(chosen) & set(those) for other, those in out):
            out.append((whole, chosen))
    return out


def _cost(a: GraphPass, b: GraphPass, whole: int, pieces: list[int], place: NDArray[np.float64]) -> float:
    """How badly pieces make up a floe, from 0; 1 and more: they do not."""
    area = np.square(b.nodes.size_m[pieces], dtype=float)
    size = float(a.nodes.size_m[whole])
    more = abs(area.sum() / size**2 - 1) / _AREA
    off = float(np.hypot(*(np.average(b.nodes.xy[pieces], axis=0, weights=area) - place))) / (_AWAY * size + _PLACE_M)
    if max(more, off) >= 1:
        return 1.0
    together = shapely.convex_hull(shapely.union_all(b.table.geometry.to_numpy()[pieces]))
    before = shapely.convex_hull(a.table.geometry.to_numpy()[whole])
    hulls = [profiles(np.array([hull]), entry.pixel_m) for hull, entry in ((before, a), (together, b))]
    fit = float(best_fit(hulls[0], hulls[1], np.zeros((2, 1), np.int64))[0][0])
    return 1.0 if fit < _FIT else (more + off + (1 - fit) / (1 - _FIT)) / 3
