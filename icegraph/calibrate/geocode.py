"""From a radar image's lines and pixels to a polar grid and back.

Forward, a smooth function of (line, pixel) is fitted to tie points; backward, it is inverted by Newton's method on a coarse lattice of the
output, and interpolated bilinearly between:

    tie points ──fit──▶ (line, pixel) → (x, y)
    output grid, every LATTICE pixels ──Newton──▶ (line, pixel) ──bilinear──▶ every output pixel

The projection bends so little over LATTICE pixels that the interpolation costs less than 0.01 pixel. Lines and pixels count from 0 at
the centre of the first.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline, RegularGridInterpolator
from scipy.ndimage import map_coordinates

from icegraph.errors import PassError
from icegraph.grid import Grid, Window
from icegraph.ingest.tiff import PIXEL_LIMIT, SIDE_LIMIT

LATTICE = 32  # output pixels between the points that are inverted
RESIDUAL_MOST = 1.0  # pixels, root mean square, of tie points about their fit
FOLD_MOST = 4.0  # largest over smallest area of a pixel on the map; in real images 1.1
_STEPS = 12
_CLOSE = 1e-4  # pixels

FloatArray = NDArray[np.float64]


class Forward(Protocol):
    """A smooth function (line, pixel) → (x, y), with its four derivatives, that goes on smoothly outside the image."""

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and pixels of the image."""
        ...

    def xy(self, line: FloatArray, pixel: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Metres at lines and pixels."""
        ...

    def jacobian(self, line: FloatArray, pixel: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """∂x/∂line, ∂x/∂pixel, ∂y/∂line, ∂y/∂pixel."""
        ...


@dataclass(frozen=True)
class SplineForward:
    """Through every point of a regular grid of tie points, by splines of degree 3 (less where points are few).

    Args:
        shape: Lines and pixels of the image.
        line: Lines of the tie points, [L], rising.
        pixel: Pixels of the tie points, [P], rising.
        x: Metres, [L, P].
        y: Metres, [L, P].
    """

    shape: tuple[int, int]
    line: FloatArray
    pixel: FloatArray
    x: FloatArray
    y: FloatArray

    @cached_property
    def _splines(self) -> tuple[RectBivariateSpline, RectBivariateSpline]:
        degree = {"kx": min(3, len(self.line) - 1), "ky": min(3, len(self.pixel) - 1), "s": 0}
        return tuple(RectBivariateSpline(self.line, self.pixel, values, **degree) for values in (self.x, self.y))

    def _inside(self, line: FloatArray, pixel: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.clip(line, self.line[0], self.line[-1]), np.clip(pixel, self.pixel[0], self.pixel[-1])

    def xy(self, line: FloatArray, pixel: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Metres at lines and pixels."""
        near_line, near_pixel = self._inside(line, pixel)
        x_line, x_pixel, y_line, y_pixel = self.jacobian(line, pixel)
        on_x, on_y = (spline.ev(near_line, near_pixel) for spline in self._splines)
        down, across = line - near_line, pixel - near_pixel
        return on_x + x_line * down + x_pixel * across, on_y + y_line * down + y_pixel * across

    def jacobian(self, line: FloatArray, pixel: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """∂x/∂line, ∂x/∂pixel, ∂y/∂line, ∂y/∂pixel."""
        near = self._inside(line, pixel)
        of_x, of_y = self._splines
        return of_x.ev(*near, dx=1), of_x.ev(*near, dy=1), of_y.ev(*near, dx=1), of_y.ev(*near, dy=1)


@dataclass(frozen=True)
class PolynomialForward:
    """A least-squares polynomial of degree 3 in line and pixel, for tie points in no order.

    Args:
        shape: Lines and pixels of the image.
        x_terms: Coefficients of the ten terms, of line and pixel divided by the image's size.
        y_terms: The same for y.
    """

    shape: tuple[int, int]
    x_terms: FloatArray
    y_terms: FloatArray

    @classmethod
    def fit(cls, shape: tuple[int, int], line: FloatArray, pixel: FloatArray, x: FloatArray, y: FloatArray) -> "PolynomialForward":
        """Fit to tie points [N]; of the highest degree up to 3 that they determine with some to spare."""
        degree = max(d for d in (1, 2, 3) if d == 1 or len(line) >= 2 * len(_powers(d)))
        design = _terms(line / shape[0], pixel / shape[1])[:, [_POWERS.index(power) for power in _powers(degree)]]
        terms = np.zeros((len(_POWERS), 2))
        solved, *_ = np.linalg.lstsq(design, np.column_stack([x, y]), rcond=None)
        terms[[_POWERS.index(power) for power in _powers(degree)]] = solved
        return cls(shape, terms[:, 0], terms[:, 1])

    def xy(self, line: FloatArray, pixel: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Metres at lines and pixels."""
        u, v = np.asarray(line, float) / self.shape[0], np.asarray(pixel, float) / self.shape[1]
        terms = _terms(u, v)
        return terms @ self.x_terms, terms @ self.y_terms

    def jacobian(self, line: FloatArray, pixel: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """∂x/∂line, ∂x/∂pixel, ∂y/∂line, ∂y/∂pixel."""
        u, v = np.asarray(line, float) / self.shape[0], np.asarray(pixel, float) / self.shape[1]
        by_u = np.stack([i * u ** max(i - 1, 0) * v**j for i, j in _POWERS], -1) / self.shape[0]
        by_v = np.stack([j * u**i * v ** max(j - 1, 0) for i, j in _POWERS], -1) / self.shape[1]
        return by_u @ self.x_terms, by_v @ self.x_terms, by_u @ self.y_terms, by_v @ self.y_terms


def _powers(degree: int) -> list[tuple[int, int]]:
    return [(i, total - i) for total in range(degree + 1) for i in range(total + 1)]


_POWERS = _powers(3)


def _terms(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.stack([u**i * v**j for i, j in _POWERS], -1)


def fit_forward(
    shape: tuple[int, int], line: FloatArray, pixel: FloatArray, x: FloatArray, y: FloatArray, *, subject: str
) -> tuple[Forward, float]:
    """Fit tie points [N] and tell the root mean square of what is left, in pixels (0 where the fit goes through all).

    A full grid of at least 4 × 4 points gets a spline, all else a polynomial.

    Raises:
        PassError: Too few points, or points that contradict each other by more than a pixel.
    """
    if len(line) < 4 or not all(np.isfinite(values).all() for values in (line, pixel, x, y)):
        raise PassError(subject, f"has {len(line)} usable control points, where at least 4 are needed", "georeference it again")
    lines, pixels = np.unique(line), np.unique(pixel)
    if len(lines) * len(pixels) == len(line) and min(len(lines), len(pixels)) >= 4:
        order = np.lexsort((pixel, line))
        grid = (len(lines), len(pixels))
        if np.array_equal(pixel[order].reshape(grid), np.tile(pixels, (len(lines), 1))):
            spline = SplineForward(shape, lines, pixels, x[order].reshape(grid), y[order].reshape(grid))
            _check_not_folded(spline, subject)
            return spline, 0.0
    forward = PolynomialForward.fit(shape, line, pixel, x, y)
    fit_x, fit_y = forward.xy(line, pixel)
    a, b, c, d = forward.jacobian(np.array(shape[0] / 2), np.array(shape[1] / 2))
    side = float(np.sqrt(abs(a * d - b * c)))
    residual = float(np.sqrt(np.mean((fit_x - x) ** 2 + (fit_y - y) ** 2))) / max(side, 1e-9)
    if not residual <= RESIDUAL_MOST:
        raise PassError(subject, f"its control points differ from a smooth fit by {residual:.1f} pixels", "georeference it again")
    _check_not_folded(forward, subject)
    return forward, residual


def _check_not_folded(forward: Forward, subject: str) -> None:
    """One wild tie point would fold the image and ask for an output without end."""
    height, width = forward.shape
    line, pixel = np.meshgrid(np.linspace(0, height - 1, 41), np.linspace(0, width - 1, 41))
    a, b, c, d = forward.jacobian(line, pixel)
    area = a * d - b * c
    if not (np.all(area > 0) or np.all(area < 0)) or np.abs(area).max() > FOLD_MOST * np.abs(area).min():
        raise PassError(subject, "its control points fold or tear the image", "georeference it again, or download it again")


def output_grid(forward: Forward, crs: str, pixel_m: float, *, subject: str) -> Grid:
    """The grid of `crs` and `pixel_m` that covers the image's outline.

    Raises:
        PassError: It would have more pixels than `icegraph.ingest.tiff` allows a raster.
    """
    height, width = forward.shape
    down, across = np.linspace(-0.5, height - 0.5, 101), np.linspace(-0.5, width - 0.5, 101)
    line = np.concatenate([down, down, 0 * across - 0.5, 0 * across + height - 0.5])
    pixel = np.concatenate([0 * down - 0.5, 0 * down + width - 0.5, across, across])
    grid = Grid.covering(crs, *forward.xy(line, pixel), pixel_m)
    if max(grid.shape) > SIDE_LIMIT or grid.height * grid.width > PIXEL_LIMIT:
        problem = f"makes a scene of {grid.height} × {grid.width} pixels of {pixel_m:g} m"
        raise PassError(subject, problem, "ask for larger pixels, or put the pixel size that it tells right")
    return grid


@dataclass(frozen=True)
class Backward:
    """From a grid's pixels back to the image.

    Args:
        forward: The function to invert.
        grid: The output grid.
    """

    forward: Forward
    grid: Grid

    def exact(self, row: FloatArray, col: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Line and pixel of grid positions, to 1e-4 pixel, by Newton's method from the affine fit of the image's corners."""
        x, y = self.grid.xy(row, col)
        line, pixel = self._start(x, y)
        for _ in range(_STEPS):
            at_x, at_y = self.forward.xy(line, pixel)
            a, b, c, d = self.forward.jacobian(line, pixel)
            determinant = a * d - b * c
            step_line = (d * (x - at_x) - b * (y - at_y)) / determinant
            step_pixel = (a * (y - at_y) - c * (x - at_x)) / determinant
            line, pixel = line + step_line, pixel + step_pixel
            if max(np.abs(step_line).max(), np.abs(step_pixel).max()) < _CLOSE:
                break
        return line, pixel

    def linepixel(self, window: Window) -> tuple[FloatArray, FloatArray]:
        """Line and pixel, each [H, W], of the pixels of a window. The lattice is the grid's, so windows agree where they meet."""
        rows, cols = _lattice(window.row, window.height), _lattice(window.col, window.width)
        row, col = np.meshgrid(rows, cols, indexing="ij")
        nodes = self.exact(row, col)
        at = np.meshgrid(
            (np.arange(window.row, window.row + window.height) - rows[0]) / LATTICE,
            (np.arange(window.col, window.col + window.width) - cols[0]) / LATTICE,
            indexing="ij",
        )
        line, pixel = (map_coordinates(node, at, order=1, mode="nearest") for node in nodes)
        return line, pixel

    def _start(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        a, b, c, d, x0, y0 = self._affine
        determinant = a * d - b * c
        return (d * (x - x0) - b * (y - y0)) / determinant, (a * (y - y0) - c * (x - x0)) / determinant

    @cached_property
    def _affine(self) -> tuple[float, float, float, float, float, float]:
        """The a, b, c, d, x0, y0 of x = x0 + a line + b pixel, y = y0 + c line + d pixel, fitted to a few points of the image."""
        height, width = self.forward.shape
        line, pixel = (values.ravel() for values in np.meshgrid(np.linspace(0, height, 5), np.linspace(0, width, 5), indexing="ij"))
        design = np.column_stack([np.ones_like(line), line, pixel])
        (x0, y0), (a, c), (b, d) = np.linalg.lstsq(design, np.column_stack(self.forward.xy(line, pixel)), rcond=None)[0]
        return float(a), float(b), float(c), float(d), float(x0), float(y0)


def _lattice(start: int, count: int) -> FloatArray:
    first, last = start // LATTICE, (start + count - 1) // LATTICE + 1
    return np.arange(first, last + 1, dtype=float) * LATTICE


def source_window(line: FloatArray, pixel: FloatArray, shape: tuple[int, int]) -> Window | None:
    """The part of an image of `shape` that bilinear interpolation at (line, pixel) needs; None where nothing falls on it."""
    top, bottom = int(np.floor(line.min())), int(np.ceil(line.max())) + 1
    left, right = int(np.floor(pixel.min())), int(np.ceil(pixel.max())) + 1
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, shape[0]), min(right, shape[1])
    return Window(top, left, bottom - top, right - left) if bottom > top and right > left else None


def bilinear(pixels: NDArray[np.float32], part: Window, line: FloatArray, pixel: FloatArray) -> NDArray[np.float32]:
    """Values at (line, pixel), [H, W], from the part of the image that `pixels` holds; NaN where any of the four that count is NaN.

    Up to half a pixel beyond the image's edge the edge is repeated, so that pixels are cells, not points.
    """
    row, col = line - part.row, pixel - part.col
    inside = (row >= -0.5) & (row <= part.height - 0.5) & (col >= -0.5) & (col <= part.width - 0.5)
    out = map_coordinates(pixels, np.stack([row, col]), order=1, mode="nearest", output=np.float32)
    return np.where(inside, out, np.nan).astype(np.float32)


@dataclass(frozen=True)
class TieValues:
    """A smooth quantity known at a regular grid of tie points, such as the incidence angle.

    Args:
        line: Lines, [L].
        pixel: Pixels, [P].
        values: [L, P].
    """

    line: FloatArray
    pixel: FloatArray
    values: FloatArray

    def at(self, line: FloatArray, pixel: FloatArray) -> NDArray[np.float32]:
        """Values at lines and pixels, bilinear between tie points, held at the edge."""
        interpolate = RegularGridInterpolator((self.line, self.pixel), self.values)
        near = np.clip(line, self.line[0], self.line[-1]), np.clip(pixel, self.pixel[0], self.pixel[-1])
        return np.asarray(interpolate(np.stack(near, -1)), np.float32)
