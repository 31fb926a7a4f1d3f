"""Floe tables as GeoJSON (RFC 7946), there and back: outlines in longitude and latitude, all that the table says as properties."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely import get_coordinates
from shapely.errors import GEOSException

from icegraph.graph.floes import ABOUT, SHAPES
from icegraph.serve.refusal import unusable

_LONLAT = "EPSG:4326"
_EPSG = re.compile(r"EPSG:[1-9]\d{3,5}")  # anything else could make PROJ read a file
_ABOUT_KEYS = ("pass_id", "time", "sensor", "crs", "pixel_m", "bounds")
_NUMBERS = (
    "x",
    "y",
    "area_m2",
    "perimeter_m",
    "major_axis_m",
    "minor_axis_m",
    "orientation_deg",
    "eccentricity",
    "solidity",
    "circularity",
)
_SHOWN_M = 1e10
_MOST_FLOES = 200_000
_YEARS = (1950, 2200)


def to_geojson(table: gpd.GeoDataFrame, **about: Any) -> dict[str, Any]:
    """A table of floes, sightings or places as a FeatureCollection; what its attributes tell stands under `icegraph`."""
    there: gpd.GeoDataFrame = table.to_crs(_LONLAT)
    columns = {name: [_plain(value) for value in there[name]] for name in there.columns if name != there.geometry.name}
    features = [
        {
            "type": "Feature",
            "geometry": _rounded(shape.__geo_interface__),
            "properties": {name: values[row] for name, values in columns.items()},
        }
        for row, shape in enumerate(there.geometry)
    ]
    return {"type": "FeatureCollection", "features": features, ABOUT: {**table.attrs.get(ABOUT, {}), **about}}


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table without places as a list of objects."""
    columns = {str(name): [_plain(value) for value in table[name]] for name in table.columns}
    return [{name: values[row] for name, values in columns.items()} for row in range(len(table))]


def floe_table_of(said: Any, number: int) -> gpd.GeoDataFrame:
    """A floe table, as `icegraph.graph.floe_table` gives it, from what `to_geojson` made of it.

    Args:
        said: The parsed GeoJSON.
        number: Which of the request's tables, for messages.

    Raises:
        Refused: It is no such GeoJSON.
    """
    what = f"floe table {number + 1}"
    try:
        about, features = said[ABOUT], said["features"]
        if said["type"] != "FeatureCollection" or not isinstance(features, list) or len(features) > _MOST_FLOES:
            raise ValueError("not a FeatureCollection of at most 200000 floes")
        attributes = _attributes(about)
        table = _parsed(features, attributes["crs"])
        frame = _typed(table, attributes)
    except (KeyError, TypeError, ValueError, AttributeError, GEOSException, json.JSONDecodeError) as error:
        problem = f"{type(error).__name__}: {error}" if not isinstance(error, KeyError) else f"{error} is missing"
        raise unusable(f"{what} is not floes as the segmenter gives them ({' '.join(problem.split())[:200]}).") from error
    frame.attrs[ABOUT] = attributes
    return frame


def projected(name: Any) -> str:
    """The name of a projection in metres.

    Raises:
        Refused: It is none.
    """
    try:
        if isinstance(name, str) and _EPSG.fullmatch(name):
            crs = CRS.from_user_input(name)
            if crs.is_projected and all(axis.unit_name == "metre" for axis in crs.axis_info):
                return name
    except CRSError as error:
        raise unusable("crs is not one that PROJ knows; give one such as EPSG:3413.") from error
    raise unusable("crs must be a projection with axes in metres by its EPSG number, such as EPSG:3413.")


def moment(text: Any) -> datetime:
    """A time, UTC unless it says otherwise.

    Raises:
        Refused: It is none, or not one of a satellite's.
    """
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise unusable("time must be as in 2026-11-21T10:30:00Z.") from error
    if not _YEARS[0] <= time.year <= _YEARS[1]:
        raise unusable(f"time must be of the years {_YEARS[0]} to {_YEARS[1]}.")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _attributes(about: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: about[name] for name in _ABOUT_KEYS}
    bounds = [float(part) for part in kept["bounds"]]
    pixel_m = float(kept["pixel_m"])
    if len(bounds) != 4 or not np.isfinite(bounds).all() or max(map(abs, bounds)) > _SHOWN_M or not 0 < pixel_m < 1e6:
        raise ValueError("bounds or pixel_m are not metres")
    kept |= {"pass_id": str(kept["pass_id"])[:200], "crs": projected(kept["crs"]), "bounds": bounds, "pixel_m": pixel_m}
    kept["time"] = moment(kept["time"]).isoformat()
    parents = about.get("icegraph:parents", [])
    kept["icegraph:parents"] = [{"name": str(one["name"])[:200], "sha256": str(one["sha256"])[:64]} for one in parents]
    return kept


def _parsed(features: list[Any], crs: str) -> gpd.GeoDataFrame:
    if not features:
        names = ["floe_id", *_NUMBERS, *SHAPES, "touches_edge"]
        return gpd.GeoDataFrame({name: pd.Series(dtype=float) for name in names}, geometry=gpd.GeoSeries([], crs=crs))
    table: gpd.GeoDataFrame = gpd.GeoDataFrame.from_features(features, crs=_LONLAT)
    if not (table.geometry.notna() & table.geometry.geom_type.isin(["Polygon", "MultiPolygon"])).all():
        raise ValueError("a floe without a polygon")
    if not np.isfinite(get_coordinates(table.geometry)).all():
        raise ValueError("a polygon that is not finite")
    return table.to_crs(crs)


def _typed(table: gpd.GeoDataFrame, about: Mapping[str, Any]) -> gpd.GeoDataFrame:
    for name in (*_NUMBERS, *SHAPES):
        table[name] = table[name].astype(float)
        if not np.isfinite(table[name]).all() or (table[name].abs() > _SHOWN_M * 1e6).any():
            raise ValueError(f"{name} is not finite")
    for name in table.columns:
        if name.endswith(("_mean", "_std")) or name in ("lon", "lat", "confidence"):
            table[name] = table[name].astype(float)
    table["floe_id"] = table["floe_id"].astype(np.int64)
    if table["floe_id"].duplicated().any():
        raise ValueError("two floes of one floe_id")
    table["touches_edge"] = table["touches_edge"].astype(bool)
    table["pass_id"] = pd.Series([about["pass_id"]] * len(table), index=table.index, dtype="str")
    table["time"] = pd.Series([about["time"]] * len(table), index=table.index).pipe(pd.to_datetime, utc=True, format="ISO8601")
    return table


def _plain(value: Any) -> Any:
    """A cell as JSON knows it."""
    if isinstance(value, np.ndarray | list):  # lists in a column, as the parents of a track
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, pd.Timestamp | datetime) else value


def _rounded(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """Coordinates to 1e-9 degrees, a tenth of a millimetre."""

    def rounded(part: Any) -> Any:
        return round(part, 9) if isinstance(part, float) else [rounded(one) for one in part]

    return {"type": geometry["type"], "coordinates": rounded(geometry["coordinates"])}
