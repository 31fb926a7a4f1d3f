"""Throw-away ice fields and scenes for the tests of graph and track."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from shapely import affinity
from shapely.geometry import Polygon

from icegraph.graph import write_floes
from icegraph.graph.floes import ABOUT, SHAPES
from icegraph.grid import Grid, Window
from icegraph.scene import Scene, read_grid, write_band, write_item

START = datetime(2021, 5, 1, 12, tzinfo=UTC)


def write_scene(
    folder: Path,
    labels: NDArray[Any],
    bands: Mapping[str, NDArray[Any]] | None = None,
    *,
    valid: NDArray[np.bool_] | None = None,
    probability: NDArray[Any] | None = None,
    grid: Grid | None = None,
    pass_id: str = "pass",
    time: datetime = START,
) -> tuple[Path, Scene]:
    """Write a scene and a segment folder of given labels; gives the segment folder and the scene."""
    grid = grid or Grid("EPSG:3413", Affine(100.0, 0.0, 300_000.0, 0.0, -100.0, -1_200_000.0), *labels.shape)
    window = Window(0, 0, *grid.shape)
    scene, segment = folder / "scene", folder / "segment"
    segment.mkdir(parents=True, exist_ok=True)
    bands = dict(bands or {})
    for name, pixels in bands.items():
        with write_band(scene / f"{name}.tif", grid, "float32") as band:
            band.write(window, pixels.astype(np.float32))
    with write_band(scene / "valid.tif", grid, "uint8") as band:
        band.write(window, np.ones(grid.shape, np.uint8) if valid is None else valid.astype(np.uint8))
    with write_band(segment / "labels.tif", grid, "uint32") as band:
        band.write(window, labels.astype(np.uint32))
    if probability is not None:
        with write_band(segment / "floe_probability.tif", grid, "float32") as band:
            band.write(window, probability.astype(np.float32))
    rasters = {name: f"{name}.tif" for name in (*bands, "valid")}
    return segment, write_item(scene, pass_id=pass_id, time=time, sensor="optical", grid=grid, rasters=rasters, properties={})


def labelled_pass(case: Path, satellite: str, folder: Path) -> Path:
    """Floe table of a hand-labelled MODIS pass, its labels taken as if they had been found; gives the table's path."""
    import json

    item = json.loads((case / f"{satellite}.json").read_text())
    with rasterio.open(case / f"{satellite}.labels.tif") as dataset:
        labels, grid = dataset.read(1), read_grid(dataset)
    with rasterio.open(case / f"{satellite}.truecolor.tif") as dataset:
        red = dataset.read(1) / 255
    time = datetime.fromisoformat(item["properties"]["datetime"])
    labels = np.where(labels == 65535, 0, labels)
    return write_floes(*write_scene(folder / item["id"], labels, {"red": red}, grid=grid, pass_id=item["id"], time=time))


def scale(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres on EPSG:3413 for a metre over the ground at places [N, 2]: a step of 100 m along x, measured by a geodesic."""
    to_lonlat = Transformer.from_crs("EPSG:3413", "EPSG:4326", always_xy=True)
    x, y = np.asarray(xy, float).T
    ends = [to_lonlat.transform(x + step, y) for step in (-50.0, 50.0)]
    return np.asarray(100.0 / np.asarray(Geod(ellps="WGS84").inv(*ends[0], *ends[1])[2]))


def field(number: int, rng: np.random.Generator, side_m: float = 60_000.0) -> gpd.GeoDataFrame:
    """A floe table of `number` floes of various shapes, at least 0.6 mean spacings apart; id = identity."""
    spacing = side_m / np.sqrt(number)
    places: list[NDArray[np.float64]] = []
    while len(places) < number:
        place = rng.uniform(-side_m / 2, side_m / 2, 2)
        if all(np.hypot(*(place - other)) > 0.6 * spacing for other in places):
            places.append(place)
    xy = np.array(places)
    stretch, area = rng.uniform(1.0, 2.5, number), np.exp(rng.normal(14.5, 0.8, number))
    table: dict[str, Any] = {"pass_id": "", "floe_id": np.arange(1, number + 1), "time": START, "x": xy[:, 0], "y": xy[:, 1]}
    table |= {
        "lon": 0.0,
        "lat": 80.0,
        "area_m2": area,
        "perimeter_m": 4 * np.sqrt(area),
        "major_axis_m": np.sqrt(4 * area / np.pi * stretch),
    }
    table |= {"minor_axis_m": np.sqrt(4 * area / np.pi / stretch), "orientation_deg": rng.uniform(0, 180, number)}
    table |= {
        "eccentricity": np.sqrt(1 - 1 / stretch**2),
        "solidity": rng.uniform(0.8, 1, number),
        "circularity": rng.uniform(0.6, 1, number),
    }
    table |= {name: np.abs(rng.normal(0.1 / (k + 1), 0.05 / (k + 1), number)) for k, name in enumerate(SHAPES)}
    table |= {"touches_edge": np.zeros(number, bool), "confidence": 0.9, "red_mean": rng.uniform(0.3, 0.8, number), "red_std": 0.05}
    geometry = [_outline(*floe, rng) for floe in zip(xy, area, stretch, table["orientation_deg"], strict=True)]
    return gpd.GeoDataFrame(table, geometry=geometry, crs="EPSG:3413")


def _outline(middle: NDArray[np.float64], area: float, stretch: float, turn_deg: float, rng: np.random.Generator) -> Polygon:
    """A bumpy ellipse of a given area, stretch (major by minor axis) and direction of the major axis."""
    angle, order = np.linspace(0, 2 * np.pi, 73), np.arange(3, 9)
    bumps = 0.25 * rng.normal(0, 1, 6) / order
    radius = 1 + (bumps[:, None] * np.cos(order[:, None] * angle + rng.uniform(0, 2 * np.pi, 6)[:, None])).sum(axis=0)
    shape = Polygon(np.column_stack([np.sqrt(stretch) * radius * np.cos(angle), radius * np.sin(angle) / np.sqrt(stretch)]))
    size = np.sqrt(area / shape.area)
    shape = affinity.rotate(affinity.scale(shape, size, size, origin=(0, 0)), turn_deg, origin=(0, 0))
    return affinity.translate(shape, *(middle - np.array(shape.centroid.coords[0])))


def seen(
    table: gpd.GeoDataFrame,
    pass_id: str,
    hours: float,
    *,
    move: Any = None,
    keep: NDArray[np.bool_] | None = None,
    crs: str = "EPSG:3413",
    half_m: float = 60_000.0,
) -> gpd.GeoDataFrame:
    """The field as one pass sees it: at a time, after `move` ([N, 2] → [N, 2]), with some of its floes."""
    table = table.copy()
    if move is not None:
        table[["x", "y"]] = move(table[["x", "y"]].to_numpy(float))
    if keep is not None:
        table = table[keep].reset_index(drop=True)
    time = START + timedelta(hours=hours)
    table["pass_id"] = np.full(len(table), pass_id, dtype=object)
    table["pass_id"] = table["pass_id"].astype("str")
    table["time"] = np.full(len(table), np.datetime64(time.replace(tzinfo=None), "us"))
    table["time"] = table["time"].astype("datetime64[us]").dt.tz_localize("UTC")
    about = {"pass_id": pass_id, "time": time.isoformat(), "sensor": "optical", "crs": crs, "pixel_m": 100.0}
    table.attrs[ABOUT] = {**about, "bounds": [-half_m, -half_m, half_m, half_m], "icegraph:parents": []}
    return table.set_crs(crs, allow_override=True)
