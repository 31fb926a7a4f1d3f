"""Where floes will be: a Kalman filter along each track, with a velocity that is forgotten as winds change.

State (x, y, u, v). Each component of the velocity is an Ornstein–Uhlenbeck process of standard deviation s and memory T, as drifting buoys
show it (Rampal et al. 2009, doi 10.1029/2008JC005227); on top of it tides and inertial loops move the floe to and fro, which from
sighting to sighting is a random walk of D m²/s. With e = exp(−dt/T), for each axis

    F = [[1, T (1 − e)], [0, e]]
    Q = s² [[T² (2 dt/T − 3 + 4 e − e²), T (1 − e)²], [T (1 − e)², 1 − e²]] + [[D dt, 0], [0, 0]]

A sighting measures x and y. A new track starts at the mean velocity of the drift around it with that drift's variance, so the velocity of
a short track leans on its neighbours and a longer one speaks for itself.

How restless ice is differs from sea to sea and from week to week, so that the covariance is scaled by what the filter's own predictions
erred by: with m(t) the mean over the floes near by of the normalised squared innovation at pass t, over 2, and n passes so far,

    scale = (NU BASE + Σ m(t)) / (NU + n)

the mean of an inverse-gamma variance of weight NU. The error of a forecast is then Student's t in the plane with `DOF` degrees of freedom
(West 1981, doi 10.1111/j.2517-6161.1981.tb01176.x): an ellipse that holds a share p has semi-axes of `radius(p)` times those told.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from icegraph.track.drift import LEAST_S

HORIZONS_H = (6.0, 24.0, 48.0)
# Most likely for twelve buoys in the ice of the Barents, Laptev and Greenland Seas (Rabault et al. 2023, doi 10.1038/s41597-023-02160-9),
# seen every 6, 12 and 24 hours.
MEMORY_S = 53 * 3600.0
STILL_SIGMA = 0.23  # m/s: what is known of ice drift before any vector is seen
LOOPS = 400.0  # m²/s
# Most likely for the same buoys; what holds out the campaign that it is judged on is within the steps of the search.
NU, BASE, DOF = 5.0, 0.48, 6.0
_SPREAD = 0.03
_NEAR_M = 200_000.0
_AROUND = 12


@dataclass(frozen=True)
class State:
    """State of one floe.

    Args:
        seconds: Time, seconds since 1970.
        mean: x, y (m), u, v (m/s) [4].
        covariance: [4, 4], before it is scaled.
        scale: Of the covariance.
    """

    seconds: float
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    scale: float = BASE


@dataclass(frozen=True)
class Sightings:
    """Sightings of floes, in the order of track and time.

    Args:
        track: Track of each [N].
        seconds: Time, seconds since 1970 [N].
        place: x, y (m) [N, 2].
        place_sigma: Standard deviation of each coordinate [N], metres.
        confidence: Of the match with the track's next sighting [N]; not read where there is none.
        cut: Touches the edge of what is seen [N]: the motion to and from there tells nothing of the surroundings.
    """

    track: NDArray[np.int64]
    seconds: NDArray[np.float64]
    place: NDArray[np.float64]
    place_sigma: NDArray[np.float64]
    confidence: NDArray[np.float64]
    cut: NDArray[np.bool_]


def walk(sightings: Sightings) -> list[State]:
    """The state after each sighting.

    A track starts at the mean velocity of the surroundings: of the motions, between sightings of whole floes at least `LEAST_S` apart, that
    begin at or span its first time, else of those that end there.
    """
    seconds, place = sightings.seconds, sightings.place
    same = sightings.track[1:] == sightings.track[:-1]
    here = np.flatnonzero(same & (np.diff(seconds) >= LEAST_S) & ~sightings.cut[1:] & ~sightings.cut[:-1])
    begin, end, origin, weight = seconds[here], seconds[here + 1], place[here], sightings.confidence[here]
    lapse = end - begin
    velocity = (place[here + 1] - origin) / lapse[:, None]
    states: list[State] = []
    erred = np.full(len(seconds), np.nan)
    for row, (now, sigma) in enumerate(zip(seconds, sightings.place_sigma, strict=True)):
        if row and same[row - 1]:
            expected = predict(states[-1], now)
            if row > 1 and same[row - 2]:  # the first motion of a track was known to its start
                off, spread = place[row] - expected.mean[:2], expected.covariance[:2, :2] + sigma**2 * np.eye(2)
                erred[row] = off @ np.linalg.solve(spread, off) / 2
            states.append(update(expected, place[row], sigma))
        else:
            spans = (begin <= now) & (end > now)
            use = spans if (weight[spans] > 0).any() else end == now
            states.append(start(now, place[row], sigma, *surroundings(place[row], origin[use], velocity[use], lapse[use], weight[use])))
    return [replace(state, scale=float(scale)) for state, scale in zip(states, _scales(seconds, place, erred), strict=True)]


def _scales(seconds: NDArray[np.float64], place: NDArray[np.float64], erred: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scale [N] after each sighting, from the innovations (NaN where there is none) [N] near by until then."""
    total, number = np.full(len(seconds), NU * BASE), np.full(len(seconds), NU)
    for time in np.unique(seconds[np.isfinite(erred)]):
        known, later = np.flatnonzero((seconds == time) & np.isfinite(erred)), np.flatnonzero(seconds >= time)
        most = np.arange(1, min(_AROUND, len(known)) + 1)
        distance, near = cKDTree(place[known]).query(place[later], k=most, distance_upper_bound=_NEAR_M)
        seen = np.isfinite(distance)
        some = seen.any(axis=1)
        mean = np.where(seen, erred[known[np.where(seen, near, 0)]], 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        total[later] += np.where(some, mean, 0)
        number[later] += some
    return np.asarray(total / number)


def start(seconds: float, place: NDArray[np.float64], place_sigma: float, velocity: NDArray[np.float64], velocity_sigma: float) -> State:
    """The state at a track's first sighting."""
    return State(seconds, np.concatenate([place, velocity]), np.diag([place_sigma**2] * 2 + [velocity_sigma**2] * 2))


def predict(state: State, seconds: float) -> State:
    """The state at a later time."""
    dt, t = seconds - state.seconds, MEMORY_S
    e, gone = np.exp(-dt / t), -np.expm1(-dt / t)
    # T² (2 dt/T − 3 + 4 e − e²), written so that little cancels
    spread = 2 * t * (dt - t * gone) - (t * gone) ** 2
    step = np.kron([[1.0, t * gone], [0.0, e]], np.eye(2))
    wind = STILL_SIGMA**2 * np.array([[max(spread, 0.0), t * gone**2], [t * gone**2, gone * (1 + e)]])
    noise = np.kron(wind + np.array([[LOOPS * dt, 0.0], [0.0, 0.0]]), np.eye(2))
    return replace(state, seconds=seconds, mean=step @ state.mean, covariance=step @ state.covariance @ step.T + noise)


def update(state: State, place: NDArray[np.float64], place_sigma: float) -> State:
    """The state after a sighting at its time. Joseph's form keeps the covariance symmetric and positive."""
    see = np.eye(2, 4)
    noise = place_sigma**2 * np.eye(2)
    gain = np.linalg.solve(see @ state.covariance @ see.T + noise, see @ state.covariance).T
    keep = np.eye(4) - gain @ see
    mean = state.mean + gain @ (place - state.mean[:2])
    return replace(state, mean=mean, covariance=keep @ state.covariance @ keep.T + gain @ noise @ gain.T)


def ellipse(state: State) -> tuple[float, float, float]:
    """Semi-axes (m) of a state's place, to be taken `radius(p)` times, and the direction of the major one, degrees from x, 0..180."""
    values, vectors = np.linalg.eigh(state.scale * state.covariance[:2, :2])
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))) % 180
    return float(np.sqrt(values[1])), float(np.sqrt(max(values[0], 0.0))), angle


def radius(share: float) -> float:
    """How many times its semi-axes an ellipse is wide that holds a share of the places."""
    return float(np.sqrt(DOF * ((1 - share) ** (-2 / DOF) - 1)))


def surroundings(
    place: NDArray[np.float64],
    places: NDArray[np.float64],
    velocities: NDArray[np.float64],
    lapses: NDArray[np.float64],
    weights: NDArray[np.float64],
    count: int = _AROUND,
) -> tuple[NDArray[np.float64], float]:
    """Mean velocity [2] and standard deviation of the nearest vectors; where none is within `_NEAR_M`, 0 and `STILL_SIGMA`.

    Loops move neighbours alike, so that their scatter does not show them: over a time `lapse` they add LOOPS / lapse to the variance.
    """
    usable = (weights > 0) & (np.linalg.norm(places - place, axis=1) <= _NEAR_M)
    if not usable.any():
        return np.zeros(2), STILL_SIGMA
    places, velocities, lapses, weights = places[usable], velocities[usable], lapses[usable], weights[usable]
    near = np.argsort(np.linalg.norm(places - place, axis=1), kind="stable")[:count]
    mean = np.average(velocities[near], axis=0, weights=weights[near])
    spread = np.average(((velocities[near] - mean) ** 2).mean(axis=1), weights=weights[near])
    return mean, float(np.sqrt(spread + _SPREAD**2 + LOOPS / lapses[near].mean()))
