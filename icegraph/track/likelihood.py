"""How probable it is that two floes are one, by what they look like and how far apart they lie, before any learning.

How well outlines, brightness and places of one floe agree is not known beforehand: it hangs on the sensor, the ice and the hand that drew.
So it is estimated from the pair of passes itself by expectation maximisation (Dempster et al. 1977,
doi 10.1111/j.2517-6161.1977.tb01600.x): what is probably one floe tells how much such pairs differ, which tells what is probably one floe.
That no floe has two partners, and that it may have none, is brought in by belief propagation on the candidates, whose marginals are
close to the exact ones for assignments (Chertkov et al. 2010, doi 10.1073/pnas.0910994107).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]

LEAST = 1e-6  # no candidate is less probable: what is learnt must be able to speak for it
_ROUNDS = 4
_MESSAGES = 12
_REST_PX = 0.7  # what is left between two outlines of a floe, to begin with, and at least
_LEAST_REST_PX = 0.25
_FREE = 0.35  # independent errors along an outline, a pixel
_BRIGHT, _LEAST_BRIGHT = 0.6, 0.15  # two brightnesses of a floe differ so, to begin with, and at least, in units of their features
_TRUST = 0.7  # bands are alike, so that three say less than three times as much as one
_STEPS = np.geomspace(0.03, 1.0, 10)  # of the reach
_SURE = 20.0  # matches that the first guess of each estimate counts for
_DOF = 5.0  # of Student's t
_CHANCE = 4.0  # the square of how much worse than expected an outline fits where it may as well be one that the other pass does not show


@dataclass(frozen=True)
class Beliefs:
    """Marginal probabilities.

    Args:
        pair: That the floes of each candidate are one [E].
        first: That a floe of the earlier pass has no partner [Na].
        second: The same for the later pass [Nb].
        rest_px: What drawing a floe anew leaves between its outlines in these passes, pixels.
    """

    pair: Doubles
    first: Doubles
    second: Doubles
    rest_px: float


def beliefs(edges: Whole, shape: tuple[int, int], rest_px: Doubles, points: Doubles, bright: Doubles, away: Doubles) -> Beliefs:
    """Probabilities of candidates.

    Args:
        edges: Candidates [2, E].
        shape: Number of floes in the earlier and the later pass.
        rest_px: Root mean square of what is left between the two outlines at the best turn [E], pixels.
        points: Length of the outline [E], pixels.
        bright: Differences of brightness [E, B]; 0 throughout where it is not known.
        away: Ways to tell how far the floes lie from each other [W, E], as a part of the reach: of all, that which tells most is used.
    """
    if not edges.shape[1]:
        return Beliefs(np.zeros(0), np.ones(shape[0]), np.ones(shape[1]), _REST_PX)
    rest, noise = _REST_PX, np.full(bright.shape[1], _BRIGHT)
    spread = np.sqrt(np.square(bright).mean(axis=0))
    told = np.flatnonzero(spread > 0)
    noise[told] = np.minimum(noise[told], spread[told])
    near = np.zeros(edges.shape[1])
    for _ in range(_ROUNDS):
        odds = _outlines(edges, shape, rest_px, points, rest) + near
        for band in told:
            odds += _TRUST * _band(bright[:, band], noise[band], spread[band])
        pair, first, second = _marginals(edges, shape, odds)
        weight = np.where(pair > 0.5, pair, 0.0)
        total = weight.sum() + _SURE
        rest = max(np.sqrt((weight @ np.square(rest_px) + _SURE * _REST_PX**2) / total), _LEAST_REST_PX)
        for band in told:
            guess = min(_BRIGHT, spread[band])
            square = np.minimum(np.square(bright[:, band]), (4 * noise[band]) ** 2)
            noise[band] = min(max(np.sqrt((weight @ square + _SURE * guess**2) / total), _LEAST_BRIGHT), spread[band])
        near = max((_nearness(part, pair) for part in away), key=lambda ratio: float(pair @ ratio))
    return Beliefs(pair, first, second, rest)


def _outlines(edges: Whole, shape: tuple[int, int], rest_px: Doubles, points: Doubles, rest: float) -> Doubles:
    """Log ratio [E] of how well outlines fit to how well those of different floes do, as either floe's candidates show it."""
    free = _FREE * points
    # Student's t, not the normal density: some floes are drawn much worse than others.
    fit = -(_DOF + free) / 2 * np.log1p(free / _DOF * (rest_px / rest) ** 2)
    # What fits no better than this may be any floe, one that is no candidate too.
    chance = -(_DOF + free) / 2 * np.log1p(free / _DOF * _CHANCE)
    sides = []
    for index, number in zip(edges, shape, strict=True):
        best = np.full(number, -np.inf)
        np.maximum.at(best, index, np.maximum(fit, chance))
        count = np.maximum(np.bincount(index, minlength=number) - 1, 1)
        like = np.exp(fit - best[index])
        others = np.maximum(np.bincount(index, like, number)[index] - like, 0) / count[index]
        sides.append(best[index] + np.log(others + np.exp(chance - best[index])))
    return np.asarray(fit - (sides[0] + sides[1]) / 2, np.float64)


def _band(difference: Doubles, noise: float, spread: float) -> Doubles:
    """Log ratio [E] of two normal densities, of which the narrow one errs in a twentieth of all cases."""
    narrow = 0.95 * np.exp(-0.5 * (difference / noise) ** 2) / noise
    wide = np.exp(-0.5 * (difference / spread) ** 2) / spread
    return np.asarray(np.log((narrow + 0.05 * wide) / np.maximum(wide, 1e-30)).clip(-3, 3))


def _nearness(away: Doubles, pair: Doubles) -> Doubles:
    """Log ratio [E] of how often floes so far from each other are one to how often they are candidates."""
    step = np.searchsorted(_STEPS, away)
    number = len(_STEPS) + 1
    all_, one = np.bincount(step, minlength=number), np.bincount(step, pair, number)
    share, chance = one / max(pair.sum(), 1e-9), all_ / len(away)
    weight = pair.sum() / (pair.sum() + _SURE)
    return np.asarray(weight * np.log((share + 0.01) / (chance + 0.01))[step])


def _marginals(edges: Whole, shape: tuple[int, int], odds: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Marginals of a partial assignment whose probability is the product of the odds [E] of its pairs (sum-product, damped)."""
    one, other = edges
    candidates = edges.shape[1] / np.maximum(np.unique(one).size, 1)
    weight = np.exp(np.clip(odds - np.log(candidates), -30, 30))
    to_one = np.ones(len(weight))
    to_other = np.ones(len(weight))
    for _ in range(_MESSAGES):
        part = weight * to_one
        to_other = 1 / (1 + np.maximum(np.bincount(one, part, shape[0])[one] - part, 0))
        part = weight * to_other
        to_one = (to_one + 1 / (1 + np.maximum(np.bincount(other, part, shape[1])[other] - part, 0))) / 2
    belief = weight * to_one * to_other
    pair = belief / (1 + belief)
    alone = _alone(one, shape[0], pair), _alone(other, shape[1], pair)
    return np.asarray(np.clip(pair, LEAST, 1 - LEAST), np.float64), *alone


def _alone(floe: Whole, number: int, pair: Doubles) -> Doubles:
    return np.asarray(np.clip(1 - np.bincount(floe, pair, number), LEAST, 1), np.float64)
