"""The floes of a pass as a table: one row a floe, with its outline, its shape and what each band shows of it.

Pixels are read in windows and only sums are kept (area, first and second moments, band sums), so memory grows with the number of
floes, not with the size of the pass. Outlines are traced by GDAL straight from the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import features
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from scipy import ndimage
from shapely import Polygon, convex_hull
from shapely.geometry import shape

from icegraph.errors import InputError, PassError
from icegraph.graph.contour import ORDERS, descriptors, length, middles
from icegraph.graph.scale import grid_scale
from icegraph.grid import Window
from icegraph.scene import Scene, read_pixels, valid_windows
from icegraph.store import atomic_path, lineage, sha256

FILE = "floes.parquet"
ABOUT = "icegraph"
SHAPES = tuple(f"shape_{k}" for k in range(len(ORDERS)))


def write_floes(segment: Path, scene: Scene) -> Path:
    """Write `floes.parquet` (GeoParquet) into a segment folder; see `floe_table`.

    Raises:
        PassError: The folder holds no label raster of the scene's shape.
    """
    table = floe_table(segment, scene)
    with atomic_path(segment / FILE) as path:
        table.to_parquet(path, index=False)
    return segment / FILE


def read_floes(path: Path) -> gpd.GeoDataFrame:
    """Read a floe table, the file or the segment folder it lies in.

    Raises:
        InputError: There is no readable floe table.
    """
    file = path / FILE if path.is_dir() else path
    try:
        table = gpd.read_parquet(file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(file, f"not a readable floe table ({error})", "name a floes.parquet that `graph` wrote from segments") from error
    if ABOUT not in table.attrs:
        raise InputError(file, "says nothing of its pass", "write it anew from its segments")
    return table


def floe_table(segment: Path, scene: Scene) -> gpd.GeoDataFrame:
    """Measure every floe of a pass.

    Args:
        segment: Folder with `labels.tif` (0 no floe, else the floe's id), and `floe_probability.tif` where known.
        scene: The pass the labels lie on.

    Returns:
        One row a floe, ordered by id. `x`, `y` in metres of the scene's grid, all other lengths and areas over the ground;
        `orientation_deg` of the major axis counter-clockwise from the x axis, 0..180; `major_axis_m` and `minor_axis_m` of the ellipse of
        the same second moments; `solidity` area by that of the convex hull; `circularity` 4 pi area / perimeter^2, at most 1; `shape_0`…
        as in `contour.descriptors`; `confidence` mean floe probability (NaN where not known); `<band>_mean`, `<band>_std` over valid
        pixels (NaN where there are none). `attrs["icegraph"]`, which GeoParquet keeps, tells of the pass (also of one without floes):
        pass_id, time, sensor, crs, pixel_m, bounds, parents.

    Raises:
        PassError: There is no label raster of the scene's shape.
    """
    path = segment / "labels.tif"
    if not path.is_file():
        raise PassError(path, "no such file", "segment the pass first")
    with rasterio.open(path) as dataset:
        if dataset.shape != scene.grid.shape:
            raise PassError(path, f"has {dataset.shape} pixels, the scene {scene.grid.shape}", "segment this scene anew")
    sums = _sum_floes(path, segment / "floe_probability.tif", scene)
    columns: dict[str, Any] = {"pass_id": np.full(len(sums.ids), scene.id, dtype=object), "floe_id": sums.ids}
    columns |= {"time": np.full(len(sums.ids), np.datetime64(scene.time.replace(tzinfo=None), "us"))}
    columns |= _moments(sums, scene) | _outlines(path, sums.ids, scene)
    columns |= {"touches_edge": sums.edge, "confidence": sums.mean(0)[0]}
    for number, band in enumerate(scene.bands, start=1):
        columns[f"{band}_mean"], columns[f"{band}_std"] = sums.mean(number)
    columns["circularity"] = np.minimum(4 * np.pi * columns["area_m2"] / np.maximum(columns["perimeter_m"], 1e-9) ** 2, 1.0)
    columns["solidity"] = np.minimum(columns["area_m2"] / np.maximum(columns.pop("hull_m2"), 1e-9), 1.0)
    scale = grid_scale(scene.grid.crs, columns["x"], columns["y"])
    columns |= {name: columns[name] / scale for name in ("perimeter_m", "major_axis_m", "minor_axis_m")}
    columns["area_m2"] = columns["area_m2"] / scale**2
    geometry = columns.pop("geometry")
    first = ["pass_id", "floe_id", "time", "x", "y", "lon", "lat", "area_m2", "perimeter_m", "major_axis_m", "minor_axis_m"]
    first += ["orientation_deg", "eccentricity", "solidity", "circularity", *SHAPES, "touches_edge", "confidence"]
    order = first + [name for name in columns if name not in first]
    table = gpd.GeoDataFrame({name: columns[name] for name in order}, geometry=geometry, crs=scene.grid.crs)
    table["time"] = table["time"].astype("datetime64[us]").dt.tz_localize("UTC")
    table["pass_id"] = table["pass_id"].astype("str")
    table.attrs[ABOUT] = _about(segment, scene)
    return table


def _about(segment: Path, scene: Scene) -> dict[str, Any]:
    parents = [("labels.tif", sha256(segment / "labels.tif")), ("scene item.json", sha256(scene.folder / "item.json"))]
    place = {"crs": scene.grid.crs, "pixel_m": scene.grid.pixel_m, "bounds": list(scene.grid.bounds)}
    return {"pass_id": scene.id, "time": scene.time.isoformat(), "sensor": scene.sensor, **place, **lineage(parents)}


@dataclass
class _Sums:
    """Sums over the pixels of each floe.

    `pixels` [6, N]: 1, row, col, row², col², row·col; `bands` [3, 1 + C, N]: count, sum, sum of squares.
    """

    ids: NDArray[np.int64]
    pixels: NDArray[np.float64]
    bands: NDArray[np.float64]
    edge: NDArray[np.bool_]

    def mean(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of raster `number` (0: floe probability) over each floe, NaN where it has no valid pixel."""
        count, total, squares = self.bands[:, number]
        seen = np.where(count > 0, count, np.nan)
        mean = total / seen
        return mean, np.sqrt(np.maximum(squares / seen - mean**2, 0))


def _sum_floes(labels: Path, probability: Path, scene: Scene) -> _Sums:
    ids = _ids(labels, scene)
    rasters: Sequence[Path | None] = [probability if probability.is_file() else None, *(scene.path(band) for band in scene.bands)]
    sums = _Sums(ids, np.zeros((6, ids.size)), np.zeros((3, len(rasters), ids.size)), np.zeros(ids.size, bool))
    with rasterio.open(labels) as dataset:
        for window in valid_windows(scene.grid):
            found = dataset.read(1, window=window.rasterio())
            inside = found > 0
            if not inside.any():
                continue
            place = np.searchsorted(ids, found[inside])
            row, col = (
                axis[inside].astype(float) + start for axis, start in zip(np.indices(found.shape), (window.row, window.col), strict=True)
            )
            for number, weights in enumerate((np.ones_like(row), row, col, row * row, col * col, row * col)):
                sums.pixels[number] += np.bincount(place, weights, ids.size)
            sums.edge[np.unique(place[_beside_nothing(scene, window)[inside]])] = True
            valid = scene.mask("valid", window)[inside]
            for number, raster in enumerate(rasters):
                if raster is not None:
                    _add_band(sums.bands[:, number], raster, window, inside, valid, place)
    return sums


def _ids(labels: Path, scene: Scene) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.zeros(0, np.int64)
    with rasterio.open(labels) as dataset:
        for window in valid_windows(scene.grid):
            found = np.union1d(found, np.unique(dataset.read(1, window=window.rasterio())).astype(np.int64))
    return found[found > 0]


def _add_band(
    sums: NDArray[np.float64], raster: Path, window: Window, inside: NDArray[np.bool_], valid: NDArray[np.bool_], place: NDArray[np.int64]
) -> None:
    with rasterio.open(raster) as dataset:
        values = read_pixels(dataset, window=window.rasterio())[inside].astype(float)
    good = valid & np.isfinite(values)
    for number, power in enumerate((0, 1, 2)):
        sums[number] += np.bincount(place[good], values[good] ** power, sums.shape[1])


def _beside_nothing(scene: Scene, window: Window) -> NDArray[np.bool_]:
    """Pixels [H, W] of a window that are, or have among their eight neighbours, a pixel not valid or outside the raster."""
    wide = window.padded(1, scene.grid.shape)
    nothing = ~scene.mask("valid", wide)
    grown = ndimage.binary_dilation(np.pad(nothing, 1, constant_values=True), np.ones((3, 3), bool))[1:-1, 1:-1]
    # The padding stands for what lies outside only where the window meets the raster's edge: elsewhere the halo row is dropped.
    return np.asarray(grown[window.within(wide).slices])


def _moments(sums: _Sums, scene: Scene) -> dict[str, Any]:
    """Centroid, area and the ellipse of the same second moments (each pixel a unit square), in metres."""
    count, row, col, row2, col2, rowcol = sums.pixels
    row, col = row / count, col / count
    t = scene.grid.transform
    rr, cc, rc = row2 / count - row**2 + 1 / 12, col2 / count - col**2 + 1 / 12, rowcol / count - row * col
    xx = t.a**2 * cc + 2 * t.a * t.b * rc + t.b**2 * rr
    yy = t.d**2 * cc + 2 * t.d * t.e * rc + t.e**2 * rr
    xy = t.a * t.d * cc + (t.a * t.e + t.b * t.d) * rc + t.b * t.e * rr
    root = np.sqrt(np.maximum(((xx - yy) / 2) ** 2 + xy**2, 0))
    long, short = (xx + yy) / 2 + root, np.maximum((xx + yy) / 2 - root, 0)
    x, y = scene.grid.xy(row, col)
    lon, lat = scene.grid.lonlat(x, y)
    return {
        "x": x,
        "y": y,
        "lon": lon,
        "lat": lat,
        "area_m2": count * scene.grid.pixel_m**2,
        "major_axis_m": 4 * np.sqrt(long),
        "minor_axis_m": 4 * np.sqrt(short),
        "orientation_deg": np.degrees(np.arctan2(2 * xy, xx - yy) / 2) % 180,
        "eccentricity": np.sqrt(1 - short / long),
    }


def _outlines(labels: Path, ids: NDArray[np.int64], scene: Scene) -> dict[str, Any]:
    """Polygon of each floe (its largest piece), with the measures of its outline."""
    polygons = _trace(labels)
    geometry = np.array([polygons[int(floe)] for floe in ids], dtype=object)
    outlines = [middles(np.asarray(polygon.exterior.coords), scene.grid.pixel_m) for polygon in geometry]
    shapes = np.array([descriptors(outline) for outline in outlines]).reshape(-1, len(ORDERS))
    hull = np.array([convex_hull(polygon).area for polygon in geometry], float)
    measures = {"perimeter_m": np.array([length(outline) for outline in outlines], float), "hull_m2": hull, "geometry": geometry}
    return measures | {name: shapes[:, k] for k, name in enumerate(SHAPES)}


def _trace(labels: Path) -> dict[int, Polygon]:
    polygons: dict[int, Polygon] = {}
    # The polygonizer knows no uint32; a virtual raster of int32 lets it stream the file all the same.
    with rasterio.open(labels) as dataset, WarpedVRT(dataset, dtype="int32", resampling=Resampling.nearest) as signed:
        for outline, value in features.shapes(rasterio.band(signed, 1), connectivity=8, transform=signed.transform):
            if value > 0:
                polygon = shape(outline)
                if int(value) not in polygons or polygon.area > polygons[int(value)].area:
                    polygons[int(value)] = polygon
    return polygons
