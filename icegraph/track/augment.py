"""Pairs to learn from, made on the fly: real floes, moved, turned, lost and measured anew.

A pair starts from two passes with known identities, or from one pass taken twice. What ice does and what measuring does is then drawn
anew each time, far beyond what the passes at hand show, so that a few passes suffice.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from icegraph.graph.candidates import CANDIDATES, candidate_edges
from icegraph.graph.nodes import NOISE, RADIOMETRY, Nodes, neighbours, spacing
from icegraph.graph.profile import RAYS
from icegraph.track.pair import Pair, make_pair

UNKNOWN = -1
_SCALE = 0.15, 2.0  # sensors show like ice at other pixels: what counts is told in pixels and spacings


@dataclass(frozen=True)
class Known:
    """Floes of a pass and who they are.

    Args:
        nodes: The floes.
        identity: [N], the same in every pass that shows the floe; `UNKNOWN` where nothing is known.
    """

    nodes: Nodes
    identity: NDArray[np.int64]

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Known":
        """Some of the floes."""
        return Known(self.nodes.take(index), self.identity[index])


@dataclass(frozen=True)
class Stress:
    """How hard a made pair is; each pair draws its own hardness up to these.

    Args:
        drop: Largest share of floes lost on either side.
        shift: Largest common displacement, in spacings.
        turn_deg: Largest turn, common or of each floe by itself.
        jitter: Largest standard deviation of independent displacements where ice drifts as one, in spacings.
        free: Share of pairs whose floes drift and turn each by itself.
        dealt: Share of these whose floes lie at each other's places, so that nothing but their looks tells them.
        scatter: Largest independent displacement there, in spacings.
        noise: Largest measurement noise, as a multiple of `NOISE`.
        outline_px: Largest standard deviation of the points of an outline drawn anew, pixels.
    """

    drop: float = 0.4
    shift: float = 4.0
    turn_deg: float = 180.0
    jitter: float = 0.3
    free: float = 0.45
    dealt: float = 0.3
    scatter: float = 3.5
    noise: float = 1.3
    outline_px: float = 1.1


def stressed_pair(
    a: Known, b: Known, rng: np.random.Generator, stress: Stress, *, most: int = 120, count: int = CANDIDATES
) -> tuple[Pair, NDArray[np.int64], NDArray[np.int64]]:
    """Make one training pair.

    Returns:
        The pair; the candidate [Na] that is each floe's true partner, −1 where it has none and −2 where that is not known; the same
        for the later pass [Nb].
    """
    same = a is b
    a, b = _crop(a, b, rng, most)
    scale = float(np.exp(rng.uniform(*np.log(_SCALE))))
    a, b = (replace(side, nodes=side.nodes.scaled(scale)) for side in (a, b))
    b, moved = _drift(b, a.nodes, rng, stress)
    a, b = (_measure(_lose(side, rng, stress), rng, stress, same=same) for side in (a, b))
    reach = moved * rng.uniform(1.05, 2.0) + np.median(spacing(a.nodes.xy)) * (rng.uniform(0.3, 2.0) if rng.random() < 0.7 else 6.0)
    order = rng.permutation(len(b.identity))
    b = b.take(order)
    edges, drift = candidate_edges(a.nodes, b.nodes, float(reach), count)
    true = (a.identity[edges[0]] == b.identity[edges[1]]) & (a.identity[edges[0]] != UNKNOWN)
    targets = []
    for side, other, index in ((a, b, edges[0]), (b, a, edges[1])):
        target = np.full(len(side.identity), -1, np.int64)
        target[index[true]] = np.nonzero(true)[0]
        # A partner out of reach, or no identity: no lesson to learn from that floe.
        lost = (target < 0) & np.isin(side.identity, other.identity)
        target[lost | (side.identity == UNKNOWN)] = -2
        targets.append(target)
    near = neighbours(a.nodes.xy), neighbours(b.nodes.xy)
    return make_pair(a.nodes, b.nodes, near, edges, drift, float(reach)), targets[0], targets[1]


def _crop(a: Known, b: Known, rng: np.random.Generator, most: int) -> tuple[Known, Known]:
    """The floes about a random one, and the same part of the other pass."""
    number = int(rng.integers(min(most // 3, len(a.nodes)), min(most, len(a.nodes)) + 1))
    centre = a.nodes.xy[rng.integers(len(a.nodes))]
    away = np.linalg.norm(a.nodes.xy - centre, axis=1)
    inside = np.argsort(away, kind="stable")[:number]
    known = np.isin(b.identity, a.identity[inside]) & (b.identity != UNKNOWN)
    other = np.linalg.norm(b.nodes.xy - centre, axis=1) <= away[inside].max(initial=0.0)
    # Floes that the other pass shows inside but this one outside of the crop would look lost.
    other &= ~(np.isin(b.identity, a.identity) & ~known)
    return a.take(np.sort(inside)), b.take(known | other)


def _drift(b: Known, a: Nodes, rng: np.random.Generator, stress: Stress) -> tuple[Known, float]:
    """Move the floes of the later pass; gives the largest displacement too, metres."""
    space = float(np.median(spacing(a.xy))) if len(a) else 1000.0
    centre = a.xy.mean(axis=0) if len(a) else np.zeros(2)
    kind = rng.random()
    turn = np.radians(rng.normal(0, 4) if kind < 0.6 else rng.uniform(-1, 1) * stress.turn_deg)
    shift = rng.uniform(0, 0.4) if rng.random() < 0.25 else rng.uniform(0, stress.shift)
    bearing = rng.uniform(0, 2 * np.pi)
    strain = rng.normal(0, 0.03, (2, 2))
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    before = b.nodes.xy
    xy = (before - centre) @ (spin @ (np.eye(2) + strain)).T + centre + shift * space * np.array([np.cos(bearing), np.sin(bearing)])
    xy = xy + space * _waves(before / space, rng, 0.5 * rng.random() ** 2)
    # Neighbours mostly drift as one, so most pairs are calm: a matcher that sees only disorder learns to trust no consensus.
    jitter = stress.jitter * rng.random() ** 2 if rng.random() < 0.95 else rng.uniform(0, 1)
    xy = xy + rng.normal(0, 1, xy.shape) * jitter * space * rng.random((len(xy), 1))
    own = rng.normal(0, np.radians(rng.uniform(0, 20)), len(xy))
    if rng.random() < stress.free:
        toward, far = rng.uniform(0, 2 * np.pi, len(xy)), np.sqrt(rng.random(len(xy))) * rng.uniform(0, stress.scatter) * space
        xy = xy + far[:, None] * np.column_stack([np.cos(toward), np.sin(toward)])
        own = np.radians(rng.uniform(-1, 1, len(xy)) * rng.uniform(0, stress.turn_deg))
        xy = rng.permutation(xy) if rng.random() < stress.dealt else xy
    moved = float(np.max(np.linalg.norm(xy - before, axis=1), initial=0.0))
    return replace(b, nodes=replace(b.nodes.turned(turn + own), xy=xy)), moved


def _waves(place: NDArray[np.float64], rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    """A smooth random displacement field at places in spacings, [N, 2], of standard deviation `size`."""
    total = np.zeros_like(place)
    for _ in range(4):
        wave = rng.normal(0, 1, 2)
        wave *= 2 * np.pi / rng.uniform(6, 20) / max(float(np.linalg.norm(wave)), 1e-6)
        total += np.sin(place @ wave + rng.uniform(0, 2 * np.pi))[:, None] * rng.normal(0, 1, 2)
    return np.asarray(total * size / np.sqrt(2))


def _lose(side: Known, rng: np.random.Generator, stress: Stress) -> Known:
    share = 0.0 if rng.random() < 0.2 else rng.uniform(0, stress.drop)
    keep = rng.random(len(side.identity)) >= share
    if keep.sum() < 3:
        return side
    return side.take(keep)


def _measure(side: Known, rng: np.random.Generator, stress: Stress, *, same: bool) -> Known:
    """Measure the floes anew: noise on features, centroid and axis; some much worse, as when a floe is cut or merged."""
    nodes = side.nodes
    number = len(nodes)
    level = rng.uniform(0.3, 1.0) * stress.noise * (1.0 if same else 0.6)
    each = level * np.where(rng.random(number) < 0.07, 4.0, rng.uniform(0.3, 1.4, number))[:, None]
    features = nodes.features + (rng.normal(0, 1, nodes.features.shape) * NOISE * each).astype(np.float32)
    profile = _redrawn(nodes, rng, each[:, 0] * (stress.outline_px / stress.noise))
    # The two area features and the outline are one measurement.
    gain = np.log(np.square(profile, dtype=float).sum(axis=1) / np.square(nodes.profile, dtype=float).sum(axis=1))
    features[:, 0], features[:, 1] = nodes.features[:, 0] + gain, nodes.features[:, 1] + gain
    features[:, -1] = nodes.features[:, -1]
    if rng.random() < 0.2:
        features[:, RADIOMETRY] = rng.normal(0, 1, features[:, RADIOMETRY].shape)
    elif rng.random() < 0.15:
        features[:, RADIOMETRY] = 0
    xy = nodes.xy + rng.normal(0, 1, nodes.xy.shape) * (0.06 * each) * nodes.size_m[:, None]
    axis = nodes.axis + rng.normal(0, 0.12, number) * each[:, 0] / np.maximum(nodes.eccentricity**2, 0.1)
    size = nodes.size_m * np.exp((features[:, 0] - nodes.features[:, 0]) / 2)
    nodes = replace(nodes, xy=xy, features=np.clip(features, -6, 6).astype(np.float32), axis=axis.astype(np.float32))
    return replace(side, nodes=replace(nodes, size_m=size.astype(np.float32), profile=profile))


def _redrawn(nodes: Nodes, rng: np.random.Generator, sigma_px: NDArray[np.float64]) -> NDArray[np.float32]:
    """Profiles as if each outline were drawn anew with errors of `sigma_px` [N] pixels, independent from pixel to pixel along it.

    All of them are a little wider or narrower besides, as another threshold makes them.
    """
    pixel = nodes.pixel_m[:, None].astype(float)
    around = np.clip(2 * np.pi * nodes.profile.mean(axis=1) / nodes.pixel_m, 8, RAYS)
    # Waves that are as short as a pixel of the outline, and no shorter, hold all of the variance.
    waves = np.fft.rfft(rng.normal(0, 1, nodes.profile.shape), axis=1)
    kept = np.arange(RAYS // 2 + 1) <= around[:, None] / 2
    noise = np.fft.irfft(waves * kept, RAYS, axis=1) * np.sqrt(RAYS / around)[:, None]
    wider = rng.normal(0, 0.3) + rng.normal(0, 0.15, (len(nodes), 1))
    redrawn = nodes.profile + pixel * (sigma_px[:, None] * noise + wider * sigma_px[:, None])
    return np.asarray(np.maximum(redrawn, 0.2 * nodes.profile), np.float32)
