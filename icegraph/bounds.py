"""Bounds and outlines in longitude and latitude of what lies near a pole, where longitudes wrap."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pyproj import CRS, Transformer
from shapely import Polygon, box, unary_union
from shapely.affinity import translate
from shapely.geometry import mapping

Bounds = tuple[float, float, float, float]


def lonlat_bounds(lon: ArrayLike, lat: ArrayLike) -> Bounds:
    """West, south, east, north (degrees) of points on an outline: the shortest arc of longitude that holds them all.

    Where the arc crosses 180 degrees, west is the greater. An outline whose points leave no gap of 120 degrees in longitude goes round
    a pole: then it is -180…180, up to that pole.

    Raises:
        ValueError: A point lies nowhere on Earth.
    """
    lon, lat = np.asarray(lon, float).ravel(), np.asarray(lat, float).ravel()
    if not (np.isfinite(lon).all() and (np.abs(lat) <= 90).all()):
        raise ValueError("it lies nowhere on Earth")
    south, north = float(lat.min()), float(lat.max())
    turned = np.sort(np.mod(lon, 360))
    gaps = np.diff(turned, append=turned[0] + 360)
    widest = int(np.argmax(gaps))
    if gaps[widest] < 120 and max(abs(south), abs(north)) > 60:
        return (-180.0, south, 180.0, 90.0) if north > 0 else (-180.0, -90.0, 180.0, north)
    west, east = turned[(widest + 1) % len(turned)], turned[widest]
    return _wrap(float(west)), south, _wrap(float(east)), north


def raster_bounds(crs: CRS | str, left: float, bottom: float, right: float, top: float) -> Bounds:
    """The same of a raster's rectangle, given in its own coordinates."""
    step = np.linspace(0, 1, 17)
    x = np.concatenate([left + (right - left) * step, left + (right - left) * step, 0 * step + left, 0 * step + right])
    y = np.concatenate([0 * step + bottom, 0 * step + top, bottom + (top - bottom) * step, bottom + (top - bottom) * step])
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return lonlat_bounds(lon, lat)


def split_outline(lon: ArrayLike, lat: ArrayLike) -> dict[str, Any]:
    """A closed outline (degrees, its first point given again at its end) as GeoJSON, cut at 180 degrees as RFC 7946, section 3.1.9, asks.

    An outline that goes round a pole becomes one that reaches up to it.
    """
    lon, lat = np.unwrap(np.asarray(lon, float), period=360), np.asarray(lat, float)
    if abs(lon[-1] - lon[0]) > 180:
        pole = np.copysign(90.0, lat[0])
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
    whole = Polygon(np.column_stack([lon, lat]))
    turns = (translate(whole & box(turn - 180, -90, turn + 180, 90), -turn) for turn in (-360, 0, 360))
    return dict(mapping(unary_union([part for part in turns if part.area > 0])))


def _wrap(lon: float) -> float:
    return round((lon + 180) % 360 - 180, 6)
