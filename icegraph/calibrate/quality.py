"""How well a radar scene came out, in numbers that its item carries."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icegraph.calibrate.radar import FLOOR
from icegraph.calibrate.radiometry import Floats
from icegraph.calibrate.safe import SafeImage
from icegraph.calibrate.settings import Filter
from icegraph.calibrate.speckle import despeckle, halo
from icegraph.grid import Window

_SIDE = 25  # pixels of the squares whose even ones tell the number of looks
EVEN_LEAST = 0.5  # of the product's looks: squares that commonly have fewer hold edges, not even ground
_WINDOW = 512
_WINDOWS = 4  # a side: so many parts of the image are looked at


def radar_quality(image: SafeImage, samples: Mapping[str, NDArray[np.float32]], kind: Filter) -> dict[str, Any]:
    """Steps between sub-swaths, noise floor, looks and shares of a calibrated product.

    Args:
        image: The product.
        samples: Thinned bands, as `icegraph.calibrate.radar.Rasters` has them.
        kind: Of the speckle filter.

    Returns:
        `valid_share` of the grid; and for each polarisation in `bands`: `seams`, each with the `swaths` and the step right over left with
        noise (`before_db`) and without (`after_db`, null where no signal is left), and the standard error of it (`error_db`, null where the
        image is too short to tell: then the steps are as much the ice's as the instrument's); `noise_floor_db`, the median
        noise-equivalent sigma nought; `enl`, the equivalent number of looks of even ground as it came and as it was filtered, null where
        no ground is even; `below_noise_share` of the valid pixels, whose filtered value was zero or less.
    """
    valid = samples["valid"] > 0

    def told(band: str) -> dict[str, Any]:
        before, after, floor = _looks(image, band, kind)
        written = next(pixels for name, pixels in samples.items() if name.startswith(f"{band}_") and "nesz" not in name)[valid]
        return {
            "seams": [
                {
                    "swaths": list(seam.swaths),
                    "before_db": _told(seam.before_db),
                    "after_db": _told(seam.after_db),
                    "error_db": _told(seam.error_db),
                }
                for seam in image.seams(band)
            ],
            "noise_floor_db": _told(floor),
            "enl": [_told(before), _told(after)],
            "below_noise_share": round(float((written <= 10 * np.log10(FLOOR)).mean()), 4) if written.size else None,
        }

    with ThreadPoolExecutor(len(image.bands)) as pool:
        bands = dict(zip(image.bands, pool.map(told, image.bands), strict=True))
    return {"valid_share": round(float(valid.mean()), 4), "bands": bands}


def equivalent_looks(intensity: Floats, noise: Floats) -> NDArray[np.float64]:
    """Mean² over variance of all power in squares of _SIDE pixels; NaN of those that are not known whole."""
    rows, cols = (side // _SIDE for side in intensity.shape)
    power = (intensity + noise)[: rows * _SIDE, : cols * _SIDE].reshape(rows, _SIDE, cols, _SIDE).swapaxes(1, 2).reshape(-1, _SIDE**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(power.mean(axis=1, dtype=np.float64) ** 2 / power.var(axis=1, dtype=np.float64))


def _looks(image: SafeImage, band: str, kind: Filter) -> tuple[float, float, float]:
    """Looks before and after the filter, and the noise floor in dB, from windows spread over the image."""
    before, after, floor = [], [], []
    height, width = image.shape
    inside = np.s_[halo(kind) : -halo(kind), halo(kind) : -halo(kind)]
    for row in np.linspace(0, max(height - _WINDOW, 0), _WINDOWS, dtype=int):
        for col in np.linspace(0, max(width - _WINDOW, 0), _WINDOWS, dtype=int):
            sigma, noise = image.read_band(band, Window(int(row), int(col), min(_WINDOW, height), min(_WINDOW, width)))
            filtered = despeckle(sigma, image.looks, noise, kind)
            before.append(equivalent_looks(sigma[inside], noise[inside]))
            after.append(equivalent_looks(filtered[inside], noise[inside]))
            floor.append(noise[np.isfinite(sigma) & (noise > 0)])
    raw, smooth, noise = np.concatenate(before), np.concatenate(after), np.concatenate(floor)
    looks = _commonest(raw[np.isfinite(raw)])
    if looks < EVEN_LEAST * image.looks:
        looks = float("nan")
    even = smooth[(raw > 0.9 * looks) & np.isfinite(smooth)]
    return looks, float(np.median(even)) if even.size else np.nan, float(10 * np.log10(np.median(noise))) if noise.size else np.nan


def _commonest(values: NDArray[np.float64]) -> float:
    """The peak of the distribution of logarithms: floe edges lower the looks of some squares, and nothing raises them."""
    if not values.size:
        return float("nan")
    counts, edges = np.histogram(np.log(values), np.arange(-3.0, 9.0, 0.05))
    smooth = np.convolve(counts, np.hanning(9), mode="same")
    return float(np.exp((edges[:-1] + 0.025)[np.argmax(smooth)]))


def _told(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None
