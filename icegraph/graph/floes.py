"""The floes of a pass as a table: one row a floe, with its outline, its shape and what each band shows of it.

Pixels are read in windows, and only sums are kept (area, first and second moments, band sums) and the sides of the outlines, so memory
grows with the number of floes and the length of their shores, not with the size of the pass.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray

from icegraph.errors import InputError, PassError
from icegraph.graph import raster
from icegraph.graph.contour import ORDERS, measures
from icegraph.graph.scale import grid_scale
from icegraph.grid import Window
from icegraph.scene import Scene, read_pixels, valid_windows
from icegraph.store import atomic_path, lineage, sha256

FILE = "floes.parquet"
ABOUT = "icegraph"
_LARGEST_ID = 1 << 27
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
    with rasterio.open(path, driver="GTiff") as dataset:
        if dataset.shape != scene.grid.shape:
            raise PassError(path, f"has {dataset.shape} pixels, the scene {scene.grid.shape}", "segment this scene anew")
    sums = _sum_floes(path, segment / "floe_probability.tif", scene)
    columns: dict[str, Any] = {"pass_id": np.full(len(sums.ids), scene.id, dtype=object), "floe_id": sums.ids}
    columns |= {"time": np.full(len(sums.ids), np.datetime64(scene.time.replace(tzinfo=None), "us"))}
    columns |= _moments(sums, scene) | _outlines(sums, scene)
    columns |= {"touches_edge": sums.edge[sums.ids], "confidence": sums.mean(0)[0]}
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
    """Sums over the pixels of each floe, and the sides of its outline.

    `pixels` [L, 6]: 1, row, col, row², col², row·col; `bands` [1 + C, L, 3]: count, sum, sum of squares; L counts all labels from 0;
    `sides` [S, 2] as in `raster.sides`.
    """

    pixels: NDArray[np.float64]
    bands: NDArray[np.float64]
    edge: NDArray[np.bool_]
    sides: NDArray[np.int64]

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the floes there are [N]."""
        return np.flatnonzero(self.pixels[:, 0])

    def mean(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of raster `number` (0: floe probability) over each floe [N], NaN where it has no valid pixel."""
        count, total, squares = self.bands[number, self.ids].T
        seen = np.where(count > 0, count, np.nan)
        mean = total / seen
        return mean, np.sqrt(np.maximum(squares / seen - mean**2, 0))


def _sum_floes(labels: Path, probability: Path, scene: Scene) -> _Sums:
    rasters = [probability if probability.is_file() else None, *(scene.path(band) for band in scene.bands)]
    sums = _Sums(np.zeros((1, 6)), np.zeros((len(rasters), 1, 3)), np.zeros(1, bool), np.zeros((0, 2), np.int64))
    parts = []
    with ExitStack() as stack:
        dataset = stack.enter_context(rasterio.open(labels, driver="GTiff"))
        bands = [path and stack.enter_context(rasterio.open(path, driver="GTiff")) for path in rasters]
        for window in valid_windows(scene.grid):
            wide = window.padded(1, scene.grid.shape)
            around = _with_rim(dataset.read(1, window=wide.rasterio()), window, wide)
            found = np.ascontiguousarray(around[1:-1, 1:-1])
            most = int(raster.largest(found))
            if not most:
                continue
            sums = _room_for(sums, most, labels)
            raster.add_pixels(found, window.row, window.col, sums.pixels)
            seen = _with_rim(scene.mask("valid", wide), window, wide)
            if not seen.all():
                raster.mark_edges(found, seen, sums.edge)
            parts.append(_sides(around, window, scene.grid.width))
            valid = seen[1:-1, 1:-1]
            for number, band in enumerate(bands):
                if band is not None:
                    raster.add_values(found, read_pixels(band, window=window.rasterio()), valid, sums.bands[number])
    return replace(sums, sides=np.concatenate([sums.sides, *parts]))


def _with_rim(pixels: NDArray[Any], window: Window, wide: Window) -> NDArray[Any]:
    """Pixels of a padded window with 0 (or false) on those sides where the raster ends: [H + 2, W + 2]."""
    before = window.row - wide.row, window.col - wide.col
    after = wide.height - window.height - before[0], wide.width - window.width - before[1]
    return np.pad(pixels, [(1 - one, 1 - other) for one, other in zip(before, after, strict=True)])


def _room_for(sums: _Sums, most: int, path: Path) -> _Sums:
    """The sums with room for labels up to `most`."""
    if most > _LARGEST_ID:
        raise PassError(path, f"holds the id {most}", f"number the floes from 1, at most {_LARGEST_ID}")
    more = most + 1 - len(sums.edge)
    if more <= 0:
        return sums
    more = max(more, len(sums.edge) // 2)
    pixels, bands = np.pad(sums.pixels, ((0, more), (0, 0))), np.pad(sums.bands, ((0, 0), (0, more), (0, 0)))
    return replace(sums, pixels=pixels, bands=bands, edge=np.pad(sums.edge, (0, more)))


def _sides(around: NDArray[Any], window: Window, width: int) -> NDArray[np.int64]:
    """The sides [S, 2] in a window, of whose labels [H + 2, W + 2] are given."""
    found = np.empty((around.size // 8 + 64, 2), np.int64)
    count = raster.sides(around, window.row, window.col, width, found)
    if count > len(found):
        found = np.empty((count, 2), np.int64)
        raster.sides(around, window.row, window.col, width, found)
    return found[:count].copy()


def _moments(sums: _Sums, scene: Scene) -> dict[str, Any]:
    """Centroid, area and the ellipse of the same second moments (each pixel a unit square), in metres."""
    count, row, col, row2, col2, rowcol = sums.pixels[sums.ids].T
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


def _outlines(sums: _Sums, scene: Scene) -> dict[str, Any]:
    """Polygon of each floe (its largest piece), with the measures of its outline."""
    order = np.lexsort((sums.sides[:, 1], sums.sides[:, 0]))
    label, codes = sums.sides[order].T
    ends = np.searchsorted(label, np.append(sums.ids, np.iinfo(np.int64).max))
    corners, stops, owner = raster.rings(np.ascontiguousarray(codes), ends, scene.grid.width)
    row, col = np.divmod(corners, scene.grid.width + 1)
    t = scene.grid.transform
    points = np.column_stack([t.c + t.a * col + t.b * row, t.f + t.d * col + t.e * row])
    number = np.repeat(np.arange(len(stops)), np.diff(stops, prepend=0))
    outlines = shapely.linearrings(points, indices=number)
    size = shapely.area(shapely.polygons(outlines)) * np.where(shapely.is_ccw(outlines) == (t.determinant < 0), 1, -1)
    order = np.lexsort((-size, owner))
    largest = order[np.searchsorted(owner[order], np.arange(len(sums.ids)))]
    holes = np.flatnonzero(size < 0)
    # Of a floe of several pieces the largest is outlined, and its holes alone are kept.
    many = np.bincount(owner[size > 0], minlength=len(sums.ids))[owner[holes]] > 1
    inside = shapely.covers(shapely.polygons(outlines[largest[owner[holes[many]]]]), shapely.polygons(outlines[holes[many]]))
    holes = np.sort(np.concatenate([holes[~many], holes[many][inside]]))
    shells = outlines[largest]
    order = np.argsort(np.concatenate([np.arange(len(largest)), owner[holes]]), kind="stable")
    belongs = np.concatenate([np.arange(len(largest)), owner[holes]])[order]
    geometry = shapely.polygons(np.concatenate([shells, outlines[holes]])[order], indices=belongs)
    corners, ring = shapely.get_coordinates(shells, return_index=True)
    measured = measures(corners, np.searchsorted(ring, np.arange(len(shells)), side="right"), scene.grid.pixel_m)
    out = {"perimeter_m": measured[:, 0], "hull_m2": shapely.area(shapely.convex_hull(geometry)), "geometry": geometry}
    return out | {name: measured[:, 1 + k] for k, name in enumerate(SHAPES)}
