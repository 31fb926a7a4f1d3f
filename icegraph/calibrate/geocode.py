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
from scipy.interpolate import RectBivariateSpline

from icegraph.compiled import compiled
from icegraph.errors import PassError
from icegraph.grid import Grid, Window
from icegraph.ingest.tiff import PIXEL_LIMIT, SIDE_LIMIT

LATTICE = 32  # output pixels between the points that are inverted
RESIDUAL_MOST = 1.0  # pixels, root mean square, of tie points about their fit
FOLD_MOST = 4.0  # largest over smallest area of a pixel on the map; in real images 1.1
_STEPS = 12
_CLOSE = 1e-4  # pixels

FloatArray = NDArray[np.float64]
Floats = NDArray[np.float32]


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

    @cached_property
    def _nodes(self) -> tuple[FloatArray, FloatArray]:
        """Line and pixel at every LATTICE pixels of the grid, from its first to past its last, each [R, C]."""
        rows, cols = (np.arange(0.0, side + LATTICE, LATTICE) for side in self.grid.shape)
        nodes = [self.exact(np.full(len(cols), row), cols) for row in rows]  # row by row: all at once take fifteen times the room
        return np.stack([line for line, _ in nodes]), np.stack([pixel for _, pixel in nodes])

    def lattice(self, window: Window) -> "Lattice":
        """The nodes about a window. They are the grid's, so that windows agree where they meet."""
        rows = slice(window.row // LATTICE, (window.row + window.height - 1) // LATTICE + 2)
        cols = slice(window.col // LATTICE, (window.col + window.width - 1) // LATTICE + 2)
        line, pixel = (np.ascontiguousarray(nodes[rows, cols]) for nodes in self._nodes)
        return Lattice(window, window.row - rows.start * LATTICE, window.col - cols.start * LATTICE, line, pixel)

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


@dataclass(frozen=True)
class Lattice:
    """Where the pixels of a window lie in the image, told at nodes LATTICE pixels apart.

    Args:
        window: Of the output grid.
        row: Of the window's first pixel, counted from the first node.
        col: The same for columns.
        line: Lines of the nodes, [R, C].
        pixel: Pixels of the nodes, [R, C].
    """

    window: Window
    row: int
    col: int
    line: FloatArray
    pixel: FloatArray

    def source(self, shape: tuple[int, int]) -> Window | None:
        """The part of an image of `shape` that bilinear interpolation needs; None where nothing falls on it."""
        top, bottom = int(np.floor(self.line.min())), int(np.ceil(self.line.max())) + 1
        left, right = int(np.floor(self.pixel.min())), int(np.ceil(self.pixel.max())) + 1
        top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, shape[0]), min(right, shape[1])
        return Window(top, left, bottom - top, right - left) if bottom > top and right > left else None

    def spread(self, nodes: FloatArray) -> Floats:
        """Values at the nodes, [R, C], interpolated to the window's pixels, [H, W]."""
        out = np.empty(self.window.shape, np.float32)
        _spread(nodes, self.row, self.col, out)
        return out

    def sample(self, images: Floats, part: Window) -> Floats:
        """Values of images, [B, H, W], that hold `part` of a whole, bilinear at the window's pixels, [B, h, w].

        NaN in all where any of the four pixels that count is NaN in one, and outside of the part; but up to half a pixel beyond its edge
        the edge is repeated, so that pixels are cells, not points.
        """
        out = np.empty((len(images), *self.window.shape), np.float32)
        _sample(images, part.row, part.col, self.line, self.pixel, self.row, self.col, out)
        return out


@compiled
def _line_of(nodes: FloatArray, row: int, first_col: int, out: FloatArray) -> None:
    """A row of pixels between nodes: along it the values grow by a constant from node to node."""
    r, v = row // LATTICE, (row % LATTICE) / LATTICE
    j = 0
    while j < out.size:
        c, across = (first_col + j) // LATTICE, (first_col + j) % LATTICE
        left = nodes[r, c] + v * (nodes[r + 1, c] - nodes[r, c])
        step = (nodes[r, c + 1] + v * (nodes[r + 1, c + 1] - nodes[r, c + 1]) - left) / LATTICE
        end = min(j + LATTICE - across, out.size)
        to = out[j:end]
        for k in range(end - j):
            to[k] = left + (across + k) * step
        j = end


@compiled
def _spread(nodes: FloatArray, first_row: int, first_col: int, out: Floats) -> None:
    line = np.empty(out.shape[1])
    for i in range(out.shape[0]):
        _line_of(nodes, first_row + i, first_col, line)
        out[i] = line


@compiled
def _sample(
    images: Floats,
    top: int,
    left: int,
    line_nodes: FloatArray,
    pixel_nodes: FloatArray,
    first_row: int,
    first_col: int,
    out: Floats,
) -> None:
    """Places and weights once a row, for all images, in loops short enough to run on many pixels at once."""
    count, height, width = images.shape
    rows, cols = out.shape[1:]
    line, pixel = np.empty(cols), np.empty(cols)
    place, right, below = np.empty((3, cols), np.uintp)
    share_x, share_y, known = np.empty((3, cols), np.float32)
    for i in range(rows):
        _line_of(line_nodes, first_row + i, first_col, line)
        _line_of(pixel_nodes, first_row + i, first_col, pixel)
        for j in range(cols):
            y, x = line[j] - top, pixel[j] - left
            inside = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
            y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
            y0, x0 = np.int64(y), np.int64(x)
            share_y[j], share_x[j] = np.float32(y - y0), np.float32(x - x0)
            place[j] = np.uintp(y0 * width + x0)
            # A pixel without weight does not count, be it NaN.
            right[j] = np.uintp(1 if x > x0 else 0)
            below[j] = np.uintp(width if y > y0 else 0)
            known[j] = np.float32(0) if inside else np.float32(np.nan)
        for b in range(count):
            image, to = images[b].reshape(-1), out[b, i]
            for j in range(cols):
                at = place[j]
                a, c = image[at], image[at + below[j]]
                upper = a + share_x[j] * (image[at + right[j]] - a)
                lower = c + share_x[j] * (image[at + below[j] + right[j]] - c)
                to[j] = upper + share_y[j] * (lower - upper)
                known[j] += to[j]
        for b in range(count):
            to = out[b, i]
            for j in range(cols):
                to[j] = to[j] if known[j] == known[j] else np.float32(np.nan)


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

    def at(self, line: Floats, pixel: Floats) -> Floats:
        """Values at lines and pixels, each [H, W], bilinear between tie points, held at the edge."""
        out = np.empty(line.shape, np.float32)
        _between_ties(self.line, self.pixel, self.values, line, pixel, out)
        return out


@compiled
def _between_ties(tie_line: FloatArray, tie_pixel: FloatArray, values: FloatArray, line: Floats, pixel: Floats, out: Floats) -> None:
    r, c = 0, 0  # neighbours lie between the same ties, mostly
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            y = min(max(np.float64(line[i, j]), tie_line[0]), tie_line[-1])
            x = min(max(np.float64(pixel[i, j]), tie_pixel[0]), tie_pixel[-1])
            while y > tie_line[r + 1]:
                r += 1
            while y < tie_line[r]:
                r -= 1
            while x > tie_pixel[c + 1]:
                c += 1
            while x < tie_pixel[c]:
                c -= 1
            down = (y - tie_line[r]) / (tie_line[r + 1] - tie_line[r])
            across = (x - tie_pixel[c]) / (tie_pixel[c + 1] - tie_pixel[c])
            upper = values[r, c] + across * (values[r, c + 1] - values[r, c])
            lower = values[r + 1, c] + across * (values[r + 1, c + 1] - values[r + 1, c])
            out[i, j] = upper + down * (lower - upper)
