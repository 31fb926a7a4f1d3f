"""Convex shapes that must not overlap: their outlines, their cuts, and the pushing apart of those that do.

Shapes are pushed apart along the direction in which they overlap least. The overlap comes from support functions (how far a shape
reaches in a direction) sampled in `DIRECTIONS` directions: what is found separate is separate, and what touches along a long
edge is kept apart by up to half the edge times the tangent of half a step.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree

Float = NDArray[np.float64]
DIRECTIONS = 144  # a multiple of two: the opposite of a direction is one too
_ANGLE = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
NORMALS = np.column_stack([np.cos(_ANGLE), np.sin(_ANGLE)])
_PAIRS = 2048  # whose separation is computed at a time: what they need stays in the processor's cache


def random_polygon(diameter: float, roundness: int, rng: np.random.Generator) -> Float:
    """A random convex polygon [K, 2] around its centroid.

    Args:
        diameter: Of the circle of the same area.
        roundness: How many times its corners are cut (Chaikin): 0 angular, 2 round.
        rng: Source of randomness.
    """
    number = int(rng.integers(5, 10))
    angle = (np.arange(number) + rng.uniform(-0.45, 0.45, number)) * 2 * np.pi / number
    stretch = np.exp(rng.normal(0, 0.17))
    radius = rng.uniform(0.75, 1.2, number)
    points = np.column_stack([np.cos(angle) * radius * stretch, np.sin(angle) * radius / stretch])
    polygon = rotated(points[ConvexHull(points).vertices], rng.uniform(0, 2 * np.pi))
    for _ in range(roundness):
        polygon = cut_corners(polygon)
    polygon = polygon - centroid(polygon)
    return np.asarray(polygon * diameter * np.sqrt(np.pi / 4 / area(polygon)))


def rotated(points: Float, angle: float) -> Float:
    """Points [K, 2] turned anticlockwise by an angle in radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]))


def cut_corners(polygon: Float) -> Float:
    """One round of Chaikin's corner cutting: [K, 2] → [2K, 2]; a convex polygon stays convex and inside itself."""
    after = _after(polygon)
    return np.stack([0.75 * polygon + 0.25 * after, 0.25 * polygon + 0.75 * after], axis=1).reshape(-1, 2)


def area(polygon: Float) -> float:
    """Signed area of a polygon [K, 2]; positive when its corners run anticlockwise."""
    (x, y), (u, v) = polygon.T, _after(polygon).T
    return float(0.5 * np.sum(x * v - u * y))


def centroid(polygon: Float) -> Float:
    """Centroid [2] of a polygon [K, 2]."""
    (x, y), (u, v) = polygon.T, _after(polygon).T
    cross = x * v - u * y
    return np.asarray(np.array([np.sum((x + u) * cross), np.sum((y + v) * cross)]) / (3 * np.sum(cross)))


def _after(polygon: Float) -> Float:
    """The corner that follows each (np.roll would take most of the time that small polygons take)."""
    return np.concatenate([polygon[1:], polygon[:1]])


def clip(polygon: Float, normal: Float, offset: float) -> Float:
    """The part of a polygon where `point · normal <= offset` (Sutherland and Hodgman); [0, 2] where nothing is left."""
    height = polygon @ normal - offset
    out: list[Float] = []
    for here, there, a, b in zip(polygon, np.roll(polygon, -1, axis=0), height, np.roll(height, -1), strict=True):
        if a <= 0:
            out.append(here)
        if (a < 0 < b) or (b < 0 < a):
            out.append(here + (there - here) * a / (a - b))
    return np.array(out).reshape(-1, 2)


def weathered(polygon: Float, inset: float, roughness: float, rng: np.random.Generator) -> Float:
    """The outline that is seen: inside the convex `polygon` by at least about `inset`, its edge worn in by about `roughness` more."""
    smooth = cut_corners(polygon)
    length = np.linalg.norm(_after(smooth) - smooth, axis=1)
    around = length.sum() / max(2 * inset, 1e-9)
    number = int(np.clip(around, 16, max(160, around / 12)))
    along = np.concatenate([[0], np.cumsum(length)])
    closed = np.vstack([smooth, smooth[:1]])
    place = np.linspace(0, along[-1], number, endpoint=False)
    points = np.column_stack([np.interp(place, along, closed[:, 0]), np.interp(place, along, closed[:, 1])])
    wear = np.abs(_ring_noise(number, rng)) * roughness
    reach = np.linalg.norm(points, axis=1)
    return np.asarray(points * np.maximum(1 - (inset + wear) / reach, 0.3)[:, None])


def _ring_noise(number: int, rng: np.random.Generator) -> Float:
    spectrum = rng.normal(size=number // 2 + 1) + 1j * rng.normal(size=number // 2 + 1)
    order = np.arange(number // 2 + 1)
    spectrum *= np.where(order < 2, 0, 1 / np.maximum(order, 2))
    noise = np.fft.irfft(spectrum, number)
    return np.asarray(noise / max(float(noise.std()), 1e-12))


def supports(polygons: list[Float], angles: Float) -> Float:
    """How far each shape, turned by its angle (radians), reaches from its origin in each of `DIRECTIONS` directions, [N, DIRECTIONS]."""
    most = max(len(p) for p in polygons)
    corners = np.stack([np.vstack([p, np.repeat(p[-1:], most - len(p), axis=0)]) for p in polygons])
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    x, y = corners[..., 0] * c - corners[..., 1] * s, corners[..., 0] * s + corners[..., 1] * c
    out = np.empty((len(polygons), DIRECTIONS))
    for k, (nx, ny) in enumerate(NORMALS):
        out[:, k] = (x * nx + y * ny).max(axis=1)
    return out


def neighbours(position: Float, radius: Float, slack: float) -> NDArray[np.int64]:
    """Pairs [P, 2] whose bounding circles come within `slack` of each other."""
    near = cKDTree(position).query_ball_point(position, 2 * radius + slack)
    number = np.array([len(n) for n in near])
    first = np.repeat(np.arange(len(position)), number)
    second = np.concatenate([np.asarray(n, np.int64) for n in near])
    smaller = (radius[second] < radius[first]) | ((radius[second] == radius[first]) & (second < first))
    pairs = np.column_stack([first, second])[smaller]
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))  # the tree's order is its own affair
    pairs = pairs[order]
    distance = np.linalg.norm(position[pairs[:, 0]] - position[pairs[:, 1]], axis=1)
    return np.asarray(pairs[distance < radius[pairs].sum(axis=1) + slack])


def separation(position: Float, reach: Float, pairs: NDArray[np.int64]) -> tuple[Float, NDArray[np.int64]]:
    """Distance of each pair [P] (negative: depth of the overlap) and the direction, an index into `NORMALS`, it is measured along."""
    opposite = np.roll(reach, DIRECTIONS // 2, axis=1)
    distance, best = np.empty(len(pairs)), np.empty(len(pairs), np.int64)
    for start in range(0, len(pairs), _PAIRS):
        part = slice(start, start + _PAIRS)
        first, second = pairs[part].T
        apart = position[second] - position[first]
        gap = apart[:, :1] * NORMALS[:, 0] + apart[:, 1:] * NORMALS[:, 1] - (reach[first] + opposite[second])
        best[part] = gap.argmax(axis=1)
        distance[part] = gap[np.arange(len(gap)), best[part]]
    return distance, best


def push_apart(
    position: Float, reach: Float, weight: Float, *, rounds: int, tolerance: float, wall: Callable[[Float, Float], Float] | None = None
) -> Float:
    """Move shapes until none overlaps by more than `tolerance`, or for at most `rounds` rounds.

    Args:
        position: Origins of the shapes, [N, 2].
        reach: Their `supports`, [N, DIRECTIONS].
        weight: The heavier of two shapes moves less, [N].
        rounds: The most rounds.
        tolerance: An overlap that may remain.
        wall: Gives the way [N, 2] that shapes at (position, reach) must move to leave what never yields (a coast).

    Returns:
        The new origins [N, 2].
    """
    radius = reach.max(axis=1)
    for turn in range(rounds):
        if turn % 8 == 0:
            pairs = neighbours(position, radius, 0.5 * float(np.median(radius)))
            first, second = pairs.T
            share = weight[second] / (weight[first] + weight[second])
            gap, direction = np.empty(len(pairs)), np.empty(len(pairs), np.int64)
            moved = np.ones(len(position), bool)
        stale = moved[first] | moved[second]
        gap[stale], direction[stale] = separation(position, reach, pairs[stale])
        deep = gap < 0
        if wall is None and not (gap < -tolerance).any():
            break
        push = NORMALS[direction[deep]] * (-gap[deep] + 0.25 * tolerance)[:, None]
        move = np.zeros_like(position)
        for axis in (0, 1):
            move[:, axis] -= np.bincount(first[deep], push[:, axis] * share[deep], len(position))
            move[:, axis] += np.bincount(second[deep], push[:, axis] * (1 - share[deep]), len(position))
        before = position
        position = position + 0.7 * move
        if wall is not None:
            position = position + wall(position, reach)
        moved = (position != before).any(axis=1)
    return position


def overlapping(position: Float, reach: Float, weight: Float, tolerance: float) -> NDArray[np.bool_]:
    """Which shapes [N] must go so that no overlap deeper than `tolerance` remains: of each such pair the lighter one."""
    pairs = neighbours(position, reach.max(axis=1), 0.0)
    gap, _ = separation(position, reach, pairs)
    gone = np.zeros(len(position), bool)
    for first, second in pairs[gap < -tolerance]:
        if not (gone[first] or gone[second]):
            gone[first if weight[first] < weight[second] else second] = True
    return gone
