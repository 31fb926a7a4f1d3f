"""A Sentinel-1B EW GRDM dual-polarisation (HH, HV) product of a simulated ice field, as a SAFE folder.

The image is a rectangle in the field's plane, turned a little against its grid as orbits are, lines along the flight, pixels away from it
(right-looking):

        near range                far range
      line 0  ┌────────────────────────┐      EW1 … EW5 lie side by side; their shares of the swath are those
    flight    │ EW1 │ EW2 │ EW3 │EW4│EW5│      of the real 400 km, whatever the size of the field, so that
        ↓     │     │     │     │   │   │      incidence runs from 19 to 47 degrees and every seam is there
              └────────────────────────┘

A digital number follows the product's own definition (ESA S1-RS-MDA-52-7441, MPC-0392): DN² = σ⁰·A² + η, both under speckle, where A is
the calibration vector `sigmaNought` and η the product of range and azimuth noise vectors. The vectors in the XML are, digit for digit,
those applied.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from icegraph.simulate.backscatter import sigma_nought
from icegraph.simulate.ew_geometry import Direction, Float, ImageGeometry
from icegraph.simulate.ew_vectors import POLARISATIONS, Product, plan_product
from icegraph.simulate.field import Snapshot
from icegraph.simulate.safe import write_product

ENL: Final = 10.7  # equivalent number of looks, EW GRDM (Sentinel-1 Product Definition)
_SPECKLE_SIGMA_PX: Final = 0.6  # 93 m × 87 m resolution on 40 m pixels: neighbours correlate by about one half
_STRIP: Final = 256  # rows handled at a time


def write_safe(
    snapshot: Snapshot, folder: Path, *, rng: np.random.Generator, direction: Direction = "DESCENDING", tilt_deg: float = 5.0
) -> str:
    """Write a Sentinel-1 product of a snapshot; the snapshot's time is that of the image's middle line.

    Args:
        snapshot: The field, on a grid of the product's pixel size (40 m for EW GRDM).
        folder: Where `<pass id>.SAFE` is to lie.
        rng: Speckle is drawn from it; nothing else is random.
        direction: Of the orbit.
        tilt_deg: Angle between the flight and the grid.

    Returns:
        The pass id: the SAFE folder's name without its ending.

    Raises:
        InputError: The field is too small for an image.
    """
    product = plan_product(snapshot, direction, tilt_deg)
    pixels = {
        polarisation: digital_numbers(sigma, product, polarisation, rng)
        for polarisation, sigma in true_sigma_nought(snapshot, product.geometry).items()
    }
    return write_product(product, pixels, folder)


def true_sigma_nought(snapshot: Snapshot, geometry: ImageGeometry) -> dict[str, NDArray[np.float32]]:
    """Sigma nought, linear, without speckle and noise, in image geometry: polarisation → [lines, samples]."""
    grid = snapshot.grid
    incidence = np.empty(grid.shape, np.float32)
    for rows, row, column in _strips(*grid.shape):
        incidence[rows] = geometry.incidence_deg(geometry.line_pixel(*grid.xy(row, column))[1])
    sigma = {}
    for name in POLARISATIONS:
        field = sigma_nought(snapshot, name, incidence)
        sigma[name] = np.empty((geometry.lines, geometry.samples), np.float32)
        for lines, line, pixel in _strips(geometry.lines, geometry.samples):
            places = np.stack(grid.rowcol(*geometry.xy(line, pixel)))
            ndimage.map_coordinates(field, places, order=1, mode="nearest", output=sigma[name][lines])
    return sigma


def seen(snapshot: Snapshot, direction: Direction = "DESCENDING", tilt_deg: float = 5.0) -> NDArray[np.bool_]:
    """Where the product that `write_safe` makes of a snapshot has data, [H, W] on the snapshot's grid."""
    geometry = ImageGeometry.inside(snapshot.grid, direction, tilt_deg)
    first, last = geometry.data_samples
    mask = np.zeros(snapshot.grid.shape, bool)
    for rows, row, column in _strips(*snapshot.grid.shape):
        line, pixel = geometry.line_pixel(*snapshot.grid.xy(row, column))
        nearest = np.clip(np.round(line), 0, geometry.lines - 1).astype(np.int64)
        inside = (line > -0.5) & (line < geometry.lines - 0.5)
        mask[rows] = inside & (pixel > first[nearest] - 0.5) & (pixel < last[nearest] + 0.5)
    return mask


def digital_numbers(sigma: NDArray[np.float32], product: Product, polarisation: str, rng: np.random.Generator) -> NDArray[np.uint16]:
    """The product's pixels [lines, samples]: signal and noise under speckle, square root, rounded; zero in the borders."""
    geometry = product.geometry
    factor = product.calibration.factor(geometry)
    power = sigma * (factor**2).astype(np.float32)
    for lines, _, _ in _strips(geometry.lines, 1):
        power[lines] += product.noise[polarisation].power(geometry, lines)
    power *= _speckle(power.shape, rng)
    numbers = np.clip(np.round(np.sqrt(power)), 1, 65535).astype(np.uint16)
    first_sample, last_sample = geometry.data_samples
    pixel = np.arange(geometry.samples)
    numbers[(pixel < first_sample[:, None]) | (pixel > last_sample[:, None])] = 0
    return numbers


def _strips(height: int, width: int) -> Iterator[tuple[slice, Float, Float]]:
    """Rows by strips, with the row and column of each pixel: coordinates of all pixels at once would dwarf the image."""
    for first in range(0, height, _STRIP):
        rows = slice(first, min(first + _STRIP, height))
        row, column = np.mgrid[rows, :width].astype(float)
        yield rows, row, column


def _speckle(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Gamma-distributed factors of mean 1 and variance 1/ENL, [H, W], correlated between neighbours as the product's looks are."""
    impulse = np.zeros(17)
    impulse[8] = 1
    kernel = ndimage.gaussian_filter1d(impulse, _SPECKLE_SIGMA_PX)
    normal = rng.standard_normal(shape, dtype=np.float32)
    normal = ndimage.gaussian_filter(normal, _SPECKLE_SIGMA_PX, mode="wrap") / np.float32(np.sum(kernel**2))
    # The Gaussian field is bent to the gamma distribution: exact at each pixel, and the neighbours' correlation stays.
    knots = np.linspace(-6, 6, 4097)
    return np.asarray(np.interp(normal, knots, stats.gamma.ppf(stats.norm.cdf(knots), ENL, scale=1 / ENL)), np.float32)
