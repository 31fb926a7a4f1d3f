"""The outline of a floe: its length and its shape, whatever its place, turn and size.

Outlines come from pixels, so a straight shore at an angle is a staircase. Both measures work on the polygon through the middles of
the pixel edges, which cuts the corners of the stairs.
"""

import numpy as np
from numpy.typing import NDArray

from icegraph.compiled import compiled

# Fourier orders kept; order 1 is the circle that the others are measured by. Small orders only: a floe of 40 pixels shows no more.
ORDERS = (-1, 2, -2, 3, -3, 4, -4, 5)

# Mean over all directions of true length / length through pixel edge middles, pi (1 + sqrt 2) / 8: Kulpa 1977,
# doi 10.1016/S0146-664X(77)80021-X.
_STAIRCASE = np.pi * (1 + np.sqrt(2)) / 8

_TURNS = np.array((1, *ORDERS))  # by magnitude, none left out


@compiled
def middles(ring: NDArray[np.float64], step: float) -> NDArray[np.complex128]:
    """The closed outline through the middles of pixel edges.

    Args:
        ring: Corners [P, 2] (x, y) of a closed ring (first = last) that runs along pixel edges.
        step: Side of a pixel, same unit.

    Returns:
        Points [Q] as x + iy, not closed, counter-clockwise.
    """
    parts, count = np.empty(len(ring) - 1, np.int64), 0
    for k in range(len(ring) - 1):
        dx, dy = ring[k + 1, 0] - ring[k, 0], ring[k + 1, 1] - ring[k, 1]
        parts[k] = max(int(np.rint(np.sqrt(dx * dx + dy * dy) / step)), 1)
        count += parts[k]
    points = np.empty(count, np.complex128)
    at, turn = 0, 0.0
    for k in range(len(ring) - 1):
        dx, dy = ring[k + 1, 0] - ring[k, 0], ring[k + 1, 1] - ring[k, 1]
        turn += (ring[k, 0] - ring[0, 0]) * dy - (ring[k, 1] - ring[0, 1]) * dx
        for part in range(parts[k]):
            share = (part + 0.5) / parts[k]
            points[at] = complex(ring[k, 0] + share * dx, ring[k, 1] + share * dy)
            at += 1
    return points if turn >= 0 else points[::-1].copy()


@compiled
def _size(number: complex) -> float:
    """Its magnitude; metres on a map neither overflow nor vanish when squared, which is what `abs` guards against, slowly."""
    return float(np.sqrt(number.real * number.real + number.imag * number.imag))


@compiled
def length(points: NDArray[np.complex128]) -> float:
    """Length of a closed outline of `middles`, freed of the mean excess of staircases (exact for a disk, 5 % short along the axes)."""
    total = 0.0
    for k in range(points.size):
        total += _size(points[k] - points[k - 1])
    return float(total * _STAIRCASE)


@compiled
def descriptors(points: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Magnitudes of Fourier descriptors [len(ORDERS)] of a closed outline, by that of order 1.

    The coefficients are the exact integrals over the polygon, so neither the first point nor the sampling matters: Kuhl & Giardina 1982,
    doi 10.1016/0146-664X(82)90034-X. A turn of the outline changes only phases, a change of size cancels, so the magnitudes stay.
    """
    around, sides = 0.0, 0
    for k in range(points.size):
        side = _size(points[k] - points[k - 1])
        around += side
        sides += side > 0
    out = np.zeros(_TURNS.size - 1)
    if sides < 3:
        return out
    total, at, last = np.zeros(_TURNS.size, np.complex128), 0.0, 0j
    for k in range(points.size):
        way = points[k] - points[k - 1]
        side = _size(way)
        if side == 0:
            continue
        way = complex(way.real / side, way.imag / side)
        if way != last:
            _add_turn(at / around, last - way, total)
            last = way
        at += side
    _add_turn(1.0, last, total)
    for n in range(1, _TURNS.size):
        out[n - 1] = abs(total[n]) / _TURNS[n] ** 2 / abs(total[0])
    return out


@compiled
def _add_turn(place: float, change: complex, total: NDArray[np.complex128]) -> None:
    """Add what a change of direction at a place on the outline, 0..1, gives to the integral of each order."""
    wave = complex(np.cos(2 * np.pi * place), -np.sin(2 * np.pi * place))
    power, reached = 1.0 + 0j, 0
    for n in range(_TURNS.size):
        if abs(_TURNS[n]) > reached:
            power *= wave
            reached += 1
        total[n] += change * (power if _TURNS[n] > 0 else power.conjugate())


@compiled
def measures(points: NDArray[np.float64], ends: NDArray[np.int64], step: float) -> NDArray[np.float64]:
    """`length` and `descriptors` [N, 1 + len(ORDERS)] of closed rings, whose corners [P, 2] follow each other and end at `ends` [N]."""
    out = np.empty((ends.size, _TURNS.size))
    for ring in range(ends.size):
        outline = middles(points[ends[ring - 1] if ring else 0 : ends[ring]], step)
        out[ring, 0] = length(outline)
        out[ring, 1:] = descriptors(outline)
    return out
