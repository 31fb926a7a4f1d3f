"""Tracks over many passes: matches of neighbouring passes first, then gaps bridged by pairs further apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icegraph.graph import Graph
from icegraph.graph.pattern import NO_PATTERN, PatternDrift
from icegraph.track.assign import assign
from icegraph.track.consensus import Matches, evidence, weigh

_LEAST_BELIEF = 0.5
_LITTLE_LOST = 0.8  # neighbours that take no more than this of a match's confidence say nothing against it


@dataclass(frozen=True)
class Scored:
    """A pair of passes after the matcher.

    Args:
        first: Index of the earlier pass.
        second: Index of the later pass.
        edges: Candidates [2, E], index into the floes of either pass.
        gain: Log odds of each candidate against no partner [E], see `assign`.
        confidence: Probability of each candidate [E].
        pattern: How the ice itself moved.
    """

    first: int
    second: int
    edges: NDArray[np.int64]
    gain: NDArray[np.float64]
    confidence: NDArray[np.float64]
    pattern: PatternDrift = NO_PATTERN


@dataclass(frozen=True)
class Link:
    """Two sightings of one floe that follow each other: pass and floe index of both, and how sure."""

    first: int
    floe: int
    second: int
    partner: int
    confidence: float


@dataclass(frozen=True)
class Tracks:
    """Sightings in tracks.

    Args:
        links: In the order of time.
        track: For each pass, the track of each of its floes [N]; tracks count from 1 by first time, then from the upper left (largest
            y, then smallest x) of the first sighting.
    """

    links: list[Link]
    track: list[NDArray[np.int64]]


def link_tracks(graph: Graph, scored: Sequence[Scored]) -> Tracks:
    """Join matches to tracks.

    Pairs are taken by how many passes they skip; a pair that skips some may join only floes that have no successor and no predecessor
    so far, and then chooses anew among these. A match that its neighbours and the pictures speak against (see `consensus`) is not made;
    floes that are followed through the passes between are neighbours too.
    """
    successor = [np.full(len(entry.nodes), -1, np.int64) for entry in graph.passes]
    predecessor = [np.full(len(entry.nodes), -1, np.int64) for entry in graph.passes]
    links: list[Link] = []
    rank = _steps(scored)
    for number in sorted(range(len(scored)), key=lambda n: (rank[n], scored[n].first, scored[n].second)):
        pair = scored[number]
        free = (successor[pair.first][pair.edges[0]] < 0) & (predecessor[pair.second][pair.edges[1]] < 0)
        index = np.nonzero(free)[0]
        one, other = graph.passes[pair.first].nodes, graph.passes[pair.second].nodes
        start, end = one.xy[pair.edges[0]].astype(float), other.xy[pair.edges[1]].astype(float)
        size = one.size_m[pair.edges[0]].astype(float)
        known, there, sure = _followed(links, successor, pair.first, pair.second)
        followed = one.xy[known].astype(float), other.xy[there].astype(float), one.size_m[known].astype(float), sure
        chosen = index[assign(pair.edges[:, index], pair.gain[index], (len(one), len(other)))]
        # Chosen anew after the first choice has told how the ice around each candidate moved.
        matches = _joined((start[chosen], end[chosen], size[chosen], pair.confidence[chosen]), followed)
        gain = pair.gain[index] + evidence(start[index], end[index], size[index], matches, pair.pattern)
        chosen = index[assign(pair.edges[:, index], gain, (len(one), len(other)))]
        before = pair.confidence[chosen]
        belief = weigh(*_joined((start[chosen], end[chosen], size[chosen], before), followed), pair.pattern)[: len(chosen)]
        kept = (belief >= _LEAST_BELIEF) | (belief >= _LITTLE_LOST * before)
        for edge, confidence in zip(chosen[kept], belief[kept], strict=True):
            floe, partner = (int(k) for k in pair.edges[:, edge])
            successor[pair.first][floe] = predecessor[pair.second][partner] = len(links)
            links.append(Link(pair.first, floe, pair.second, partner, float(confidence)))
    return renumbered(graph, links)


def _joined(matches: Matches, others: Matches) -> Matches:
    start, end, size, confidence = (np.concatenate(both) for both in zip(matches, others, strict=True))
    return start, end, size, confidence


def _followed(
    links: Sequence[Link], successor: Sequence[NDArray[np.int64]], first: int, second: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The floes of one pass that are followed to another, which they are there, and how sure the least sure link between is [N]."""
    found: list[tuple[int, int, float]] = []
    for floe in range(len(successor[first])):
        number, now, least = first, floe, 1.0
        while number < second and successor[number][now] >= 0:
            link = links[successor[number][now]]
            number, now, least = link.second, link.partner, min(least, link.confidence)
        if number == second:
            found.append((floe, now, least))
    known, there, sure = zip(*found, strict=True) if found else ((), (), ())
    return np.array(known, np.int64), np.array(there, np.int64), np.array(sure, float)


def renumbered(graph: Graph, links: Sequence[Link]) -> Tracks:
    """Tracks made of links."""
    predecessor = [np.full(len(entry.nodes), -1, np.int64) for entry in graph.passes]
    for number, link in enumerate(links):
        predecessor[link.second][link.partner] = number
    return Tracks(sorted(links, key=lambda link: (link.first, link.second, link.floe)), _number(graph, links, predecessor))


def _steps(scored: Sequence[Scored]) -> list[int]:
    """How many of its possible partners each pair passes over: 0 for the next overlapping pass."""
    order = sorted(range(len(scored)), key=lambda n: (scored[n].first, scored[n].second))
    steps, count = [0] * len(scored), -1
    for before, number in zip([None, *order[:-1]], order, strict=True):
        count = count + 1 if before is not None and scored[before].first == scored[number].first else 0
        steps[number] = count
    return steps


def _number(graph: Graph, links: Sequence[Link], predecessor: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    track = [np.zeros(len(entry.nodes), np.int64) for entry in graph.passes]
    last = 0
    for number, entry in enumerate(graph.passes):
        for floe in np.lexsort((entry.nodes.xy[:, 0], -entry.nodes.xy[:, 1])):
            link = predecessor[number][floe]
            if link < 0:
                last += 1
                track[number][floe] = last
            else:
                track[number][floe] = track[links[link].first][links[link].floe]
    return track
