"""Speckle filters of linear intensity, aware of thermal noise that was taken off.

Speckle is multiplicative on all the power received, c² = 1 / looks: over dark water the noise that was subtracted still speckles, so that
each filter expects of a pixel of mean m the variance c² (m + noise)². All take the pixels that are known, and all but the last look at
SIZE × SIZE of them.

    boxcar        the mean
    lee           the linear estimate of least mean square error: J.-S. Lee 1980, doi:10.1109/TPAMI.1980.4766994
    refined-lee   the same from that half of the window which an edge leaves to the pixel: J.-S. Lee 1981, doi:10.1016/S0146-664X(81)80018-4
    gamma-map     the most probable value where the surface is gamma distributed too: A. Lopes, E. Nezry, R. Touzi, H. Laur 1993, "Structure
                  detection and statistical adaptive speckle filtering in SAR images", doi:10.1080/01431169308953999
    non-local     the mean of what is like it further away: `icegraph.calibrate.non_local`
"""

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from icegraph.calibrate import non_local
from icegraph.calibrate.settings import Filter
from icegraph.compiled import compiled

SIZE = 7  # pixels, the side of the local window
_HALF = SIZE // 2
LOOKS = {("EW", "GRDM"): 10.7, ("IW", "GRDH"): 4.4}  # equivalent numbers of looks (Sentinel-1 Product Definition, S1-RS-MDA-52-7440)
FILTERS: tuple[Filter, ...] = tuple(kind for kind in get_args(Filter) if kind != "none")

Floats = NDArray[np.float32]


def halo(kind: Filter) -> int:
    """How far away a pixel may be that a filter looks at."""
    return non_local.HALO if kind == "non-local" else _HALF


def despeckle(intensity: Floats, looks: float, noise: Floats, kind: Filter = "lee") -> Floats:
    """Filter intensity, [H, W], linear; NaN where there is nothing, and NaN stays there.

    A pixel's value depends on the pixels within `halo(kind)` of it alone, to the last bit, wherever the array begins.

    Args:
        intensity: Sigma nought; after the subtraction of thermal noise it may be negative.
        looks: Equivalent number of looks.
        noise: What was subtracted, in the same unit, [H, W].
        kind: One of FILTERS; `none` leaves the intensity as it is.
    """
    if kind == "none":
        return intensity.copy()
    if kind == "refined-lee":
        out = np.empty_like(intensity)
        _refined(intensity, noise, np.float32(1 / looks), out)
        return out
    if kind == "non-local":
        return non_local.non_local_means(intensity + noise, looks) - noise
    mean, variance = local_statistics(intensity)
    if kind == "lee":
        _lee(intensity, noise, mean, variance, np.float32(1 / looks))
    elif kind == "gamma-map":
        _gamma_map(intensity, noise, mean, variance, np.float32(looks))
    else:
        mean[np.isnan(intensity)] = np.nan
    return mean


def local_statistics(pixels: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of the known pixels in the SIZE × SIZE pixels about each, each [H, W]."""
    mean, variance = np.empty_like(pixels), np.empty_like(pixels)
    _moments(pixels, mean, variance)
    return mean, variance


@compiled
def _seven(a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, f: Floats, g: Floats, out: Floats) -> None:
    for j in range(out.size):
        out[j] = ((a[j] + b[j]) + (c[j] + d[j])) + ((e[j] + f[j]) + g[j])


@compiled
def _across(a: Floats, out: Floats) -> None:
    n = out.size
    _seven(a[:n], a[1:], a[2:], a[3:], a[4:], a[5:], a[6:], out)


@compiled
def _moments(z: Floats, mean: Floats, variance: Floats) -> None:
    """Sums along the row once a pixel, kept for seven rows; sums down the column from those. No running sums: they drift."""
    height, width = z.shape
    one, nothing = np.float32(1), np.float32(0)
    known, value, square = np.zeros((3, width + 2 * _HALF), np.float32)
    sums = np.zeros((3, SIZE, width), np.float32)
    count, total, squares = np.zeros((3, width), np.float32)
    lost = np.ones(SIZE + 1, np.int64)  # unknown pixels of the rows kept; the last for `count` as it stands
    for row in range(-_HALF, height):
        new = row + _HALF
        k = new % SIZE
        lost[k] = 1
        if new < height:
            line = z[new]
            unknown = 0
            for j in range(width):
                v = line[j]
                there = v == v  # not NaN
                unknown += 0 if there else 1
                v = v if there else nothing
                known[_HALF + j] = one if there else nothing
                value[_HALF + j] = v
                square[_HALF + j] = v * v
            lost[k] = unknown
            _across(known, sums[0, k])
            _across(value, sums[1, k])
            _across(square, sums[2, k])
        else:
            sums[:, k] = nothing
        if row < 0:
            continue
        # From the uppermost row on, so that the order of summation is the same for every pixel.
        a, b, c, d, e, f, g = (k + 1) % SIZE, (k + 2) % SIZE, (k + 3) % SIZE, (k + 4) % SIZE, (k + 5) % SIZE, (k + 6) % SIZE, k
        if lost.sum() > 0:  # else all is known, as it was in the row before
            _seven(sums[0, a], sums[0, b], sums[0, c], sums[0, d], sums[0, e], sums[0, f], sums[0, g], count)
            lost[SIZE] = lost[:SIZE].sum()
        _seven(sums[1, a], sums[1, b], sums[1, c], sums[1, d], sums[1, e], sums[1, f], sums[1, g], total)
        _seven(sums[2, a], sums[2, b], sums[2, c], sums[2, d], sums[2, e], sums[2, f], sums[2, g], squares)
        to_mean, to_variance = mean[row], variance[row]
        for j in range(width):
            share = one / count[j]
            m = total[j] * share
            v = squares[j] * share - m * m
            to_mean[j] = m
            to_variance[j] = v if v > nothing else nothing


@compiled
def _lee(z: Floats, noise: Floats, mean: Floats, variance: Floats, speckle: np.float32) -> None:
    """In the place of `mean`: m + k (z - m), k = var_x / v, var_x = (v - c² M²) / (1 + c²), M = m + noise."""
    shrink = np.float32(1) / (np.float32(1) + speckle)
    for i in range(z.shape[0]):
        line, level, to, spread = z[i], noise[i], mean[i], variance[i]
        for j in range(line.size):
            all_power = to[j] + level[j]
            signal = (spread[j] - speckle * all_power * all_power) * shrink
            gain = signal / spread[j] if signal > np.float32(0) else np.float32(0)
            to[j] = to[j] + gain * (line[j] - to[j])


@compiled
def _gamma_map(z: Floats, noise: Floats, mean: Floats, variance: Floats, looks: np.float32) -> None:
    """In the place of `mean`. On all power z + noise: the root of α x² / M + (looks + 1 - α) x - looks z = 0 between the two limits.

    Below c² the ground is even and the mean is taken; above 2 c² it is a point and stays as it is (Lopes et al., section 4).
    """
    one, nothing = np.float32(1), np.float32(0)
    speckle = one / looks
    for i in range(z.shape[0]):
        line, level, to, spread = z[i], noise[i], mean[i], variance[i]
        for j in range(line.size):
            m, power = to[j] + level[j], line[j] + level[j]
            variation = spread[j] / (m * m) if m > nothing else nothing
            if line[j] != line[j] or variation >= np.float32(2) * speckle:
                to[j] = line[j]
            elif variation > speckle:
                alpha = (one + speckle) / (variation - speckle)
                linear = (alpha - looks - one) * m
                to[j] = (linear + np.sqrt(linear * linear + np.float32(4) * alpha * looks * m * power)) / (np.float32(2) * alpha) - level[j]


@compiled
def _refined(z: Floats, noise: Floats, speckle: np.float32, out: Floats) -> None:
    """Which half: the strongest of four gradients of 3 × 3 means tells the edge, the side whose mean is closer to the middle's the half."""
    height, width = z.shape
    nothing, one = np.float32(0), np.float32(1)
    sub = np.empty((3, 3), np.float32)
    for i in range(height):
        for j in range(width):
            middle = z[i, j]
            if middle != middle:
                out[i, j] = middle
                continue
            for a in range(3):
                for b in range(3):
                    total, count = nothing, nothing
                    for y in range(max(i + 2 * a - 3, 0), min(i + 2 * a, height)):
                        for x in range(max(j + 2 * b - 3, 0), min(j + 2 * b, width)):
                            v = z[y, x]
                            if v == v:
                                total += v
                                count += one
                    sub[a, b] = total / count if count > nothing else middle
            steps = (
                abs(sub[0, 2] + sub[1, 2] + sub[2, 2] - sub[0, 0] - sub[1, 0] - sub[2, 0]),
                abs(sub[0, 0] + sub[0, 1] + sub[0, 2] - sub[2, 0] - sub[2, 1] - sub[2, 2]),
                abs(sub[0, 1] + sub[0, 2] + sub[1, 2] - sub[1, 0] - sub[2, 0] - sub[2, 1]),
                abs(sub[0, 0] + sub[0, 1] + sub[1, 0] - sub[1, 2] - sub[2, 1] - sub[2, 2]),
            )
            edge = 0
            for k in range(1, 4):
                if steps[k] > steps[edge]:
                    edge = k
            # Down and across the edge, from the side that is named first in `steps` to the other.
            down, across = ((0, 1), (-1, 0), (-1, 1), (-1, -1))[edge]
            ahead = abs(sub[1 + down, 1 + across] - sub[1, 1]) <= abs(sub[1 - down, 1 - across] - sub[1, 1])
            if not ahead:
                down, across = -down, -across
            total, squares, count = nothing, nothing, nothing
            for y in range(max(i - _HALF, 0), min(i + _HALF + 1, height)):
                for x in range(max(j - _HALF, 0), min(j + _HALF + 1, width)):
                    v = z[y, x]
                    if v == v and (y - i) * down + (x - j) * across >= 0:
                        total += v
                        squares += v * v
                        count += one
            mean = total / count
            variance = squares / count - mean * mean
            all_power = mean + noise[i, j]
            signal = (variance - speckle * all_power * all_power) / (one + speckle)
            gain = signal / variance if signal > nothing else nothing
            out[i, j] = mean + gain * (middle - mean)
