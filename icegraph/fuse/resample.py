"""Bring swath points onto a scene's grid.

Swaths are far coarser than scenes, so points first go onto a coarse grid that shares the scene's corner and axes, about 2 km a cell
(pyresample's neighbours, a local plane), and from there to each window of the scene by bilinear interpolation. Memory is that of the
coarse grid and one window.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from icegraph.fuse.amsr2 import Points
from icegraph.grid import Grid, Window

CELL_M: Final = 2000.0
_NEIGHBOURS: Final = 16
_FLATNESS: Final = 0.02  # how much a plane is held flat where points lie to one side only
_MARGIN_DEG: Final = 0.5  # of latitude, for the first rough choice of points

Float = NDArray[np.float64]


@dataclass(frozen=True)
class CoarseGrid:
    """Cells of `step` × `step` pixels of a scene's grid, one ring wider than the scene on each side.

    Args:
        grid: The scene's grid.
        step: Pixels a cell, along rows and columns.
        lon: Longitude of the cells' centres, degrees, [R, C].
        lat: Their latitude.
    """

    grid: Grid
    step: int
    lon: Float
    lat: Float

    @classmethod
    def over(cls, grid: Grid, cell_m: float = CELL_M) -> Self:
        """The coarse grid over a scene's grid, its cells about `cell_m` wide."""
        step = max(1, round(cell_m / grid.pixel_m))
        rows, cols = (math.ceil(size / step) + 2 for size in grid.shape)
        col, row = np.meshgrid((np.arange(cols) - 0.5) * step - 0.5, (np.arange(rows) - 0.5) * step - 0.5)
        return cls(grid, step, *grid.lonlat(*grid.xy(row, col)))

    def resample(self, points: Points, radius_m: float, sigma_m: float) -> dict[str, Float]:
        """The points about each cell, as the height there of a plane laid through them: band → [R, C], K.

        Weights are Gaussian. A plane, and not a mean, because points are as far apart as `sigma_m`: means would step from one to the next.

        Args:
            points: Measurements.
            radius_m: How far a point may be from a cell; cells with none so near are NaN.
            sigma_m: Width of the weights.
        """
        near = self._near(points)
        if not near.any():
            return {band: np.full(self.lon.shape, np.nan) for band in points.bands}
        lon, lat, kelvin = points.lon[near], points.lat[near], points.kelvin[near]
        number, distance = self._neighbours(lon, lat, radius_m)
        weight = np.where(np.isfinite(distance), np.exp(-0.5 * (np.minimum(distance, radius_m) / sigma_m) ** 2), 0.0)
        x, y = Transformer.from_crs("EPSG:4326", self.grid.crs, always_xy=True).transform(lon, lat)
        cell_x, cell_y = Transformer.from_crs("EPSG:4326", self.grid.crs, always_xy=True).transform(self.lon.ravel(), self.lat.ravel())
        away = [(place[number] - cell[:, None]) / sigma_m for place, cell in ((x, cell_x), (y, cell_y))]
        terms = np.stack([np.ones_like(weight), *away], axis=-1)
        normal = np.einsum("nk,nki,nkj->nij", weight, terms, terms)
        total = weight.sum(axis=1)
        normal[:, [1, 2], [1, 2]] += _FLATNESS * total[:, None] + 1e-12
        normal[total == 0] = np.eye(3)
        right = np.einsum("nk,nki,nkc->nic", weight, terms, kelvin[number])
        height = np.linalg.solve(normal, right)[:, 0]
        height[total == 0] = np.nan
        return {band: height[:, i].reshape(self.lon.shape) for i, band in enumerate(points.bands)}

    def _neighbours(self, lon: Float, lat: Float, radius_m: float) -> tuple[NDArray[np.int64], Float]:
        """Index and distance (m, infinite where there is none) of the points nearest to each cell, [R · C, K]."""
        from pyresample.geometry import SwathDefinition
        from pyresample.kd_tree import get_neighbour_info

        source = SwathDefinition(lon, lat)  # type: ignore[no-untyped-call]
        target = SwathDefinition(self.lon, self.lat)  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*neighbours", category=UserWarning)  # more or fewer than asked for: both are fine
            _, _, number, distance = get_neighbour_info(  # type: ignore[no-untyped-call]
                source, target, radius_m, neighbours=min(_NEIGHBOURS, len(lon)), reduce_data=False
            )
        number, distance = number.reshape(self.lon.size, -1), distance.reshape(self.lon.size, -1)
        return np.where(np.isfinite(distance), number, 0).astype(np.int64), np.asarray(distance, float)

    def mean_time_s(self, points: Points) -> float:
        """Mean time, TAI93 seconds, of the points about the scene; NaN where there are none."""
        near = self._near(points)
        return float(points.time_s[near].mean()) if near.any() else math.nan

    def window(self, cells: Float, window: Window) -> NDArray[np.float32]:
        """Bilinear values [H, W] of a window of the scene from the cells [R, C]."""
        row = (np.arange(window.row, window.row + window.height) + 0.5) / self.step + 0.5
        col = (np.arange(window.col, window.col + window.width) + 0.5) / self.step + 0.5
        top, left = np.floor(row).astype(int), np.floor(col).astype(int)
        down, right = (row - top)[:, None], (col - left)[None, :]
        # The cells that the window touches, first along rows, then along columns: the weights of a bilinear mean are a product.
        lines = cells[top] * (1 - down) + cells[top + 1] * down
        return np.asarray(lines[:, left] * (1 - right) + lines[:, left + 1] * right, np.float32)

    def _near(self, points: Points) -> NDArray[np.bool_]:
        """Points within the scene's latitudes, and its longitudes where these do not wrap, with a margin."""
        south, north = float(self.lat.min()) - _MARGIN_DEG, float(self.lat.max()) + _MARGIN_DEG
        near = (points.lat >= south) & (points.lat <= north)
        west, east = float(self.lon.min()), float(self.lon.max())
        if east - west < 180 and max(abs(south), abs(north)) < 89:
            margin = _MARGIN_DEG / math.cos(math.radians(max(abs(south), abs(north))))
            offset = (points.lon - west + margin) % 360
            near &= offset <= east - west + 2 * margin
        return np.asarray(near)
