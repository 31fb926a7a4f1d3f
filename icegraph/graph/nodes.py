"""Floes as nodes: a fixed set of numbers for each, the same whatever bands its pass has."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from icegraph.graph.profile import profiles, turned

NEIGHBOURS = 10


@dataclass(frozen=True)
class Feature:
    """A node feature: (value − centre) / scale, cut to ±6.

    Args:
        name: What it is.
        centre: Near the middle of what floes show.
        scale: Near their standard deviation.
        noise: Standard deviation between two measurements of one floe, as a part of `scale`; infinite where the two may rightly differ.
    """

    name: str
    centre: float
    scale: float
    noise: float


# Centre, scale and noise are fixed, not taken from the data at hand: a model then meets the same numbers everywhere. Centre and scale were
# read off hand-drawn MODIS floes of four seas; the noise lies between what these show and what small floes found in speckle do. Radiometry
# is a robust z-score within the pass, so it needs no constants, and a pass of any band, brighter or darker, gives comparable numbers; where
# a band is missing it is 0. The shape itself is in the profile: measures of roughness change with the hand that draws.
FEATURES = (
    Feature("log_area_m2", 16.0, 1.0, 0.15),
    Feature("log_pixels", 5.0, 1.0, np.inf),
    Feature("elongation", 0.35, 0.25, 0.45),
    Feature("brightness", 0.0, 1.0, 0.4),
    Feature("second_brightness", 0.0, 1.0, 0.4),
    Feature("texture", 0.0, 1.0, 0.6),
    Feature("touches_edge", 0.0, 1.0, 1.0),
)
NAMES = tuple(feature.name for feature in FEATURES)
AREA = NAMES.index("log_area_m2")
PIXELS = NAMES.index("log_pixels")
RADIOMETRY = slice(NAMES.index("brightness"), NAMES.index("texture") + 1)
NOISE = np.array([feature.noise for feature in FEATURES], np.float32)
NOISE.flags.writeable = False

_FIRST = ("hh_db", "vv_db", "red", "nir")
_SECOND = ("hv_db", "vh_db", "swir22", "nir", "blue")


@dataclass(frozen=True)
class Nodes:
    """The floes of one pass as nodes.

    Args:
        xy: Centroids [N, 2], metres in the grid.
        features: [N, len(FEATURES)], see `FEATURES`.
        axis: Direction of the major axis [N], radians counter-clockwise from the x axis.
        eccentricity: [N], 0..1: how much the direction means.
        size_m: Square root of the area [N].
        profile: The outline around the centroid [N, RAYS], metres, see `profile`.
    """

    xy: NDArray[np.float64]
    features: NDArray[np.float32]
    axis: NDArray[np.float32]
    eccentricity: NDArray[np.float32]
    size_m: NDArray[np.float32]
    profile: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xy)

    def take(self, index: NDArray[Any]) -> Self:
        """Some of the nodes, by index or mask."""
        return type(self)(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def turned(self, angle: NDArray[np.floating]) -> Self:
        """The nodes, each turned about its own middle by an angle [N], radians."""
        return replace(self, axis=(self.axis + angle).astype(np.float32), profile=turned(self.profile, angle))

    def scaled(self, factor: float) -> Self:
        """The nodes with all lengths, those of their pixels too, times a factor."""
        features = self.features.copy()
        features[:, AREA] += 2 * np.log(factor) / FEATURES[AREA].scale
        lengths = {name: (getattr(self, name) * factor).astype(getattr(self, name).dtype) for name in ("xy", "size_m", "profile")}
        return replace(self, features=features, **lengths)

    @property
    def pixel_m(self) -> NDArray[np.float32]:
        """Side of a pixel [N], metres."""
        feature = FEATURES[PIXELS]
        return np.asarray(self.size_m / np.exp((self.features[:, PIXELS] * feature.scale + feature.centre) / 2), np.float32)


def floe_nodes(table: gpd.GeoDataFrame, pixel_m: float) -> Nodes:
    """Nodes of one pass, from its floe table and the side of its pixels."""
    area = table["area_m2"].to_numpy(float)
    major, minor = table["major_axis_m"].to_numpy(float), np.maximum(table["minor_axis_m"].to_numpy(float), 1e-6)
    raw = {"log_area_m2": np.log(area), "log_pixels": np.log(area / pixel_m**2), "elongation": np.log(np.maximum(major, 1e-6) / minor)}
    raw["touches_edge"] = table["touches_edge"].to_numpy(float)
    first, second = _band(table, _FIRST), _band(table, _SECOND)
    raw |= {"brightness": _robust_z(table, first, "mean"), "second_brightness": _robust_z(table, second, "mean")}
    raw["texture"] = _robust_z(table, first, "std")
    columns = [(np.nan_to_num(raw[feature.name]) - feature.centre) / feature.scale for feature in FEATURES]
    values = np.clip(np.stack(columns, axis=1), -6, 6).astype(np.float32)
    axis = np.radians(table["orientation_deg"].to_numpy(float)).astype(np.float32)
    shape = table["eccentricity"].to_numpy(float).astype(np.float32)
    outline = profiles(table.geometry.to_numpy(), pixel_m)
    # Areas are over the ground, outlines on the grid: both are measured over the ground here.
    ground = np.sqrt(area / np.maximum(np.pi * np.square(outline, dtype=float).mean(axis=1), 1e-9))
    xy = table[["x", "y"]].to_numpy(float).reshape(-1, 2)
    return Nodes(xy, values, axis, shape, np.sqrt(area).astype(np.float32), (outline * ground[:, None]).astype(np.float32))


def neighbours(xy: NDArray[np.float64], count: int = NEIGHBOURS) -> NDArray[np.int64]:
    """The `count` nearest other floes of each [N, min(count, N − 1)], nearest first."""
    number = len(xy)
    count = min(count, number - 1)
    if count < 1:
        return np.zeros((number, 0), np.int64)
    found = cKDTree(xy).query(xy, count + 1)[1].reshape(number, -1)
    # A floe is normally its own nearest; where two lie on one spot it need not come first.
    own = found == np.arange(number)[:, None]
    own[~own.any(axis=1), -1] = True
    return np.asarray(found[~own].reshape(number, count), np.int64)


def spacing(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart floes lie about each floe [N], metres: the side of a square that holds one floe, from its six nearest."""
    near = neighbours(xy, 6)
    if near.shape[1] == 0:
        return np.full(len(xy), 1000.0)
    reach = np.linalg.norm(xy[near[:, -1]] - xy, axis=1)
    return np.asarray(np.maximum(np.sqrt(np.pi / near.shape[1]) * reach, 1.0))


def _band(table: gpd.GeoDataFrame, names: Sequence[str]) -> str | None:
    """The first of some bands that the table has."""
    return next((name for name in names if f"{name}_mean" in table and table[f"{name}_mean"].notna().any()), None)


def _robust_z(table: gpd.GeoDataFrame, band: str | None, part: str) -> NDArray[np.float64]:
    """(value − median) / (1.4826 × median absolute deviation) within the pass; 0 where nothing is known."""
    if band is None or len(table) < 3:
        return np.zeros(len(table))
    values: pd.Series = table[f"{band}_{part}"].astype(float)
    off = values - values.median()
    return np.asarray((off / max(1.4826 * off.abs().median(), 1e-6)).clip(-4, 4).fillna(0.0))
