"""The outline of a floe as seen from its middle, and how well two outlines fit whatever their turn.

A profile is the distance to the outline in `RAYS` directions around the centroid: r(θ)² / 2 dθ is the floe's area in a narrow sector, so
two floes laid on each other with one centroid, one of them turned by φ, have in common

    ½ ∫ min(a(θ)², b(θ + φ)²) dθ

and the best fit over all φ is a comparison that no turn, shift or mirror-free motion of either floe changes. Where a ray crosses the
outline more than once, the signed sum of squares stands for r², which keeps the sector's area.
"""

import numpy as np
import shapely
from numpy.typing import NDArray

from icegraph.compiled import compiled
from icegraph.graph.contour import middles

RAYS = 64


def profiles(outlines: NDArray[np.object_], pixel_m: float) -> NDArray[np.float32]:
    """Profiles [N, RAYS] of polygons [N], metres, counter-clockwise from the x axis.

    Args:
        outlines: Polygons without or with holes (which are filled), along pixel edges or not.
        pixel_m: Side of a pixel, metres: stairs of this size are smoothed.
    """
    if len(outlines) == 0:
        return np.zeros((0, RAYS), np.float32)
    points, owner = shapely.get_coordinates(shapely.get_exterior_ring(outlines), return_index=True)
    ends = np.searchsorted(owner, np.arange(len(outlines) + 1))
    return np.asarray(_profiles(np.ascontiguousarray(points), ends, float(pixel_m)))


def best_fit(
    a: NDArray[np.float32], b: NDArray[np.float32], edges: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """How well pairs of floes fit on each other at the best turn.

    Args:
        a: Profiles [Na, RAYS].
        b: Profiles [Nb, RAYS].
        edges: Pairs [2, E], index into `a` and `b`.

    Returns:
        For each pair: intersection over union [E]; the turn from a to b [E], radians, −π..π; the root mean square of what is left
        between the two profiles [E], metres; and the intersection over union without a turn [E].
    """
    return _best_fit(np.square(a), np.square(np.tile(b, 2)), a, np.tile(b, 2), np.ascontiguousarray(edges))


def turned(profile: NDArray[np.float32], angle: NDArray[np.floating]) -> NDArray[np.float32]:
    """Profiles [N, RAYS], each turned by an angle [N], radians, counter-clockwise."""
    waves = np.fft.rfft(profile, axis=1) * np.exp(-1j * np.outer(angle, np.arange(RAYS // 2 + 1)))
    return np.asarray(np.maximum(np.fft.irfft(waves, RAYS, axis=1), 0), np.float32)


@compiled
def _profiles(points: NDArray[np.float64], ends: NDArray[np.int64], step: float) -> NDArray[np.float32]:
    number = ends.size - 1
    out = np.zeros((number, RAYS), np.float32)
    for floe in range(number):
        ring = points[ends[floe] : ends[floe + 1]]
        outline = middles(ring, step)
        count = outline.size
        x, y = np.empty(count + 1), np.empty(count + 1)
        x[:count], y[:count] = outline.real, outline.imag
        x[count], y[count] = x[0], y[0]
        _centre(x, y)
        squares = np.zeros(RAYS)
        for k in range(count):
            _cross(x[k], y[k], x[k + 1], y[k + 1], squares)
        out[floe] = np.sqrt(np.maximum(squares, 0.0))
    return out


@compiled
def _centre(x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Move a closed polygon so that its centroid is 0."""
    x0, y0 = x[0], y[0]
    area, cx, cy = 0.0, 0.0, 0.0
    for k in range(x.size - 1):
        px, py, qx, qy = x[k] - x0, y[k] - y0, x[k + 1] - x0, y[k + 1] - y0
        cross = px * qy - qx * py
        area += cross
        cx += (px + qx) * cross
        cy += (py + qy) * cross
    if area != 0:
        cx, cy = cx / (3 * area), cy / (3 * area)
    x -= x0 + cx
    y -= y0 + cy


@compiled
def _cross(px: float, py: float, qx: float, qy: float, squares: NDArray[np.float64]) -> None:
    """Add the squared distance at which a side crosses each ray, negative where it runs clockwise."""
    cross = px * qy - qx * py
    turn = np.arctan2(cross, px * qx + py * qy)
    first = np.arctan2(py, px) * RAYS / (2 * np.pi)
    last = first + turn * RAYS / (2 * np.pi)
    low, high = min(first, last), max(first, last)
    ray = int(np.ceil(low))
    while ray < high:  # half open, so that a corner on a ray counts once
        angle = ray * 2 * np.pi / RAYS
        across = np.cos(angle) * (qy - py) - np.sin(angle) * (qx - px)
        if across != 0:
            squares[ray % RAYS] += (cross / across) ** 2 * (1.0 if turn > 0 else -1.0)
        ray += 1


@compiled
def _best_fit(
    square_a: NDArray[np.float32], square_b: NDArray[np.float32], a: NDArray[np.float32], b: NDArray[np.float32], edges: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    count = edges.shape[1]
    fit, turn, rest, plain = (
        np.zeros(count, np.float32),
        np.zeros(count, np.float32),
        np.zeros(count, np.float32),
        np.zeros(count, np.float32),
    )
    common = np.empty(RAYS, np.float32)
    for edge in range(count):
        i, j = edges[0, edge], edges[1, edge]
        common[:] = 0
        for ray in range(RAYS):
            mine = square_a[i, ray]
            for k in range(RAYS):  # all turns side by side
                common[k] += min(mine, square_b[j, ray + k])
        best = int(np.argmax(common))
        total = np.float32(0)
        for ray in range(RAYS):
            total += square_a[i, ray] + square_b[j, ray]
        # The best turn lies within half a ray of the best ray: halfway to the next one, in quarters.
        least, part = np.inf, 0.0
        for quarter in range(-2, 3):
            share = abs(quarter) / 4
            beside = best + RAYS + (1 if quarter > 0 else -1)
            squared = 0.0
            for ray in range(RAYS):
                other = (1 - share) * b[j, ray + best] + share * b[j, (ray + beside) % RAYS]
                squared += (a[i, ray] - other) ** 2
            if squared < least:
                least, part = squared, quarter / 4
        fit[edge] = common[best] / max(total - common[best], np.float32(1e-12))
        plain[edge] = common[0] / max(total - common[0], np.float32(1e-12))
        angle = (best + part) * 2 * np.pi / RAYS
        turn[edge] = angle if angle <= np.pi else angle - 2 * np.pi
        rest[edge] = np.sqrt(least / RAYS)
    return fit, turn, rest, plain
