"""A Sentinel-1 GRD product of a simulated ice field, as a SAFE folder; by default of Sentinel-1B in EW mode, HH and HV.

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

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from icegraph.ahead import map_ahead
from icegraph.grid import Grid, Window, tiles
from icegraph.simulate.backscatter import RIM_PX, sigma_nought
from icegraph.simulate.ew_geometry import Direction, Float, ImageGeometry
from icegraph.simulate.ew_vectors import Product, plan_product
from icegraph.simulate.field import Drawn
from icegraph.simulate.kind import Kind
from icegraph.simulate.safe import Strip, write_product

_SPECKLE_SIGMA_PX: Final = 0.6  # 93 m × 87 m resolution on 40 m pixels: neighbours correlate by about one half
_STRIP: Final = 256  # lines handled at a time, by tiles as wide


def write_safe(
    view: Drawn,
    folder: Path,
    *,
    rng: np.random.Generator,
    direction: Direction = "DESCENDING",
    tilt_deg: float = 5.0,
    kind: Kind | None = None,
) -> str:
    """Write a Sentinel-1 product of a view; the view's time is that of the image's middle line.

    Args:
        view: The field, on a grid of the product's pixel size (40 m for EW GRDM).
        folder: Where `<pass id>.SAFE` is to lie.
        rng: The key of the speckle is drawn from it; nothing else is random.
        direction: Of the orbit.
        tilt_deg: Angle between the flight and the grid.
        kind: Of the product.

    Returns:
        The pass id: the SAFE folder's name without its ending.

    Raises:
        InputError: The field is too small for an image.
    """
    product = plan_product(view, direction, tilt_deg, kind)
    key = rng.integers(2**63, size=2, dtype=np.uint64)
    return write_product(product, _strips(view, product, key), folder)


def _strips(view: Drawn, product: Product, key: NDArray[np.uint64]) -> Iterator[Strip]:
    def strip(first: int) -> Strip:
        lines = slice(first, min(first + _STRIP, product.geometry.lines))
        sigma = true_sigma_nought(view, product.geometry, lines, product.kind.polarisations)
        return lines, {name: digital_numbers(sigma[name], product, name, lines, key) for name in product.kind.polarisations}

    return map_ahead(strip, range(0, product.geometry.lines, _STRIP))


def true_sigma_nought(
    view: Drawn, geometry: ImageGeometry, lines: slice = slice(None), polarisations: Sequence[str] = ("HH", "HV")
) -> dict[str, NDArray[np.float32]]:
    """Sigma nought, linear, without speckle and noise, of some lines in image geometry: polarisation → [lines, samples]."""
    first, end, _ = lines.indices(geometry.lines)
    sigma = {name: np.empty((end - first, geometry.samples), np.float32) for name in polarisations}
    for tile in tiles((end - first, geometry.samples), _STRIP):
        line, pixel = _positions(Window(first + tile.row, tile.col, *tile.shape))
        row, col = view.grid.rowcol(*geometry.xy(line, pixel))
        window = _around(row, col, view.grid)
        part, incidence = view.part(window), geometry.incidence_deg(geometry.line_pixel(*view.grid.xy(*_positions(window)))[1])
        places = np.stack([row - window.row, col - window.col])
        for name in polarisations:
            field = sigma_nought(part, name, incidence.astype(np.float32))
            sigma[name][tile.slices] = ndimage.map_coordinates(field, places, order=1, mode="nearest")
    return sigma


def _positions(window: Window) -> tuple[Float, Float]:
    """Row and column of each pixel of a window, [H, W]."""
    row, col = np.mgrid[window.slices].astype(float)
    return row, col


def _around(row: Float, col: Float, grid: Grid) -> Window:
    """The window that holds places in a grid, with the margin that a floe's rim needs."""
    top, left = math.floor(row.min()), math.floor(col.min())
    window = Window(top, left, math.ceil(row.max()) + 1 - top, math.ceil(col.max()) + 1 - left)
    return window.padded(RIM_PX, grid.shape)


def covered(geometry: ImageGeometry, window: Window) -> NDArray[np.bool_]:
    """Where in a window of the field's grid an image has data, [H, W]."""
    first, last = geometry.data_samples
    line, pixel = geometry.line_pixel(*geometry.grid.xy(*_positions(window)))
    nearest = np.clip(np.round(line), 0, geometry.lines - 1).astype(np.int64)
    inside = (line > -0.5) & (line < geometry.lines - 0.5)
    return np.asarray(inside & (pixel > first[nearest] - 0.5) & (pixel < last[nearest] + 0.5))


def digital_numbers(
    sigma: NDArray[np.float32], product: Product, polarisation: str, lines: slice, key: NDArray[np.uint64]
) -> NDArray[np.uint16]:
    """Pixels of some lines, [lines, samples]: signal and noise under speckle, square root, rounded.

    In the borders they are zero, or small numbers from an old processor.
    """
    geometry = product.geometry
    power = sigma * (product.calibration.factor(geometry) ** 2).astype(np.float32)
    power += product.noise[polarisation].power(geometry, lines)
    power *= _speckle(lines, geometry.samples, key, product.kind.polarisations.index(polarisation), product.kind.mode.enl)
    numbers = np.clip(np.round(np.sqrt(power)), 1, 65535).astype(np.uint16)
    first, last = (samples[lines, None] for samples in geometry.data_samples)
    pixel = np.arange(geometry.samples)
    outside = (pixel < first) | (pixel > last)
    numbers[outside] = 0 if product.kind.has_azimuth_noise else (pixel % 4)[None].repeat(len(numbers), 0)[outside]
    return numbers


def _speckle(lines: slice, samples: int, key: NDArray[np.uint64], stream: int, enl: float) -> NDArray[np.float32]:
    """Gamma-distributed factors of mean 1 and variance 1/`enl`, [lines, samples], correlated between neighbours as the product's looks are.

    Each line has its own place in the sequence of a counter-based generator.
    """
    reach = int(4 * _SPECKLE_SIGMA_PX + 0.5)
    numbers = range(lines.start, lines.stop + 2 * reach)  # from `reach` before the first line
    normal = np.stack([_white(samples, key, stream, number) for number in numbers])
    normal = ndimage.gaussian_filter(normal, _SPECKLE_SIGMA_PX, mode="wrap", radius=reach)[reach:-reach]
    return np.asarray(np.interp(normal, *_gamma_of_normal(enl)), np.float32)


def _white(samples: int, key: NDArray[np.uint64], stream: int, line: int) -> NDArray[np.float32]:
    philox = np.random.Philox(key=key, counter=np.array([0, line, stream, 0], np.uint64))
    return np.random.Generator(philox).standard_normal(samples, dtype=np.float32)


@cache
def _gamma_of_normal(enl: float) -> tuple[Float, Float]:
    """Knots of the curve that bends the filtered noise to the gamma distribution: exact at a pixel, and neighbours stay correlated."""
    impulse = np.zeros(17)
    impulse[8] = 1
    deviation = np.sum(ndimage.gaussian_filter1d(impulse, _SPECKLE_SIGMA_PX) ** 2)
    knots = np.linspace(-6, 6, 4097)
    return knots * deviation, special.gammaincinv(enl, special.ndtr(knots)) / enl
