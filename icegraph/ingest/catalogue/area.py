"""Areas on the ground: what a user names, and footprints compared where longitudes mean little.

Compared on Lambert's azimuthal equal-area plane of the hemisphere (EASE-Grid 2.0, EPSG:6931 and 6932; Brodzik et al. 2012,
doi 10.3390/ijgi1010032): there the pole and the meridian of 180 degrees are no seams, and shares of area are true.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.errors import ShapelyError
from shapely.geometry import box, mapping, shape
from shapely.geometry.base import BaseGeometry

from icegraph.bounds import Bounds
from icegraph.errors import InputError

_STEP_DEG = 1.0  # a parallel is bent on the ground: its chord of one degree is off by 35 m at 75 degrees
_ANTIPODE_DEG = 89.0  # beyond this latitude of the other hemisphere the plane has no place


def parse_area(text: str) -> BaseGeometry:
    """An area in longitude and latitude from `west,south,east,north` (degrees; west > east crosses 180) or a GeoJSON file.

    Raises:
        InputError: It is neither, or lies nowhere on Earth.
    """
    path = Path(text)
    if path.is_file():
        return _read_geojson(path)
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(text, "is neither west,south,east,north nor a GeoJSON file", "write for instance --area=-60,70,-40,80") from error
    return box_area((west, south, east, north))


def box_area(bounds: Bounds) -> BaseGeometry:
    """The area between two meridians and two parallels, cut at 180 degrees where it crosses it.

    Raises:
        InputError: These are no bounds on Earth.
    """
    west, south, east, north = bounds
    if not (-90 <= south < north <= 90 and max(abs(west), abs(east)) <= 180 and west != east):
        told = ",".join(f"{value:g}" for value in bounds)
        raise InputError(told, "is no box on Earth", "give west,south,east,north in degrees, south below north")
    parts = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    return shapely.segmentize(shapely.union_all([box(left, south, right, north) for left, right in parts if left < right]), _STEP_DEG)


def ground(geometry: BaseGeometry, *, south: bool) -> BaseGeometry:
    """A geometry of longitude and latitude on the equal-area plane of its hemisphere, in metres.

    Its vertices are joined straight on the plane, as the sides of a scene are on the ground, so that none runs the long way round.
    """
    transformer = _to_plane(south)

    def onto(points: NDArray[np.float64]) -> NDArray[np.float64]:
        lat = np.maximum(points[:, 1], -_ANTIPODE_DEG) if not south else np.minimum(points[:, 1], _ANTIPODE_DEG)
        return np.column_stack(transformer.transform(points[:, 0], lat))

    return shapely.make_valid(shapely.transform(geometry, onto), method="structure", keep_collapsed=False)


def is_south(geometry: BaseGeometry) -> bool:
    """Whether a geometry of longitude and latitude lies mostly in the southern hemisphere."""
    _, south, _, north = geometry.bounds
    return bool(south + north < 0)


def overlap(one: BaseGeometry, other: BaseGeometry) -> float:
    """How much of the smaller of two footprints the other covers, 0…1."""
    south = is_south(one)
    first, second = ground(one, south=south), ground(other, south=south)
    smaller = min(first.area, second.area)
    return float(first.intersection(second).area / smaller) if smaller else 0.0


def read_geometry(fields: Any) -> BaseGeometry | None:
    """A GeoJSON geometry, or None where it is none, is empty, or lies nowhere on Earth."""
    try:
        geometry = shape(fields)
        west, south, east, north = geometry.bounds
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None
    finite = bool(np.isfinite(shapely.get_coordinates(geometry)).all())
    on_earth = finite and -90 <= south <= north <= 90 and max(abs(west), abs(east)) <= 360
    return geometry if on_earth and geometry.geom_type in ("Polygon", "MultiPolygon") else None


def as_geojson(geometry: BaseGeometry) -> dict[str, Any]:
    """The same as GeoJSON."""
    return dict(json.loads(json.dumps(mapping(geometry))))


def _read_geojson(path: Path) -> BaseGeometry:
    try:
        fields = json.loads(path.read_bytes())
        features = fields.get("features") or [fields]
        geometries = [read_geometry(feature.get("geometry", feature)) for feature in features]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(path, f"is not readable GeoJSON ({type(error).__name__})", "give polygons in longitude and latitude") from error
    found = [geometry for geometry in geometries if geometry is not None]
    if not found or len(found) < len(geometries):
        raise InputError(path, "holds what is no polygon on Earth", "give polygons in longitude and latitude")
    return shapely.segmentize(shapely.union_all(found), _STEP_DEG)


@cache
def _to_plane(south: bool) -> Transformer:
    return Transformer.from_crs("EPSG:4326", "EPSG:6932" if south else "EPSG:6931", always_xy=True)
