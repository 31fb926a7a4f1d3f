"""What each speckle filter does to floes whose backscatter is known, beside scikit-image's non-local means.

    python benchmarks/speckle.py [--side PIXELS] [--looks LOOKS]

Discs of first-year ice (-12 dB, textured by 0.5 dB) of all sizes lie on water (-20 dB) under speckle of EW GRDM. Told are the equivalent
number of looks on the water; the shift of the mean of the ice, linear; how much of the true step is left across the rims (1 is all; less is
blurred); the error, root mean square in dB, within two pixels of a rim and elsewhere; and CPU seconds for a million pixels. scikit-image's
filter (A. Buades et al. 2005, doi:10.1109/CVPR.2005.38) takes decibels, whose noise is nearly normal where speckle has many looks.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from icegraph.calibrate.speckle import FILTERS, despeckle

Image = NDArray[np.float32]


def discs(side: int, rng: np.random.Generator) -> tuple[Image, NDArray[np.bool_]]:
    """Backscatter, linear, and where it is ice, each [side, side]."""
    ice = np.zeros((side, side), bool)
    row, col = np.mgrid[:side, :side]
    for radius in np.geomspace(3, side / 8, 40)[::-1]:
        y, x = rng.uniform(radius, side - radius, 2)
        away = np.hypot(row - y, col - x)
        if not ice[away < radius + 6].any():
            ice |= away < radius
    level = np.where(ice, -12 + 0.5 * rng.standard_normal(ice.shape), -20)
    return np.asarray(10 ** (level / 10), np.float32), ice


def non_local(noisy: Image, looks: float) -> Image:
    """Non-local means of decibels, 5 × 5 patches within 13 × 13 pixels, and the bias of the logarithm taken off."""
    spread = 10 / np.log(10) / np.sqrt(looks)
    decibels = denoise_nl_means(10 * np.log10(noisy), 5, 6, h=0.8 * spread, sigma=spread, fast_mode=True)
    return np.asarray(10 ** ((decibels + spread**2 * np.log(10) / 20) / 10), np.float32)


def figures(filtered: Image, truth: Image, ice: NDArray[np.bool_]) -> tuple[float, float, float, float, float]:
    """Looks on even water, shift of the mean of textured ice, share of the step that is left across rims, error at rims and elsewhere."""
    distance = np.where(ice, ndimage.distance_transform_edt(ice), -ndimage.distance_transform_edt(~ice))
    water = filtered[distance < -8]
    rim = np.abs(distance) <= 2
    error = 10 * np.log10(np.maximum(filtered, 1e-6) / truth)

    def step(image: Image) -> float:
        inside, outside = (
            10 * np.log10(image[where].mean()) for where in ((distance > 0) & (distance <= 1.5), (distance < 0) & (distance >= -1.5))
        )
        return float(inside - outside)

    looks = float(water.mean() ** 2 / water.var())
    shift = float(10 * np.log10(filtered[distance > 8].mean() / truth[distance > 8].mean()))
    return looks, shift, step(filtered) / step(truth), *(float(np.sqrt(np.mean(error[where] ** 2))) for where in (rim, ~rim))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--looks", type=float, default=10.7)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    truth, ice = discs(arguments.side, rng)
    noisy = (truth * rng.gamma(arguments.looks, 1 / arguments.looks, truth.shape)).astype(np.float32)
    nothing = np.zeros_like(noisy)
    filters: dict[str, Callable[[], Image]] = {"none": noisy.copy}
    filters |= {kind: lambda kind=kind: despeckle(noisy, arguments.looks, nothing, kind) for kind in FILTERS}  # type: ignore[misc]
    filters["scikit-image"] = lambda: non_local(noisy, arguments.looks)
    print(f"{'filter':12}{'looks':>8}{'mean dB':>9}{'step left':>11}{'rim dB':>8}{'else dB':>9}{'s/Mpixel':>10}")
    for name, run in filters.items():
        run()  # compiled once, before it is timed
        start = time.process_time()
        filtered = run()
        seconds = (time.process_time() - start) / noisy.size * 1e6
        looks, shift, left, rim, elsewhere = figures(filtered, truth, ice)
        print(f"{name:12}{looks:8.0f}{shift:+9.3f}{left:11.2f}{rim:8.2f}{elsewhere:9.2f}{seconds:10.3f}")


if __name__ == "__main__":
    main()
