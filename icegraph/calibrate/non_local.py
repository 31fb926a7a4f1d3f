"""A speckle filter that looks for the like of a pixel's surroundings further away, and averages with it.

Non-local means after A. Buades, B. Coll, J.-M. Morel 2005, doi:10.1109/CVPR.2005.38: a pixel becomes the mean of those within REACH pixels
whose surroundings, PATCH × PATCH pixels, are like its own. Of speckle the likeness is that of logarithms, whose noise is even, and the mean
that of power, the likeliest value of gamma distributed looks (C.-A. Deledalle, L. Denis, F. Tupin 2009, doi:10.1109/TIP.2009.2029593):

    d² = mean over the patch of (10 log p - 10 log p')²     of two even patches: 2 σ², σ = 10 / ln 10 / √looks
    w  = exp(-max(d² - 2 σ², 0) / h²)                       as (1 - x / 8)⁸, which is 0 from x = 8 on
"""

import numpy as np
from numpy.typing import NDArray

from icegraph.compiled import compiled

REACH = 6
PATCH = 5
HALO = REACH + PATCH // 2
_STRENGTH = 0.8  # h in σ
_STRIP = 24  # lines at a time: what they need stays in the processor's cache
_LEAST = 1e-7  # -70 dB: pixels of no power have no logarithm

Floats = NDArray[np.float32]


def non_local_means(power: Floats, looks: float) -> Floats:
    """All power, [H, W], linear, without speckle; NaN where there is nothing, and NaN stays there.

    A pixel's value depends on the pixels within HALO of it alone, to the last bit, wherever the array begins.
    """
    height, width = power.shape
    wide = np.full((height + 2 * HALO, width + 2 * HALO), np.nan, np.float32)
    wide[HALO:-HALO, HALO:-HALO] = power
    variance = np.float32((10 / np.log(10)) ** 2 / looks)
    total, weight = power.copy(), np.ones_like(power)
    with np.errstate(invalid="ignore"):
        decibels = np.float32(10) * np.log10(np.maximum(wide, np.float32(_LEAST)))
    _average(wide, decibels, variance, total, weight)
    return np.asarray(total / weight)


@compiled
def _average(power: Floats, decibels: Floats, variance: np.float32, total: Floats, weight: Floats) -> None:
    height, width = total.shape
    half = PATCH // 2
    unlike = np.empty((PATCH, width + 2 * half), np.float32)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        for down in range(-REACH, REACH + 1):
            for across in range(-REACH, REACH + 1):
                if down == 0 and across == 0:
                    continue
                for i in range(top - half, bottom + half):
                    own, other = decibels[HALO + i, REACH:], decibels[HALO + i + down, REACH + across :]
                    _squares(own, other, np.float32(2) * variance, unlike[i % PATCH])
                    row = i - half
                    if row < top:
                        continue
                    _weigh(
                        unlike[(row - 2) % PATCH],
                        unlike[(row - 1) % PATCH],
                        unlike[row % PATCH],
                        unlike[(row + 1) % PATCH],
                        unlike[(row + 2) % PATCH],
                        power[HALO + row + down, HALO + across :],
                        variance,
                        total[row],
                        weight[row],
                    )


@compiled
def _squares(own: Floats, other: Floats, unknown: np.float32, out: Floats) -> None:
    """Squares of differences; what an even surface would give where one of the two is not known."""
    for j in range(out.size):
        difference = own[j] - other[j]
        square = difference * difference
        out[j] = square if square == square else unknown


@compiled
def _weigh(
    a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, power: Floats, variance: np.float32, total: Floats, weight: Floats
) -> None:
    """Add a line of pixels at one distance, from the squares of the PATCH lines about it."""
    scale = np.float32(1 / (8 * _STRENGTH * _STRENGTH)) / variance
    one, nothing = np.float32(1), np.float32(0)
    columns = np.empty(a.size, np.float32)
    for j in range(a.size):
        columns[j] = ((a[j] + b[j]) + (c[j] + d[j])) + e[j]
    for j in range(total.size):
        unlike = ((columns[j] + columns[j + 1]) + (columns[j + 2] + columns[j + 3])) + columns[j + 4]
        x = (unlike * np.float32(1 / (PATCH * PATCH)) - np.float32(2) * variance) * scale
        share = max(one - max(x, nothing), nothing)
        share = share * share
        share = share * share
        share = share * share
        known = power[j] == power[j]
        total[j] += share * power[j] if known else nothing
        weight[j] += share if known else nothing
