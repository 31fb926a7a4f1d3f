"""The outline of a floe: its length and its shape, whatever its place, turn and size.

Outlines come from pixels, so a straight shore at an angle is a staircase. Both measures work on the polygon through the middles of
the pixel edges, which cuts the corners of the stairs.
"""

import numpy as np
from numpy.typing import NDArray

# Fourier orders kept; order 1 is the circle that the others are measured by. Small orders only: a floe of 40 pixels shows no more.
ORDERS = (-1, 2, -2, 3, -3, 4, -4, 5)

# Mean over all directions of true length / length through pixel edge middles, pi (1 + sqrt 2) / 8: Kulpa 1977,
# doi 10.1016/S0146-664X(77)80021-X.
_STAIRCASE = np.pi * (1 + np.sqrt(2)) / 8


def middles(ring: NDArray[np.float64], step: float) -> NDArray[np.complex128]:
    """The closed outline through the middles of pixel edges.

    Args:
        ring: Corners [P, 2] (x, y) of a closed ring (first = last) that runs along pixel edges.
        step: Side of a pixel, same unit.

    Returns:
        Points [Q] as x + iy, not closed, counter-clockwise.
    """
    corners = ring[:, 0] + 1j * ring[:, 1]
    sides = np.diff(corners)
    number = np.maximum(np.rint(np.abs(sides) / step).astype(int), 1)
    first = np.repeat(np.cumsum(number) - number, number)
    part = (np.arange(number.sum()) - first + 0.5) / np.repeat(number, number)
    points = np.repeat(corners[:-1], number) + part * np.repeat(sides, number)
    turn = np.sum(np.imag(np.conj(points) * np.roll(points, -1)))
    return np.asarray(points if turn >= 0 else points[::-1])


def length(points: NDArray[np.complex128]) -> float:
    """Length of a closed outline of `middles`, freed of the mean excess of staircases (exact for a disk, 5 % short along the axes)."""
    return float(np.sum(np.abs(np.roll(points, -1) - points)) * _STAIRCASE)


def descriptors(points: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Magnitudes of Fourier descriptors [len(ORDERS)] of a closed outline, by that of order 1.

    The coefficients are the exact integrals over the polygon, so neither the first point nor the sampling matters: Kuhl & Giardina 1982,
    doi 10.1016/0146-664X(82)90034-X. A turn of the outline changes only phases, a change of size cancels, so the magnitudes stay.
    """
    sides = np.roll(points, -1) - points
    lengths = np.abs(sides)
    sides, lengths = sides[lengths > 0], lengths[lengths > 0]
    if lengths.size < 3:
        return np.zeros(len(ORDERS))
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    orders = np.array((1, *ORDERS))[:, None]
    waves = np.exp(-2j * np.pi * orders * ends / ends[-1])
    magnitude = np.abs((np.diff(waves, axis=1) * (sides / lengths)).sum(axis=1)) / orders[:, 0] ** 2
    return np.asarray(magnitude[1:] / magnitude[0])
