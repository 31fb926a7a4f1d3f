"""Where the lines and pixels of a simulated Sentinel-1 image lie: in the plane, on the Earth, and in the radar's beam."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from icegraph.errors import InputError
from icegraph.grid import Grid
from icegraph.simulate.kind import EW, Mode

Float = NDArray[np.float64]
Direction = Literal["DESCENDING", "ASCENDING"]

ALTITUDE_M: Final = 700e3
EARTH_RADIUS_M: Final = 6_371e3


@dataclass(frozen=True)
class ImageGeometry:
    """Where the lines and pixels of an image lie in a projected plane.

    Args:
        grid: The field's grid.
        lines: Azimuth lines.
        samples: Ground range samples.
        pixel_m: Spacing of both, metres in the plane.
        origin: x, y of line 0, pixel 0 (its centre), metres.
        azimuth: Unit vector of the flight in the plane.
        mode: Tells the incidence across the image and its sub-swaths, whatever its size.
    """

    grid: Grid
    lines: int
    samples: int
    pixel_m: float
    origin: tuple[float, float]
    azimuth: tuple[float, float]
    mode: Mode = EW

    @classmethod
    def inside(cls, grid: Grid, direction: Direction = "DESCENDING", tilt_deg: float = 5.0, mode: Mode = EW) -> Self:
        """The largest image that lies inside a grid, its flight within `tilt_deg` of the grid axis that heads north or south.

        Raises:
            InputError: The grid is too small or too narrow for an image of 64 × 64 pixels.
        """
        azimuth = _flight(grid, direction, tilt_deg)
        left, bottom, right, top = grid.bounds
        cos, sin = math.cos(math.radians(tilt_deg)), math.sin(math.radians(abs(tilt_deg)))
        span = (right - left, top - bottom) if abs(azimuth[1]) > abs(azimuth[0]) else (top - bottom, right - left)
        across = (span[0] * cos - span[1] * sin) / math.cos(math.radians(2 * tilt_deg))
        along = (span[1] * cos - span[0] * sin) / math.cos(math.radians(2 * tilt_deg))
        samples, lines = int(across / grid.pixel_m) - 1, int(along / grid.pixel_m) - 1
        if min(samples, lines) < 64:
            raise InputError(f"a field of {grid.height} × {grid.width} pixels", "too small for a radar image", "simulate a larger field")
        rx, ry = azimuth[1], -azimuth[0]
        half_a, half_r = (lines - 1) / 2 * grid.pixel_m, (samples - 1) / 2 * grid.pixel_m
        middle = ((left + right) / 2, (bottom + top) / 2)
        origin = (middle[0] - half_a * azimuth[0] - half_r * rx, middle[1] - half_a * azimuth[1] - half_r * ry)
        return cls(grid, lines, samples, grid.pixel_m, origin, azimuth, mode)

    def xy(self, line: Float, pixel: Float) -> tuple[Float, Float]:
        """Metres in the plane of image positions; whole numbers are pixel centres."""
        a, r = np.asarray(line, float) * self.pixel_m, np.asarray(pixel, float) * self.pixel_m
        return (
            self.origin[0] + a * self.azimuth[0] + r * self.azimuth[1],
            self.origin[1] + a * self.azimuth[1] - r * self.azimuth[0],
        )

    def line_pixel(self, x: Float, y: Float) -> tuple[Float, Float]:
        """Image positions of points in metres."""
        dx, dy = np.asarray(x, float) - self.origin[0], np.asarray(y, float) - self.origin[1]
        line = (dx * self.azimuth[0] + dy * self.azimuth[1]) / self.pixel_m
        return line, (dx * self.azimuth[1] - dy * self.azimuth[0]) / self.pixel_m

    def lonlat(self, line: Float, pixel: Float) -> tuple[Float, Float]:
        """Longitude and latitude, degrees, of image positions."""
        return self.grid.lonlat(*self.xy(line, pixel))

    def incidence_deg(self, pixel: Float) -> Float:
        """Incidence angle at ground range samples, on a sphere: for EW 19 degrees at the first, 47 at the last."""
        seams = self.mode.seams_deg
        near, far = (float(ground_range_m(np.array(angle))) for angle in (seams[0], seams[-1]))
        table_deg = np.linspace(seams[0] - 5, seams[-1] + 5, 512)
        ground = near + (far - near) * np.asarray(pixel, float) / (self.samples - 1)
        return np.asarray(np.interp(ground, ground_range_m(table_deg), table_deg))

    @cached_property
    def swath_first(self) -> list[int]:
        """First sample of each sub-swath, and the number of samples at the end."""
        incidence = self.incidence_deg(np.arange(self.samples, dtype=float))
        inner = np.searchsorted(incidence, self.mode.seams_deg[1:-1])
        return [0, *(int(first) for first in inner), self.samples]

    def swath_of(self, pixel: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of each sample's sub-swath."""
        return np.clip(np.searchsorted(self.swath_first, pixel, side="right") - 1, 0, len(self.mode.swaths) - 1)

    @cached_property
    def data_samples(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last sample with data of each line, [lines]: the image's slanted borders are empty."""
        slant = np.round(np.linspace(max(3, 0.012 * self.samples), 2, self.lines)).astype(np.int64)
        return slant, self.samples - 1 - (slant[0] + 2 - slant)

    @property
    def line_time_s(self) -> float:
        """Azimuth time of a line."""
        return self.mode.line_time_s * self.pixel_m

    def seconds(self, line: Float) -> Float:
        """Azimuth time of lines, seconds since line 0."""
        return np.asarray(line, float) * self.line_time_s


def ground_range_m(incidence_deg: Float) -> Float:
    """Ground distance from the nadir, metres, at which a beam from `ALTITUDE_M` meets a sphere at an incidence angle."""
    incidence = np.radians(incidence_deg)
    return EARTH_RADIUS_M * (incidence - np.radians(elevation_deg(incidence_deg)))


def elevation_deg(incidence_deg: Float) -> Float:
    """Off-nadir angle at the satellite of a beam that meets the sphere at an incidence angle."""
    return np.degrees(np.arcsin(np.sin(np.radians(incidence_deg)) * EARTH_RADIUS_M / (EARTH_RADIUS_M + ALTITUDE_M)))


def slant_range_m(incidence_deg: Float) -> Float:
    """Distance from the satellite, metres, of a point seen at an incidence angle."""
    away = np.radians(incidence_deg - elevation_deg(incidence_deg))
    return (EARTH_RADIUS_M + ALTITUDE_M) * np.sin(away) / np.sin(np.radians(incidence_deg))


def heading_deg(geometry: ImageGeometry) -> float:
    """Heading of the flight at the image's middle, degrees clockwise from north, -180 … 180."""
    middle = (geometry.samples - 1) / 2
    lon, lat = geometry.lonlat(np.array([geometry.lines / 2 - 1, geometry.lines / 2]), np.array([middle, middle]))
    return float(Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])[0])


def _flight(grid: Grid, direction: Direction, tilt_deg: float) -> tuple[float, float]:
    """Unit vector in the plane: the grid axis that heads most to the south (descending) or north (ascending), turned by the tilt."""
    left, bottom, right, top = grid.bounds
    x, y, step = (left + right) / 2, (bottom + top) / 2, 1000.0
    axes = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    _, lat = grid.lonlat(x + step * axes[:, 0], y + step * axes[:, 1])
    ax, ay = axes[int(np.argmin(lat) if direction == "DESCENDING" else np.argmax(lat))]
    cos, sin = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
    return float(cos * ax - sin * ay), float(sin * ax + cos * ay)
