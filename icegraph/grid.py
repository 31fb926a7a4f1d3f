"""Polar grids, pixel windows and deterministic tiles.

Rows run down, columns run right, x and y are metres in the grid's projection. Nobody passes a bare pair whose order must be
guessed: pixels go by `Window`, places by keyword-named arrays.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.windows import Window as RasterioWindow

FloatArray = NDArray[np.float64]

NORTH = "EPSG:3413"  # NSIDC polar stereographic north, true scale at 70 N, 45 W down
SOUTH = "EPSG:3976"  # NSIDC polar stereographic south, true scale at 70 S


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels: the upper left pixel and the size."""

    row: int
    col: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices, for an array of the whole grid."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def padded(self, halo: int, shape: tuple[int, int]) -> "Window":
        """The window grown by `halo` pixels on each side, cut at the edges of a raster of `shape`."""
        top, left = max(self.row - halo, 0), max(self.col - halo, 0)
        bottom, right = min(self.row + self.height + halo, shape[0]), min(self.col + self.width + halo, shape[1])
        return Window(top, left, bottom - top, right - left)

    def within(self, outer: "Window") -> "Window":
        """This window's place inside `outer`, counted from the corner of `outer`."""
        return Window(self.row - outer.row, self.col - outer.col, self.height, self.width)

    def rasterio(self) -> RasterioWindow:
        """The same window in rasterio's terms (column first)."""
        return RasterioWindow(self.col, self.row, self.width, self.height)


def tiles(shape: tuple[int, int], size: int) -> Iterator[Window]:
    """Cut a raster into windows of `size` × `size` anchored at its upper left corner; the last row and column are what is left."""
    height, width = shape
    for row in range(0, height, size):
        for col in range(0, width, size):
            yield Window(row, col, min(size, height - row), min(size, width - col))


@dataclass(frozen=True)
class Grid:
    """A projected raster grid: where each pixel of a scene lies.

    Args:
        crs: Anything pyproj understands; normally `EPSG:3413` or `EPSG:3976`.
        transform: Affine from (col, row) of a pixel's upper left corner to (x, y) in metres.
        height: Rows.
        width: Columns.
    """

    crs: str
    transform: Affine
    height: int
    width: int

    @classmethod
    def covering(cls, crs: str, x: FloatArray, y: FloatArray, pixel_m: float) -> Self:
        """The smallest north-up grid that covers the points, its edges on multiples of `pixel_m`: grids of one size share pixels."""
        left, right = math.floor(np.min(x) / pixel_m), math.ceil(np.max(x) / pixel_m)
        bottom, top = math.floor(np.min(y) / pixel_m), math.ceil(np.max(y) / pixel_m)
        transform = Affine(pixel_m, 0.0, left * pixel_m, 0.0, -pixel_m, top * pixel_m)
        return cls(crs, transform, int(top - bottom), int(right - left))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def pixel_m(self) -> float:
        """The side of a pixel in metres (the geometric mean, where pixels are not square)."""
        return math.sqrt(abs(self.transform.determinant))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top, in metres."""
        x, y = self.xy(np.array([0.0, 0.0, self.height, self.height]) - 0.5, np.array([0.0, self.width, 0.0, self.width]) - 0.5)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @cached_property
    def _to_lonlat(self) -> Transformer:
        return Transformer.from_crs(CRS.from_user_input(self.crs), "EPSG:4326", always_xy=True)

    def xy(self, row: FloatArray, col: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Metres of pixel positions; whole numbers are pixel centres."""
        t = self.transform
        r, c = np.asarray(row, float) + 0.5, np.asarray(col, float) + 0.5
        return t.a * c + t.b * r + t.c, t.d * c + t.e * r + t.f

    def rowcol(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Fractional pixel positions of points in metres; whole numbers are pixel centres."""
        t = ~self.transform
        x, y = np.asarray(x, float), np.asarray(y, float)
        return t.d * x + t.e * y + t.f - 0.5, t.a * x + t.b * y + t.c - 0.5

    def lonlat(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Longitude and latitude, in degrees, of points in metres."""
        lon, lat = self._to_lonlat.transform(x, y)
        return np.asarray(lon), np.asarray(lat)

    def part(self, window: Window) -> "Grid":
        """The grid of a window of this one."""
        return Grid(self.crs, self.transform @ Affine.translation(window.col, window.row), window.height, window.width)


def polar_crs(lat: FloatArray) -> str:
    """The polar stereographic grid of the hemisphere that the latitudes (degrees) lie in."""
    return NORTH if float(np.nanmean(lat)) >= 0 else SOUTH
