"""Speckle: Lee's local filter (J.-S. Lee 1980, "Digital image enhancement and noise filtering by use of local statistics",
doi:10.1109/TPAMI.1980.4766994), on linear intensity, aware of thermal noise that was taken off.
"""  # noqa: D205

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

SIZE = 7  # pixels, the side of the local window
HALO = SIZE // 2
LOOKS = {("EW", "GRDM"): 10.7, ("IW", "GRDH"): 4.4}  # equivalent numbers of looks (Sentinel-1 Product Definition, S1-RS-MDA-52-7440)

Floats = NDArray[np.float32]


def lee(intensity: Floats, looks: float, noise: Floats | float = 0.0) -> Floats:
    """Filter intensity, [H, W], linear; NaN where there is nothing, and NaN stays there.

    The linear estimate of the least mean square error from the mean m and variance v of SIZE × SIZE pixels: m + k (z - m), where
    k = var_x / v and var_x = (v - c² M²) / (1 + c²). Speckle is multiplicative with c² = 1 / looks on all the power received, so
    M = m + noise: over dark water the noise that was subtracted still speckles.

    Args:
        intensity: Sigma nought; after the subtraction of thermal noise it may be negative.
        looks: Equivalent number of looks.
        noise: What was subtracted, in the same unit, [H, W] or one number.
    """
    known = np.isfinite(intensity)
    filled = np.where(known, intensity, 0).astype(np.float64)
    weight = uniform_filter(known.astype(np.float64), SIZE, mode="constant")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = uniform_filter(filled, SIZE, mode="constant") / weight
        variance = np.maximum(uniform_filter(filled * filled, SIZE, mode="constant") / weight - mean * mean, 0)
        speckle = 1.0 / looks
        signal = (variance - speckle * (mean + noise) ** 2) / (1 + speckle)
        gain = np.where(variance > 0, np.clip(signal / variance, 0, 1), 0)
        return np.where(known, mean + gain * (filled - mean), np.nan).astype(np.float32)
