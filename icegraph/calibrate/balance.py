"""Steps between sub-swaths: how large they are, and how noise is rescaled and balanced so that none is left.

The noise vectors of a product may be off by some per cent, otherwise in each sub-swath; where the signal is weak, as in
cross-polarisation, a step at each seam is left. After J.-W. Park, A. Korosov et al. 2018, "Efficient thermal noise removal for Sentinel-1
TOPSAR cross-polarization channel", doi:10.1109/TGRS.2017.2765248, and J.-W. Park, N. Miranda et al. 2022, "Thermal denoising of
cross-polarized Sentinel-1 data in interferometric and extra wide swath modes", IEEE TGRS 60, a sub-swath gets a factor and an offset:

    noise' = factor · noise + offset        factor: leaves a profile across the sub-swath that is a straight line and no noise
                                            offset: makes the profiles of two sub-swaths meet at their seam

Theirs are tuned once a platform and processor on hundreds of products; these are fitted to the product itself, for platforms and processors
of any date. The factor comes from many chunks of lines, those with the straightest rest counting most, and is believed only where it is
near 1 and the chunks agree; offsets leave the mean of the image as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from icegraph.calibrate.radiometry import Floats, SwathBlock
from icegraph.grid import Window

SIDE = 100  # pixels on each side of a seam that tell its step (Park et al. 2022, their validation metric)
LINES = 250  # of a chunk
CHUNKS_LEAST = 8  # whose agreement tells how sure a step is
BIN = 16  # pixels that are averaged in profiles
FACTOR = (
    0.8,
    1.25,
)  # of noise vectors that are believed; published factors run from 0.83 to 1.48 for one product line, most from 0.95 to 1.06
FACTOR_ERROR = 0.05

FloatArray = NDArray[np.float64]
Read = Callable[[Window], tuple[Floats, Floats]]
"""Sigma nought and the noise taken off it, of a window, each [H, W]."""


@dataclass(frozen=True)
class Level:
    """How noise changes in one block of a sub-swath.

    Args:
        block: Where.
        factor: On the noise.
        offset: Beside it, in the unit of sigma nought.
    """

    block: SwathBlock
    factor: float
    offset: float

    def apply(self, sigma: Floats, noise: Floats, window: Window) -> None:
        """Change sigma nought and the noise taken off it, of a window, in place."""
        block = self.block
        rows = slice(max(block.first_line - window.row, 0), max(block.last_line + 1 - window.row, 0))
        cols = slice(max(block.first_pixel - window.col, 0), max(block.last_pixel + 1 - window.col, 0))
        more = np.float32(self.factor - 1) * noise[rows, cols] + np.float32(self.offset)
        sigma[rows, cols] -= more
        noise[rows, cols] += more


@dataclass(frozen=True)
class Seam:
    """The step at a seam between two sub-swaths, left to right.

    Args:
        swaths: Names of the two.
        step: Right less left, linear, without noise.
        level: Mean of the two, without noise.
        noisy_step: The same with noise.
        noisy_level: The same with noise.
        error: Standard error of `step`, from how chunks of lines differ; NaN of fewer than CHUNKS_LEAST.
    """

    swaths: tuple[str, str]
    step: float
    level: float
    noisy_step: float
    noisy_level: float
    error: float

    @property
    def before_db(self) -> float:
        """The step with noise, right over left in dB."""
        return _ratio_db(self.noisy_step, self.noisy_level)

    @property
    def after_db(self) -> float:
        """The step without noise; NaN where the signal is no more than noise."""
        return _ratio_db(self.step, self.level)

    @property
    def error_db(self) -> float:
        """Standard error of both: with the ice that lies at the seam, or NaN where the image is too short to tell."""
        return float(10 / np.log(10) * self.error / self.level) if self.level > 0 else float("nan")


def measure_seams(read: Read, blocks: Sequence[SwathBlock]) -> list[Seam]:
    """The steps of an image at the seams between its sub-swaths.

    On each side a straight line is fitted to the mean of each column and prolonged to the seam, since brightness changes with
    incidence. The median over chunks of lines keeps floe edges out.
    """
    found: dict[tuple[str, str], list[FloatArray]] = {}
    for left, right in _neighbours(blocks):
        side = min(SIDE, left.last_pixel - left.first_pixel + 1, right.last_pixel - right.first_pixel + 1)
        first, last = max(left.first_line, right.first_line), min(left.last_line, right.last_line)
        for row in range(first, last + 1, LINES):
            window = Window(row, right.first_pixel - side, min(LINES, last + 1 - row), 2 * side)
            sigma, noise = read(window)
            clean, noisy = _at_seam(sigma, side), _at_seam(sigma + noise, side)
            if np.isfinite([*clean, *noisy]).all():
                found.setdefault((left.swath, right.swath), []).append(np.array([*clean, *noisy]))
    seams = []
    for names, chunks in found.items():
        left_clean, right_clean, left_noisy, right_noisy = np.array(chunks).T
        step, noisy = np.median(right_clean - left_clean), np.median(right_noisy - left_noisy)
        spread = 1.4826 * np.median(np.abs(right_clean - left_clean - step))  # as a standard deviation, of normal differences
        error = 1.2533 * spread / np.sqrt(len(chunks)) if len(chunks) >= CHUNKS_LEAST else np.nan
        levels = np.mean((left_clean + right_clean) / 2), np.mean((left_noisy + right_noisy) / 2)
        seams.append(Seam(names, float(step), float(levels[0]), float(noisy), float(levels[1]), float(error)))
    return seams


def fit_factors(read: Read, blocks: Sequence[SwathBlock]) -> dict[str, float]:
    """Sub-swath → the factor on its noise; 1 where the image does not tell it."""
    told: dict[str, list[tuple[float, float]]] = {block.swath: [] for block in blocks}
    for block in blocks:
        for row in range(block.first_line, block.last_line + 1, LINES):
            window = Window(row, block.first_pixel, min(LINES, block.last_line + 1 - row), block.last_pixel - block.first_pixel + 1)
            fitted = _fit_factor(*read(window))
            if fitted is not None:
                told[block.swath].append(fitted)
    return {swath: _believed(chunks) for swath, chunks in told.items()}


def fit_offsets(seams: Sequence[Seam], blocks: Sequence[SwathBlock]) -> dict[str, float]:
    """Sub-swath → the offset that takes the steps away and leaves the mean of the image."""
    names = list(dict.fromkeys(block.swath for block in blocks))
    steps = {seam.swaths: seam.step for seam in seams}
    raised = np.cumsum([0.0, *(steps.get(pair, 0.0) for pair in pairwise(names))])
    width = {name: max(block.last_pixel - block.first_pixel + 1 for block in blocks if block.swath == name) for name in names}
    raised -= np.average(raised, weights=list(width.values()))
    return dict(zip(names, map(float, raised), strict=True))


def levels(blocks: Sequence[SwathBlock], factors: Mapping[str, float], offsets: Mapping[str, float]) -> list[Level]:
    """The changes of each block."""
    return [Level(block, factors.get(block.swath, 1.0), offsets.get(block.swath, 0.0)) for block in blocks]


def _neighbours(blocks: Sequence[SwathBlock]) -> list[tuple[SwathBlock, SwathBlock]]:
    """Pairs of blocks side by side that share lines."""
    return [
        (left, right)
        for left in blocks
        for right in blocks
        if right.first_pixel == left.last_pixel + 1
        and max(left.first_line, right.first_line) <= min(left.last_line, right.last_line)
        and left.swath != right.swath
    ]


def _profile(pixels: Floats) -> FloatArray:
    """Mean of each column; NaN of one that is not known in most lines."""
    known = np.isfinite(pixels)
    count = known.sum(axis=0)
    total = np.where(known, pixels, 0).sum(axis=0, dtype=np.float64)
    return np.asarray(np.where(2 * count > len(pixels), total / np.maximum(count, 1), np.nan))


def _at_seam(pixels: Floats, side: int) -> tuple[float, float]:
    """Values that both sides have at the seam between columns `side` - 1 and `side`."""
    profile, place = _profile(pixels), np.arange(side)
    if not np.isfinite(profile).all():
        return float("nan"), float("nan")
    left, right = np.polyfit(place, profile[:side], 1), np.polyfit(place, profile[side:], 1)
    return float(np.polyval(left, side - 0.5)), float(np.polyval(right, -0.5))


def _fit_factor(sigma: Floats, noise: Floats) -> tuple[float, float] | None:
    """Factor and its variance: least squares of all power by a straight line and noise, which is what remains most even without it."""
    width = sigma.shape[1] // BIN * BIN
    power, floor = (_profile(pixels)[:width].reshape(-1, BIN).mean(axis=1) for pixels in (sigma + noise, noise))
    known = np.isfinite(power)
    if known.sum() < 8 or not floor[known].any():
        return None
    place = np.linspace(-1, 1, len(power))
    design = np.column_stack([np.ones_like(place), place, floor])[known]
    solved, _, rank, _ = np.linalg.lstsq(design, power[known], rcond=None)
    if rank < 3:
        return None
    rest = power[known] - design @ solved
    variance = rest @ rest / (len(rest) - 3) * np.linalg.inv(design.T @ design)[2, 2]
    return float(solved[2]), float(variance)


def _believed(chunks: Sequence[tuple[float, float]]) -> float:
    if len(chunks) < 4:
        return 1.0
    values, variances = np.array(chunks).T
    weights = 1 / np.maximum(variances, 1e-12)
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    middle = float(values[order][np.searchsorted(share, 0.5)])
    spread = float(np.sqrt(np.average((values - middle) ** 2, weights=weights) * np.sum(weights**2)) / weights.sum())
    return middle if FACTOR[0] <= middle <= FACTOR[1] and spread < FACTOR_ERROR else 1.0


def _ratio_db(step: float, level: float) -> float:
    left, right = level - step / 2, level + step / 2
    return float(10 * np.log10(right / left)) if min(left, right) > 0 else float("nan")
