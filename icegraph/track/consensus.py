"""Do a match and its neighbours move alike? A second witness, independent of what the floes look like.

Ice near by drifts and turns together, and a match that agrees with none of its neighbours is doubtful: the more so, the more the others
agree. Neighbours are other matches, and patches of ice whose motion the pictures tell. Where floes drift freely their neighbours say
nothing of them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from icegraph.graph.pattern import NO_PATTERN, PatternDrift

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
Matches = tuple[Floats, Floats, Floats, Floats]  # what `weigh` takes of matches

_NEIGHBOURS = 12
_LEAST = 3  # neighbours needed for a verdict
_SHARE = 0.4  # of the neighbours' weight that must agree
_STRAIN = 0.05  # displacements of floes a distance d apart may differ by so much of d, beside what the ice turns
_TURN = 0.3  # radians between two passes: what neighbours may turn without seeming wild at the first guess
_CHANCE = 0.1  # a wrong match agrees with its neighbours by chance
_COHERENT = 0.1, 0.98  # share of the matches that move as their neighbours do, at least and at most
_BEFORE = 2.7, 3.0  # what is taken to be known beforehand: so many matches that move along, of so many
_TOGETHER = 0.7  # less than this share of the matches moves along: the ice does not drift as one
_ROUNDS = 10


def weigh(start: Floats, end: Floats, size_m: Floats, confidence: Floats, pattern: PatternDrift = NO_PATTERN) -> Floats:
    """Weigh the confidence of matches by whether their neighbours move alike.

    Bayes' rule with one observation, agreement (a) with the neighbourhood: P(a | right) is the coherence of the ice, estimated from the
    matches by expectation maximisation, P(a | wrong) is small.

    Args:
        start: Places in the earlier pass [M, 2], metres.
        end: Places in the later pass [M, 2], metres.
        size_m: Square root of each floe's area [M], metres.
        confidence: Probability that each match is right, by the floes' looks and candidates [M].
        pattern: How the ice itself moved; a patch is trusted as far as it correlates.

    Returns:
        The same probability after the observation [M].
    """
    if not len(start) or len(start) + len(pattern) <= _LEAST:
        return confidence
    return _observed(start, end, size_m, confidence, pattern)[0]


def evidence(start: Floats, end: Floats, size_m: Floats, matches: Matches, pattern: PatternDrift = NO_PATTERN) -> Floats:
    """What the matches made so far say for or against each candidate [E]: log P(a | right) / P(a | wrong), 0 where they say nothing.

    Args:
        start: Places of the candidates in the earlier pass [E, 2], metres.
        end: Their places in the later pass [E, 2].
        size_m: Square root of each floe's area [E].
        matches: Start, end, size and confidence, as `weigh` takes them; one of the same floe of the earlier pass is no neighbour.
        pattern: How the ice itself moved.
    """
    known, to, sizes, confidence = matches
    if len(known) + len(pattern) <= _LEAST or not len(start) or not len(known):
        return np.zeros(len(start))
    belief, coherent = _observed(known, to, sizes, confidence, pattern)
    if coherent <= _TOGETHER:
        return np.zeros(len(start))
    near, away, others = _neighbours(start, known, to, pattern)
    weight = np.concatenate([belief, pattern.correlation])[near] * (np.abs(away) > 1e-6)
    agrees = _agrees(_complex(end - start), away, others, size_m, weight, weight)
    odds = coherent / _CHANCE, (1 - coherent) / (1 - _CHANCE)
    return np.log(np.where(agrees, *odds))


def _observed(start: Floats, end: Floats, size_m: Floats, confidence: Floats, pattern: PatternDrift) -> tuple[Floats, float]:
    """The probability of each match after the observation [M], and how coherent the ice is."""
    near, away, others = _neighbours(start, start, end, pattern)
    near, away, others, way = near[:, 1:], away[:, 1:], others[:, 1:], _complex(end - start)
    steady = _steady(away, others, size_m, np.concatenate([confidence, pattern.correlation])[near])
    belief, coherent = confidence, _COHERENT[1]
    for _ in range(_ROUNDS):
        weight = np.concatenate([belief, pattern.correlation])[near]
        agrees = _agrees(way, away, others, size_m, weight, weight * steady)
        coherent = float(np.clip(((belief * agrees).sum() + _BEFORE[0]) / (belief.sum() + _BEFORE[1]), *_COHERENT))
        right = confidence * np.where(agrees, coherent, 1 - coherent)
        wrong = (1 - confidence) * np.where(agrees, _CHANCE, 1 - _CHANCE)
        belief = right / np.maximum(right + wrong, 1e-12)
    return belief, coherent


def _neighbours(place: Floats, start: Floats, end: Floats, pattern: PatternDrift) -> tuple[NDArray[np.intp], Complex, Complex]:
    """The matches and patches nearest to each place [M, K], itself first where it is one: which, how far away, and their displacements."""
    places, ways = np.concatenate([start, pattern.xy]), np.concatenate([end - start, pattern.shift])
    near = cKDTree(places).query(place, k=min(_NEIGHBOURS + 1, len(places)))[1]
    return near, _complex(places[near] - place[:, None]), _complex(ways[near])


def _agrees(way: Complex, away: Complex, others: Complex, size_m: Floats, weight: Floats, steady: Floats) -> NDArray[np.bool_]:
    """Whether displacements [M] are those [M, K] of most of the neighbours so far away [M, K], by their weight [M, K].

    The turn that the neighbours share is told by those that are `steady` [M, K].
    """
    off = np.abs(way[:, None] - _without_turn(away, others, steady))
    alike = off < 0.5 * size_m[:, None] + _STRAIN * np.abs(away)
    return np.asarray((alike * weight).sum(axis=1) >= _SHARE * np.maximum(weight.sum(axis=1), 1e-9))


def _steady(away: Complex, others: Complex, size_m: Floats, weight: Floats) -> Floats:
    """How like the displacement that most neighbours' are like each neighbour's is [M, K], 0..1: wild ones would spoil a fit."""
    votes, steady = np.full(len(away), -1.0), np.zeros(weight.shape)
    for k in range(away.shape[1]):
        off, apart = (np.abs(values - values[:, k : k + 1]) for values in (others, away))
        like = 1 / (1 + np.square(off / (0.5 * size_m[:, None] + _TURN * apart)))
        count = (like * weight).sum(axis=1)
        steady[count > votes] = like[count > votes]
        votes = np.maximum(votes, count)
    return steady


def _without_turn(away: Complex, ways: Complex, weight: Floats) -> Complex:
    """What of the neighbours' displacements [M, K] is left where they are 0 away, if they turn (and stretch) as one.

    The turn is fitted by least squares, with one more neighbour, of their mean weight and distance, that does not turn: few say little.
    """
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    middle, mean = ((values * weight).sum(axis=1, keepdims=True) / total for values in (away, ways))
    from_middle = away - middle
    spread = (weight * np.abs(from_middle) ** 2).sum(axis=1, keepdims=True) * (1 + 1 / away.shape[1])
    turn = (weight * from_middle.conj() * (ways - mean)).sum(axis=1, keepdims=True) / np.maximum(spread, 1e-9)
    return np.asarray(ways - turn * away)


def _complex(values: Floats) -> Complex:
    """Points or ways [..., 2] of the plane as complex numbers [...]."""
    return np.asarray(values[..., 0] + 1j * values[..., 1])
