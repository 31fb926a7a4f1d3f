"""Bring points onto coarse cells of a scene's grid.

A radiometer's footprints are far coarser than a scene's pixels, so points go onto cells of about 2 km that share the scene's corner and
axes (pyresample's neighbours, a local plane). From the cells, `icegraph.fuse.smooth` writes pixels.
"""

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from icegraph.fuse.points import Bools, Float, Points
from icegraph.grid import Grid

CELL_M: Final = 2000.0
_NEIGHBOURS: Final = 16
_FLATNESS: Final = 0.02  # how much a plane is held flat where points lie to one side only
_REACH: Final = 3.0  # how many `sigma_m` a point reaches: one and a half times as far as points are apart
_MARGIN_DEG: Final = 0.75  # of latitude, for the first rough choice of points: further than any reach


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

    def resample(self, points: Points) -> dict[str, Float]:
        """The points about each cell, as the height there of a plane laid through them: band → [R, C], NaN where none reaches.

        Weights are Gaussian. A plane, and not a mean, because points are as far apart as `sigma_m`: means would step from one to the next.
        """
        points = points.only(self._near(points))
        if not len(points.lon):
            return {band: np.full(self.lon.shape, np.nan) for band in points.bands}
        sigma_m = points.sigma_m
        number, distance = self._neighbours(points.lon, points.lat, _REACH * sigma_m)
        weight = np.where(np.isfinite(distance), np.exp(-0.5 * (np.minimum(distance, _REACH * sigma_m) / sigma_m) ** 2), 0.0)
        x, y = self._to_plane.transform(points.lon, points.lat)
        cell_x, cell_y = self._to_plane.transform(self.lon.ravel(), self.lat.ravel())
        away = [(place[number] - cell[:, None]) / sigma_m for place, cell in ((x, cell_x), (y, cell_y))]
        terms = np.stack([np.ones_like(weight), *away], axis=-1)
        normal = np.einsum("nk,nki,nkj->nij", weight, terms, terms)
        total = weight.sum(axis=1)
        normal[:, [1, 2], [1, 2]] += _FLATNESS * total[:, None] + 1e-12
        normal[total == 0] = np.eye(3)
        # The height is linear in the values: solve for the share of each neighbour once, whatever the number of bands.
        first = np.broadcast_to(np.array([1.0, 0.0, 0.0])[:, None], (len(normal), 3, 1))
        share = weight * np.einsum("nki,ni->nk", terms, np.linalg.solve(normal, first)[..., 0])
        height = np.einsum("nk,nkc->nc", share, points.values[number])
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

    @cached_property
    def _to_plane(self) -> Transformer:
        return Transformer.from_crs("EPSG:4326", self.grid.crs, always_xy=True)

    def _near(self, points: Points) -> Bools:
        """Points within the scene's latitudes, and its longitudes where these do not wrap, with a margin."""
        south, north = float(self.lat.min()) - _MARGIN_DEG, float(self.lat.max()) + _MARGIN_DEG
        near = (points.lat >= south) & (points.lat <= north)
        west, east = float(self.lon.min()), float(self.lon.max())
        if east - west < 180 and max(abs(south), abs(north)) < 89:
            margin = _MARGIN_DEG / math.cos(math.radians(max(abs(south), abs(north))))
            offset = (points.lon - west + margin) % 360
            near &= offset <= east - west + 2 * margin
        return np.asarray(near)
