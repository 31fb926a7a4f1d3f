"""What the network sees of a scene: every band twice, on the scene's scale and on its neighbourhood's scale.

A value on the scene's scale tells water from ice; one on the neighbourhood's scale (local mean removed, divided by the local standard
deviation) shows the faint cracks between floes, and looks alike in scenes of different light, haze, sensor and season. That likeness
lets a model trained on simulated scenes outline floes in real ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from icegraph.compiled import compiled
from icegraph.grid import Window
from icegraph.scene import Scene

FloatArray = NDArray[np.float32]

_FLOOR = 0.08  # of half the scene's range: flatter ground than this is not stretched to full contrast
_LIMIT = 4.0  # both kinds of values are cut at ± this

# Sigma nought falls with the incidence angle: over sea ice of all kinds between these slopes (dB per degree) of first-year and old ice
# (HH: -0.25 to -0.167, HV: -0.16 to -0.10; Mäkynen & Karvonen 2017, doi 10.1109/TGRS.2017.2721981; doi 10.1109/TGRS.2023.3315056).
_SLOPES = {"hh_db": -0.22, "vv_db": -0.22, "hv_db": -0.12, "vh_db": -0.12}
BRIGHT = "red"  # tells ice from water in every season, in MODIS at its finest resolution
INCIDENCE, _REFERENCE_DEG = "incidence_deg", 35.0
# What a network is trained on where its config does not say. Not what tells how or when a pixel was seen (the incidence angle is taken out
# of the others; `amsr2_age_h`), nor channels that add a wider footprint or water vapour to those here.
INPUTS = (
    *("red", "green", "blue", "nir", "swir22"),
    *_SLOPES,
    *("tb_18h_k", "tb_18v_k", "tb_36h_k", "tb_36v_k", "tb_89h_k", "tb_89v_k", "sic_percent"),
)
# A band that hardly varies over a scene is not stretched: half its range counts as at least this, in its unit. A radiometer's pixels of
# 5 to 22 km hold a small scene whole, and what they vary there is noise.
_LEAST_HALF = {"db": 3.0, "k": 25.0, "percent": 25.0, "deg": 15.0}


def channels(bands: int) -> int:
    """Input channels of the network for a number of bands: each band twice, and the mask of seen pixels."""
    return 2 * bands + 1


def read_scaled(scene: Scene, bands: Sequence[str], window: Window) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Read a window of a scene on the scene's scale; where the incidence angle is known, sigma nought as it would be at 35 degrees.

    Args:
        scene: The pass.
        bands: The bands wanted, in the model's order; those that the scene lacks come as NaN.
        window: Which pixels.

    Returns:
        Values [C, H, W], −1 at the scene's 2nd percentile and +1 at its 98th (closer to 0 in a band that hardly
        varies), NaN where there is nothing; and the valid mask [H, W].
    """
    valid = scene.mask("valid", window)
    values = np.full((len(bands), *window.shape), np.nan, np.float32)
    for index, band in enumerate(bands):
        if band in scene.bands:
            pixels = scene.read([band], window)[0]
            if band in _SLOPES and INCIDENCE in scene.bands and "icegraph:normalised" not in scene.item.properties:
                pixels = pixels - np.float32(_SLOPES[band]) * (scene.read([INCIDENCE], window)[0] - np.float32(_REFERENCE_DEG))
            values[index] = to_scene_scale(pixels, scene.statistics(band), _LEAST_HALF.get(band.rsplit("_", 1)[-1], 0.0))
    values[:, ~valid] = np.nan
    return values, valid


def to_scene_scale(pixels: FloatArray, statistics: Mapping[str, float], least_half: float = 0.0) -> FloatArray:
    """Map a band so that its 2nd and 98th percentile, if `2 least_half` apart or more, become −1 and +1.

    All NaN where the band has no valid pixels at all.
    """
    if not statistics:
        return np.full_like(pixels, np.nan)
    low, high = statistics["p02"], statistics["p98"]
    half = max((high - low) / 2, least_half, 1e-3 * max(abs(low), abs(high)), 1e-6)
    return np.asarray((pixels - (low + high) / 2) / half, np.float32)


def network_input(values: FloatArray, valid: NDArray[np.bool_], reach: int) -> FloatArray:
    """Stack what the network takes.

    Args:
        values: Bands on the scene's scale [C, H, W], NaN where there is nothing.
        valid: Sea surface seen [H, W].
        reach: Half-width of the neighbourhood, pixels; the result is exact `reach` pixels inside the edges.

    Returns:
        [2C + 1, H, W], finite: the bands on the scene's scale, the bands on the neighbourhood's scale, the valid mask. Zero where
        there is nothing.
    """
    count = values.shape[0]
    out = np.zeros((channels(count), *values.shape[1:]), np.float32)
    for index, band in enumerate(values):
        seen = np.isfinite(band) & valid
        if seen.any():
            out[index] = np.where(seen, band, np.float32(0))
            _to_local_scale(out[index], seen, reach, out[count + index])
    np.clip(out, -_LIMIT, _LIMIT, out=out)
    out[-1] = valid
    return out


@compiled
def _to_local_scale(band: FloatArray, seen: NDArray[np.bool_], reach: int, out: FloatArray) -> None:
    """Remove the mean and divide by the standard deviation of the pixels seen in the square of 2 `reach` + 1 pixels around each pixel.

    Number, sum and sum of squares run down the columns, and over these along each row; in float64: of float32 they would drift, and so
    differ from tile to tile.

    Args:
        band: [H, W], 0 where not seen.
        seen: [H, W].
        reach: See above.
        out: Takes the result [H, W], where seen.
    """
    height, width = band.shape
    # Of the rows around this one, for each column; as many empty columns before and after as the squares reach beyond the edges.
    number, total, square = np.zeros(width + 2 * reach + 1), np.zeros(width + 2 * reach + 1), np.zeros(width + 2 * reach + 1)
    numbers, totals, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    for row in range(-reach, height):
        first = reach + 1
        if row + reach < height:
            for col in range(width):
                value = np.float64(band[row + reach, col])
                number[first + col] += seen[row + reach, col]
                total[first + col] += value
                square[first + col] += value * value
        if row > reach:
            for col in range(width):
                value = np.float64(band[row - reach - 1, col])
                number[first + col] -= seen[row - reach - 1, col]
                total[first + col] -= value
                square[first + col] -= value * value
        if row >= 0:
            n, s, q = number[: 2 * reach + 1].sum(), total[: 2 * reach + 1].sum(), square[: 2 * reach + 1].sum()
            for col in range(width):
                n += number[col + 2 * reach + 1] - number[col]
                s += total[col + 2 * reach + 1] - total[col]
                q += square[col + 2 * reach + 1] - square[col]
                numbers[col], totals[col], squares[col] = n, s, q
            for col in range(width):
                count = max(numbers[col], 1.0)
                mean = totals[col] / count
                spread = np.sqrt(max(squares[col] / count - mean * mean, 0.0) + _FLOOR * _FLOOR)
                out[row, col] = (band[row, col] - mean) / spread if seen[row, col] else 0.0
