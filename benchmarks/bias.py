"""How far sigma nought is from what the surface was given, and how level sub-swaths meet, on products of every kind.

    python benchmarks/bias.py [--side PIXELS]

Each product shows even multi-year ice, above the noise in all polarisations, and is calibrated as passes are, before geocoding and speckle
filter. Told for each polarisation, in dB, are the largest bias of a sub-swath; the mean step between sub-swaths with the noise and without,
less that of the surface; and the noise-equivalent sigma nought.
"""

import argparse
import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from affine import Affine

from icegraph.calibrate.safe import SafeImage
from icegraph.grid import Grid, Window
from icegraph.simulate.ew_vectors import plan_product
from icegraph.simulate.field import FLOE, MULTIYEAR, Snapshot
from icegraph.simulate.kind import EW, IW, Kind
from icegraph.simulate.sentinel1 import true_sigma_nought, write_safe

KINDS = (
    Kind(),
    Kind("S1A", EW, ("HH", "HV"), "002.84"),
    Kind("S1C", EW, ("HH",), "004.01"),
    Kind("S1A", IW, ("VV", "VH")),
    Kind("S1B", IW, ("VV", "VH"), "002.84"),
)


def measure(kind: Kind, side: int, folder: Path) -> None:
    """Print a line a polarisation."""
    pixel_m = 40.0 if kind.mode is EW else 10.0
    grid = Grid("EPSG:3413", Affine(pixel_m, 0, 400_000, 0, -pixel_m, -900_000), side, side)
    ones = np.ones(grid.shape, np.float32)
    even = Snapshot(
        time=datetime(2021, 5, 1, tzinfo=UTC),
        grid=grid,
        identity=ones.astype(np.uint32),
        classes=np.full(grid.shape, FLOE, np.uint8),
        ice_type=np.full(grid.shape, MULTIYEAR, np.uint8),
        wind_m_s=5 * ones,
        cloud=0 * ones,
        texture=0 * ones,
    )
    name = write_safe(even, folder, rng=np.random.default_rng(0), kind=kind)
    geometry = plan_product(even, kind=kind).geometry
    given = {band.lower(): values for band, values in true_sigma_nought(even, geometry, polarisations=kind.polarisations).items()}
    near, far = int(geometry.data_samples[0].max()) + 16, int(geometry.data_samples[1].min()) - 16
    with SafeImage.read(folder / f"{name}.SAFE", []) as image:
        for band in image.bands:
            sigma, noise = image.read_band(band, Window(0, 0, *image.shape))
            parts = [np.s_[:, max(first, near) : min(end, far)] for first, end in pairwise(geometry.swath_first)]
            biases = [_db(np.nanmean(sigma[part]) / given[band][part].mean()) for part in parts]
            before, after = ([_step(values, given[band], seam) for seam in geometry.swath_first[1:-1]] for values in (sigma + noise, sigma))
            floor = _db(np.median(noise[np.isfinite(sigma)]))
            steps = f"{np.mean(before):12.3f}{np.mean(after):9.3f}"
            print(f"{kind.platform} {kind.mode.name} IPF {kind.ipf} {band.upper()}{max(biases, key=abs):+10.3f}{steps}{floor:8.1f}")


def _step(values: np.ndarray, given: np.ndarray, seam: int, side: int = 60) -> float:
    """The step at a seam in dB, of straight lines fitted to both sides, less that of the surface."""
    place = np.arange(side)

    def at_seam(pixels: np.ndarray) -> float:
        left, right = np.nanmean(pixels[:, seam - side : seam], axis=0), np.nanmean(pixels[:, seam : seam + side], axis=0)
        return _db(np.polyval(np.polyfit(place, right, 1), -0.5) / np.polyval(np.polyfit(place, left, 1), side - 0.5))

    return abs(at_seam(values) - at_seam(given))


def _db(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1500)
    arguments = parser.parse_args()
    print(f"{'product':21}{'bias dB':>10}{'noisy step':>12}{'step dB':>9}{'NESZ':>8}")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            measure(kind, arguments.side, Path(folder))


if __name__ == "__main__":
    main()
