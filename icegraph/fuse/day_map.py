"""A day's map of ice concentration on a polar grid: what the readers of Level 3 files give.

The makers share one pair of grids, at several cell sizes: NSIDC's polar stereographic grids on the Hughes 1980 ellipsoid (NSIDC, "A Guide
to NSIDC's Polar Stereographic Projection"), 7600 km × 11 200 km about the north pole and 7900 km × 8300 km about the south pole.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from icegraph.bounds import Bounds, raster_bounds
from icegraph.errors import PassError
from icegraph.fuse.points import Bools, Float, Points
from icegraph.grid import Grid, Window
from icegraph.tai93 import to_tai93

# Left, bottom, right, top, km.
_EXTENTS: Final = {"EPSG:3411": (-3850, -5350, 3750, 5850), "EPSG:3412": (-3950, -3950, 3950, 4350)}
_MARGIN: Final = 3  # cells about a scene
_LARGEST: Final = 4000 * 4000  # cells; 3.125 km over the Arctic is 3584 × 2432


@dataclass(frozen=True)
class DayMap:
    """Ice concentration of one day.

    Args:
        grid: Where its cells lie.
        percent: 0 … 100, [H, W]; NaN over land and where it is not known.
        time: Noon of the day, UTC: the map is a mean over it.
    """

    grid: Grid
    percent: NDArray[np.float32]
    time: datetime

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north, degrees."""
        left, bottom, right, top = self.grid.bounds
        if not (left < 0 < right and bottom < 0 < top):
            return raster_bounds(self.grid.crs, left, bottom, right, top)
        _, lat = self.grid.lonlat(np.array([left, left, right, right]), np.array([bottom, top, bottom, top]))
        return (-180.0, float(lat.min()), 180.0, 90.0) if lat.mean() > 0 else (-180.0, -90.0, 180.0, float(lat.max()))

    def about(self, lon: Float, lat: Float) -> tuple[Points, Bools]:
        """The known cells about some places, and at which of the places the map knows the concentration.

        Args:
            lon: Longitude of the places, degrees, of any shape.
            lat: Their latitude.

        Returns:
            `sic_percent` and `tai93_s` of the cells; whether the cell under each place is known.
        """
        x, y = Transformer.from_crs("EPSG:4326", self.grid.crs, always_xy=True).transform(lon, lat)
        row, col = (np.rint(index).astype(int) for index in self.grid.rowcol(x, y))
        height, width = self.grid.shape
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        known = np.zeros(lon.shape, bool)
        known[inside] = np.isfinite(self.percent[row[inside], col[inside]])
        if not inside.any():
            empty = np.zeros(0)
            return Points(empty, empty, np.zeros((0, 2)), ("sic_percent", "tai93_s"), self.grid.pixel_m / 2), known
        top, left = int(row[inside].min()), int(col[inside].min())
        window = Window(top, left, int(row[inside].max()) - top + 1, int(col[inside].max()) - left + 1).padded(_MARGIN, self.grid.shape)
        rows, cols = np.mgrid[window.slices]
        near_lon, near_lat = self.grid.lonlat(*self.grid.xy(rows.ravel(), cols.ravel()))
        percent = self.percent[window.slices].ravel().astype(float)
        values = np.stack([percent, np.full(percent.shape, to_tai93(self.time))], axis=-1)
        points = Points(near_lon, near_lat, values, ("sic_percent", "tai93_s"), self.grid.pixel_m / 2)
        return points.only(np.isfinite(percent)), known


def polar_grid(shape: tuple[int, ...], *, south: bool) -> Grid | None:
    """The polar grid, north up, of which a map of this shape covers all; None where it has another shape."""
    crs = "EPSG:3412" if south else "EPSG:3411"
    left, bottom, right, top = _EXTENTS[crs]
    if len(shape) != 2 or min(shape) < 1 or shape[0] * (right - left) != shape[1] * (top - bottom):
        return None
    cell_m = 1000 * (right - left) / shape[1]
    return Grid(crs, Affine(cell_m, 0, 1000 * left, 0, -cell_m, 1000 * top), shape[0], shape[1])


def noon(path: Path, mend: str) -> datetime:
    """Noon of the day that a file's name tells as eight digits.

    Raises:
        PassError: It tells none.
    """
    for digits in re.findall(r"(?<!\d)\d{8}(?!\d)", path.stem):
        try:
            return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC) + timedelta(hours=12)
        except ValueError:
            continue
    raise PassError(path, "its name does not tell the day, as …YYYYMMDD… does", mend)


def require_size(path: Path, shape: tuple[int, ...], mend: str) -> None:
    """Refuse what is no map, before it is read.

    Raises:
        PassError: It has not two axes, or more cells than any polar map.
    """
    if len(shape) != 2 or not 0 < shape[0] * shape[1] <= _LARGEST:
        raise PassError(path, f"holds an array of shape {tuple(shape)}, which no map of the polar seas has", mend)


def percent_of(path: Path, values: NDArray[np.generic], flags: tuple[int, ...], mend: str) -> NDArray[np.float32]:
    """Concentration, NaN where a flag stands.

    Raises:
        PassError: It holds other values, or none.
    """
    percent = np.asarray(values, np.float32)
    percent = np.where(np.isin(percent, flags), np.float32(np.nan), percent)
    known = percent[np.isfinite(percent)]
    if not known.size:
        raise PassError(path, "knows the concentration nowhere", mend)
    if known.min() < 0 or known.max() > 100:
        allowed = f"0 to 100 and {', '.join(map(str, flags))}" if flags else "0 to 100"
        raise PassError(path, f"holds values from {known.min():g} to {known.max():g} where {allowed} are expected", mend)
    return percent
