"""The floes of a pass as a table: one row a floe, with its outline, its shape and what each band shows of it.

Pixels are read in windows, and only sums over bands are kept and the runs of the floes (`icegraph.runs`), so memory grows with the number
of floes and the length of their shores, not with the size of the pass.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray

from icegraph.ahead import map_ahead
from icegraph.errors import InputError, PassError
from icegraph.graph import raster
from icegraph.graph.contour import ORDERS, measures
from icegraph.graph.scale import grid_scale
from icegraph.grid import Grid, Window
from icegraph.runs import LABEL, ROW, START, find_runs
from icegraph.scene import Scene, read_pixels, valid_windows
from icegraph.store import atomic_path, lineage, sha256

FILE = "floes.parquet"
ABOUT = "icegraph"
_LARGEST_ID = 1 << 27
_PLACE_BITS = 36  # of a pixel's place in a raster: enough for 262,144 × 262,144
SHAPES = tuple(f"shape_{k}" for k in range(len(ORDERS)))
_COLUMNS = (
    *("pass_id", "floe_id", "time", "x", "y", "lon", "lat", "area_m2", "perimeter_m", "major_axis_m", "minor_axis_m"),
    *("orientation_deg", "eccentricity", "solidity", "circularity", *SHAPES, "touches_edge", "confidence"),
)


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
    rasters = partial(_opened, path, segment / "floe_probability.tif", scene)
    columns = measure(rasters, scene.grid, ["confidence", *scene.bands])
    geometry = columns.pop("geometry")
    number = len(geometry)
    columns["pass_id"] = np.full(number, scene.id, dtype=object)
    columns["time"] = np.full(number, np.datetime64(scene.time.replace(tzinfo=None), "us"))
    bands = [f"{band}_{figure}" for band in scene.bands for figure in ("mean", "std")]
    table = gpd.GeoDataFrame({name: columns[name] for name in (*_COLUMNS, *bands)}, geometry=geometry, crs=scene.grid.crs)
    table["time"] = table["time"].astype("datetime64[us]").dt.tz_localize("UTC")
    table["pass_id"] = table["pass_id"].astype("str")
    table.attrs[ABOUT] = _about(segment, scene)
    return table


def _about(segment: Path, scene: Scene) -> dict[str, Any]:
    parents = [("labels.tif", sha256(segment / "labels.tif")), ("scene item.json", sha256(scene.folder / "item.json"))]
    place = {"crs": scene.grid.crs, "pixel_m": scene.grid.pixel_m, "bounds": list(scene.grid.bounds)}
    return {"pass_id": scene.id, "time": scene.time.isoformat(), "sensor": scene.sensor, **place, **lineage(parents)}


@dataclass(frozen=True)
class Pixels:
    """What a window shows.

    Args:
        labels: Ids of floes [H, W], 0 elsewhere.
        seen: Which pixels are valid [H + 2, W + 2], with a rim of one pixel, false beyond the raster.
        bands: Values [H, W] of each band, None where there is no such raster.
    """

    labels: NDArray[Any]
    seen: NDArray[np.bool_]
    bands: list[NDArray[np.float32] | None]


Reader = Callable[[Window], Pixels]


def measure(rasters: Callable[[], AbstractContextManager[Reader]], grid: Grid, bands: Sequence[str]) -> dict[str, Any]:
    """Measure floes, several strips of the raster at once.

    Args:
        rasters: Opens the rasters, for one strip: gives what reads a window of them.
        grid: Their grid.
        bands: Names of the bands that are read.

    Returns:
        Columns as in `floe_table`, and `geometry`.
    """
    strips = (list(windows) for _, windows in groupby(valid_windows(grid), key=lambda window: window.row))
    floes = _join(list(map_ahead(partial(_look, rasters, len(bands)), strips)), grid)
    columns = {"floe_id": floes.ids} | _moments(floes, grid) | _outlines(floes, grid) | {"touches_edge": floes.edge}
    for band, sums in zip(bands, floes.bands, strict=True):
        columns[f"{band}_mean"], columns[f"{band}_std"] = _mean(sums)
    columns["confidence"] = columns.get("confidence_mean")
    columns["circularity"] = np.minimum(4 * np.pi * columns["area_m2"] / np.maximum(columns["perimeter_m"], 1e-9) ** 2, 1.0)
    columns["solidity"] = np.minimum(columns["area_m2"] / np.maximum(columns.pop("hull_m2"), 1e-9), 1.0)
    scale = grid_scale(grid.crs, columns["x"], columns["y"])
    columns |= {name: columns[name] / scale for name in ("perimeter_m", "major_axis_m", "minor_axis_m")}
    columns["area_m2"] = columns["area_m2"] / scale**2
    return columns


@contextmanager
def _opened(labels: Path, probability: Path, scene: Scene) -> Iterator[Reader]:
    with ExitStack() as stack:

        def open_raster(path: Path) -> Any:
            return stack.enter_context(rasterio.open(path, driver="GTiff"))

        ids, valid = open_raster(labels), open_raster(scene.path("valid"))
        bands = [open_raster(probability) if probability.is_file() else None, *(open_raster(scene.path(band)) for band in scene.bands)]

        def read(window: Window) -> Pixels:
            found = ids.read(1, window=window.rasterio())
            if (most := found.max()) > _LARGEST_ID:
                raise PassError(labels, f"holds the id {most}", f"number the floes from 1, at most {_LARGEST_ID}")
            wide = window.padded(1, scene.grid.shape)
            seen = np.zeros((window.height + 2, window.width + 2), bool)
            seen[Window(wide.row - window.row + 1, wide.col - window.col + 1, *wide.shape).slices] = (
                valid.read(1, window=wide.rasterio()) > 0
            )
            return Pixels(found, seen, [band and read_pixels(band, window=window.rasterio()) for band in bands])

        yield read


@dataclass
class _Floes:
    """Runs of floes, and sums over their pixels.

    `runs` [R, 4] as in `icegraph.runs`, `ids` [N] of the floes, `edge` [N]: touches what is not seen; `bands` [C, N, 3]: count, sum, sum of
    squares.
    """

    runs: NDArray[np.int32]
    ids: NDArray[np.int64]
    edge: NDArray[np.bool_]
    bands: NDArray[np.float64]

    @property
    def ends(self) -> NDArray[np.int64]:
        """Where the runs of each floe begin and end, once they are in order [N + 1]."""
        return np.searchsorted(self.runs[:, LABEL], np.append(self.ids, _LARGEST_ID + 1))


def _look(rasters: Callable[[], AbstractContextManager[Reader]], bands: int, windows: Sequence[Window]) -> list[_Floes]:
    """What there is in each window of a strip."""
    parts = []
    with rasters() as read:
        for window in windows:
            pixels = read(window)
            runs = find_runs(pixels.labels)
            ids, floe = np.unique(runs[:, LABEL].astype(np.int64), return_inverse=True)
            part = _Floes(runs, ids, np.zeros(len(ids), bool), np.zeros((bands, len(ids), 3)))
            if not pixels.seen.all():
                raster.mark_edges(runs, floe, pixels.seen, part.edge)
            valid = pixels.seen[1:-1, 1:-1]
            for values, sums in zip(pixels.bands, part.bands, strict=True):
                if values is not None:
                    raster.add_values(runs, floe, values, valid, sums)
            runs += np.array([window.row, window.col, window.col, 0], np.int32)
            parts.append(part)
    return parts


def _join(strips: list[list[_Floes]], grid: Grid) -> _Floes:
    """The floes of all windows as one, their runs by floe, row and column."""
    parts = [part for strip in strips for part in strip]
    runs = np.concatenate([part.runs for part in parts])
    place = runs[:, ROW].astype(np.int64) * grid.width + runs[:, START]
    runs = raster.joined(runs[np.argsort((runs[:, LABEL].astype(np.int64) << _PLACE_BITS) + place)])
    ids = np.unique(np.concatenate([part.ids for part in parts]))
    whole = _Floes(runs, ids, np.zeros(len(ids), bool), np.zeros((len(parts[0].bands), len(ids), 3)))
    for part in parts:
        at = np.searchsorted(ids, part.ids)
        whole.edge[at] |= part.edge
        whole.bands[:, at] += part.bands
    return whole


def _mean(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation from count, sum and sum of squares [N, 3]; NaN where nothing was counted."""
    count, total, squares = sums.T
    seen = np.where(count > 0, count, np.nan)
    mean = total / seen
    return mean, np.sqrt(np.maximum(squares / seen - mean**2, 0))


def _moments(floes: _Floes, grid: Grid) -> dict[str, Any]:
    """Centroid, area and the ellipse of the same second moments (each pixel a unit square), in metres."""
    count, row, col, row2, col2, rowcol = raster.moments(floes.runs, floes.ends).T
    row, col = row / count, col / count
    t = grid.transform
    rr, cc, rc = row2 / count - row**2 + 1 / 12, col2 / count - col**2 + 1 / 12, rowcol / count - row * col
    xx = t.a**2 * cc + 2 * t.a * t.b * rc + t.b**2 * rr
    yy = t.d**2 * cc + 2 * t.d * t.e * rc + t.e**2 * rr
    xy = t.a * t.d * cc + (t.a * t.e + t.b * t.d) * rc + t.b * t.e * rr
    root = np.sqrt(np.maximum(((xx - yy) / 2) ** 2 + xy**2, 0))
    long, short = (xx + yy) / 2 + root, np.maximum((xx + yy) / 2 - root, 0)
    first = floes.runs[floes.ends[:-1]]
    x, y = grid.xy(row + first[:, ROW], col + first[:, START])
    lon, lat = grid.lonlat(x, y)
    return {
        "x": x,
        "y": y,
        "lon": lon,
        "lat": lat,
        "area_m2": count * grid.pixel_m**2,
        "major_axis_m": 4 * np.sqrt(long),
        "minor_axis_m": 4 * np.sqrt(short),
        "orientation_deg": np.degrees(np.arctan2(2 * xy, xx - yy) / 2) % 180,
        "eccentricity": np.sqrt(1 - short / long),
    }


def _outlines(floes: _Floes, grid: Grid) -> dict[str, Any]:
    """Polygon of each floe (its largest piece), with the measures of its outline."""
    corners, stops, owner = raster.rings(floes.runs, floes.ends)
    size, hull = raster.sizes(corners, stops).T
    t = grid.transform
    points = np.column_stack([t.c + t.a * corners[:, 1] + t.b * corners[:, 0], t.f + t.d * corners[:, 1] + t.e * corners[:, 0]])
    outlines = shapely.linearrings(points, indices=np.repeat(np.arange(len(stops)), np.diff(stops, prepend=0)))
    order = np.lexsort((-size, owner))
    largest = order[np.searchsorted(owner[order], np.arange(len(floes.ids)))]
    holes = np.flatnonzero(size < 0)
    # Of a floe of several pieces the largest is outlined, and its holes alone are kept.
    many = np.bincount(owner[size > 0], minlength=len(floes.ids))[owner[holes]] > 1
    inside = shapely.covers(shapely.polygons(outlines[largest[owner[holes[many]]]]), shapely.polygons(outlines[holes[many]]))
    holes = np.sort(np.concatenate([holes[~many], holes[many][inside]]))
    belongs = np.concatenate([np.arange(len(largest)), owner[holes]])
    order = np.argsort(belongs, kind="stable")
    geometry = shapely.polygons(np.concatenate([outlines[largest], outlines[holes]])[order], indices=belongs[order])
    measured = measures(points, stops, grid.pixel_m)[largest]
    out = {"perimeter_m": measured[:, 0], "hull_m2": hull[largest] * grid.pixel_m**2, "geometry": geometry}
    return out | {name: measured[:, 1 + k] for k, name in enumerate(SHAPES)}
