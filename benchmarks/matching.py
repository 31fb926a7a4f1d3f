"""How well floes are matched where it is hard: real floes of four seas, thinned, scattered, turned and drawn anew.

    python benchmarks/matching.py DATA [--model models/matcher] [--draws 2]

DATA holds `modis_floes/<case>/{aqua,terra}.{json,labels.tif,truecolor.tif,falsecolor.tif}`, floes drawn by hand in two passes of one day.
Without `--model` the floes of two seas are matched by a matcher that has learnt from the two others alone, and the other way round.

as they are     the two passes
near            30 % lost on either side; every floe displaced by itself, by up to the distance of its nearest neighbour, and turned by
                itself by up to 180 degrees; outlines drawn anew with errors of 0.5 pixels
gaps            the same, by up to 3 times the gap to the next floe (at least a pixel)
far             the same, by up to 3 spacings: the side of the square that each floe has to itself
as one          the same losses, displacements of up to 3 spacings and outlines, and the whole scene turned by up to 180 degrees
shape alone     floes of more than 200 pixels, drawn anew, turned and dealt to each other's places, with the whole scene in reach

*Two* tells that the floes drawn anew are Aqua's, matched with those of Terra, which a hand has drawn already a little differently, with
the brightness of either. *One* tells that Aqua's are matched with Aqua's drawn anew, by their outlines alone: no brightness is told.

Each row is the mean over the draws and seas. Beside it the F1 of the likelihood that the network begins with, of the nearest neighbour
after the mean shift, and of the Hungarian method on place, area and shape. How much these three accept is chosen with the truth at hand,
which the matcher does without.

With `--outlines` the floes are also those that a segmenter outlined: DIR is what `benchmarks/regions.py DATA/modis_floes --keep DIR` left,
whose segmenters have not seen the sea either. Precision is that of the matches between floes that are both among the drawn ones (IoU above
a half); recall is over all floes drawn.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from shapely import STRtree, affinity
from shapely.geometry import Polygon

from icegraph.graph import Graph, build_graph, floe_table, read_graph
from icegraph.graph.contour import middles
from icegraph.graph.floes import ABOUT
from icegraph.graph.nodes import spacing
from icegraph.grid import Grid, Window
from icegraph.scene import Scene, read_grid, write_band, write_item
from icegraph.track.assign import assign
from icegraph.track.fit import fit_matcher
from icegraph.track.follow import score
from icegraph.track.link import link_tracks
from icegraph.track.matcher import Matcher, MatcherConfig, read_matcher
from icegraph.truth import overlap

CASES = ("hudson_bay-100km-20060513", "sea_of_okhostk-50km-20180412", "east_siberian_sea-100km-20190612", "baffin_bay-200km-20060704")
LOST, FAR, OUTLINE_PX, LARGE_PX = 0.3, 3.0, 0.5, 200
STEPS = 400
PIXEL_M = 250.0
HARDEST = 60_000.0  # metres, where the reach is not told
# What nearest neighbours and the Hungarian method try: largest distances, weights of place, and shares of the pairs that are accepted.
DISTANCES, WEIGHTS, SHARES = np.geomspace(0.01, 2, 16), (1.0, 4.0, 16.0, 64.0), np.linspace(0.3, 1, 8)

Table = gpd.GeoDataFrame
Pairs = set[tuple[int, int]]


@dataclass(frozen=True)
class Trial:
    """Two passes, and how far a floe may have moved."""

    first: Table
    second: Table
    reach_m: float


Stress = Callable[[Table, Table, np.random.Generator, Path], Trial]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, help="matcher to judge; default: two, each for the seas that it has not seen")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of these")
    parser.add_argument("--keep", type=Path, help="folder for these; those that are there are not trained again")
    parser.add_argument("--outlines", type=Path, metavar="DIR", help="match the outlines there too")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor(given.processes) as pool:
        seas = {case: [_labelled(given.data / "modis_floes" / case, name, Path(place)) for name in ("terra", "aqua")] for case in CASES}
        models = dict.fromkeys(CASES, given.model)
        if given.model is None:
            halves = CASES[:2], CASES[2:]
            keep = given.keep or Path(place)
            taught = [pool.submit(_taught, {sea: seas[sea] for sea in half}, given.steps, keep) for half in halves]
            models = {case: taught[case in halves[0]].result() for case in CASES}
        rows = {
            (name, first): [pool.submit(_judged, models[case], *seas[case], name, first, given.draws) for case in CASES]
            for name, (_, _, firsts) in _STRESSES.items()
            for first in firsts
        }
        names = " | ".join(case.split("-")[0].replace("_", " ") for case in CASES)
        print(f"| stress | passes | precision | recall | F1 | {names} | likelihood alone | nearest neighbour | Hungarian |")
        print("|-" * (8 + len(CASES)) + "|")
        for (name, first), row in rows.items():
            figures = np.array([sea.result() for sea in row])
            mean = figures.mean(axis=0)
            each = " | ".join(f"{sea:.3f}" for sea in figures[:, 2])
            told = f"{mean[0]:.3f} | {mean[1]:.3f} | {mean[2]:.3f} | {each} | {mean[3]:.3f} | {mean[4]:.3f} | {mean[5]:.3f}"
            print(f"| {name} | {first} | {told} |", flush=True)
        if given.outlines:
            print("\n| outlined | matches | precision | recall |\n|-|-|-|-|")
            outlined = [pool.submit(_outlined, models[case], given.outlines, given.data / "modis_floes" / case) for case in CASES]
            for case, row in zip(CASES, outlined, strict=True):
                number, precision, recall = row.result()
                print(f"| {case.split('-')[0].replace('_', ' ')} | {number} | {precision:.3f} | {recall:.3f} |", flush=True)


def _taught(seas: Mapping[str, Sequence[Table]], steps: int, keep: Path) -> Path:
    """A matcher that has learnt from some seas; a floe has one number in both passes of a sea."""
    out = keep / "-".join(sea.split("-")[0] for sea in seas)
    if not out.exists():
        tables = [table for sea in seas.values() for table in sea]
        identities = {table.attrs[ABOUT]["pass_id"]: {int(floe): int(floe) for floe in table["floe_id"]} for table in tables}
        build_graph(tables, out.with_suffix(".graph"))
        fit_matcher(out.with_suffix(".graph"), identities, out, steps=steps)
    return out


def _judged(model: Path, terra: Table, aqua: Table, name: str, first: str, draws: int) -> NDArray[np.float64]:
    """The mean figures [6] of `_judge` over the draws of one stress."""
    make, most, _ = _STRESSES[name]
    pair = (terra, aqua) if first == "two" else (_by_outline(aqua, 0), _by_outline(aqua, 1))
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        trials = (make(*pair, np.random.default_rng([7, draw]), place) for draw in range(min(most or draws, draws)))
        return np.asarray(np.mean([_judge(read_matcher(model), trial, place) for trial in trials], axis=0))


def _outlined(model: Path, outlines: Path, case: Path) -> tuple[int, float, float]:
    """Matches of the floes that a segmenter outlined in both passes of a sea: their number, precision and recall."""
    tables, names, drawn = [], [], []
    for satellite in ("terra", "aqua"):
        scene = Scene.open(outlines / "scenes" / f"{case.name}-{satellite}")
        found = outlines / "found" / scene.id
        table = floe_table(found, scene)
        common = overlap(found / "labels.tif", case / f"{satellite}.labels.tif", scene.grid)
        # The times in the items are nominal, and in some of them Aqua's comes first.
        table.attrs[ABOUT]["time"] = f"2000-01-01T0{len(tables)}:00:00+00:00"
        tables.append(table)
        names.append(common.identities())
        drawn.append(set(common.known.tolist()))
    with tempfile.TemporaryDirectory() as place:
        graph = _graph(Trial(*tables, 20_000.0), Path(place))
    links = link_tracks(graph, [score(read_matcher(model), graph, 0)]).links
    ends = [entry.floes for entry in graph.passes]
    told = [(names[0].get(int(ends[0][k.floe])), names[1].get(int(ends[1][k.partner]))) for k in links]
    judged = [pair for pair in told if None not in pair]
    right = sum(one == other for one, other in judged)
    return len(links), right / max(len(judged), 1), right / len(drawn[0] & drawn[1])


def _by_outline(table: Table, hours: int) -> Table:
    """A pass some hours later, of whose floes no brightness is told."""
    out = table.drop(columns=[name for name in table if name.endswith(("_mean", "_std"))])
    about = table.attrs[ABOUT]
    time = datetime.fromisoformat(about["time"]) + timedelta(hours=hours)
    out.attrs = {ABOUT: about | {"pass_id": f"{about['pass_id']}-{hours}", "time": time.isoformat()}}
    return out


def _judge(matcher: Matcher, trial: Trial, place: Path) -> tuple[float, ...]:
    """Precision, recall and F1 of the matcher, and F1 of the likelihood alone, of the nearest neighbour and of the Hungarian method."""
    first, second = (table["floe_id"].to_numpy() for table in (trial.first, trial.second))
    same: Pairs = {(i, int(j)) for i, name in enumerate(first) for j in np.flatnonzero(second == name)}
    graph = _graph(trial, place)
    told = {(link.floe, link.partner) for link in link_tracks(graph, [score(matcher, graph, 0)]).links}
    right = len(told & same)
    others = [max(_f1(pairs, same) for pairs in by(trial.first, trial.second, trial.reach_m)) for by in (nearest, hungarian)]
    alone = max(_f1(pairs, same) for pairs in _likely(graph))
    return right / max(len(told), 1), right / max(len(same), 1), _f1(told, same), alone, *others


def _likely(graph: Graph) -> list[Pairs]:
    """What a matcher that has learnt nothing assigns by the likelihood of outlines, brightness and places, accepting more or less."""
    scored = score(Matcher(MatcherConfig()).eval(), graph, 0)
    shape = len(graph.passes[0].nodes), len(graph.passes[1].nodes)
    chosen = [assign(scored.edges, scored.gain + more, shape) for more in (-6, -4, -2, -1, 0, 1, 2, 4, 6, 9)]
    return [{(int(i), int(j)) for i, j in scored.edges[:, those].T} for those in chosen]


def _f1(told: Pairs, same: Pairs) -> float:
    return 2 * len(told & same) / max(len(told) + len(same), 1)


def _graph(trial: Trial, place: Path) -> Graph:
    hours = (trial.second.attrs[ABOUT]["time"], trial.first.attrs[ABOUT]["time"])
    seconds = (datetime.fromisoformat(hours[0]) - datetime.fromisoformat(hours[1])).total_seconds()
    build_graph([trial.first, trial.second], place / "graph", max_speed_m_s=trial.reach_m / seconds)
    return read_graph(place / "graph")


def nearest(first: Table, second: Table, reach_m: float) -> list[Pairs]:
    """Mutual nearest neighbours after the mean shift, for several largest distances."""
    if not (len(first) and len(second)):
        return [set() for _ in DISTANCES]
    a, b = (table[["x", "y"]].to_numpy(float) for table in (first, second))
    away = cdist(a + b.mean(axis=0) - a.mean(axis=0), b)
    mutual = [(i, int(j)) for i, j in enumerate(away.argmin(axis=1)) if away[:, j].argmin() == i]
    return [{(i, j) for i, j in mutual if away[i, j] <= most} for most in min(reach_m, HARDEST) * DISTANCES]


def hungarian(first: Table, second: Table, reach_m: float) -> list[Pairs]:
    """The assignment of least total cost of place, area and shape, for several weights of place and several largest costs."""
    if not (len(first) and len(second)):
        return [set() for _ in WEIGHTS for _ in SHARES]
    a, b = (table[["x", "y"]].to_numpy(float) for table in (first, second))
    look = cdist(*(_looks(table) for table in (first, second)))
    away = np.minimum(cdist(a, b), cdist(a + b.mean(axis=0) - a.mean(axis=0), b)) / min(reach_m, HARDEST)
    out = []
    for weight in WEIGHTS:
        cost = look + weight * away
        row, col = linear_sum_assignment(cost)
        chosen = cost[row, col]
        out += [{(int(i), int(j)) for i, j in zip(row, col, strict=True) if cost[i, j] <= most} for most in np.quantile(chosen, SHARES)]
    return out


def _looks(table: Table) -> NDArray[np.float64]:
    """Area and shape [N, 4] in units of what measuring twice changes them by."""
    area, axes = np.log(table["area_m2"]), np.log(table["major_axis_m"] / table["minor_axis_m"])
    return np.column_stack([area / 0.1, axes / 0.1, table["solidity"] / 0.036, table["circularity"] / 0.08])


def _as_they_are(first: Table, second: Table, *_: object) -> Trial:
    return Trial(first, second, 20_000.0)


def _each_by_itself(most: Callable[[Table], NDArray[np.float64]]) -> Stress:
    """Floes scattered by up to `most` [N] metres and turned each by itself, thinned and drawn anew."""

    def make(first: Table, second: Table, rng: np.random.Generator, place: Path) -> Trial:
        xy, way = second[["x", "y"]].to_numpy(float), _scatter(most(second), rng)
        second = _redrawn(second, rng.uniform(-180, 180, len(second)), xy + way, rng, place)
        return Trial(_thinned(first, rng), _thinned(second, rng), float(np.hypot(*way.T).max()) + 2000)

    return make


def _as_one(first: Table, second: Table, rng: np.random.Generator, place: Path) -> Trial:
    """Floes scattered each by itself, and the whole scene turned; thinned and drawn anew."""
    turn = rng.uniform(-180, 180)
    xy = second[["x", "y"]].to_numpy(float)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    moved = (xy - xy.mean(axis=0)) @ np.array([[cos, sin], [-sin, cos]]) + xy.mean(axis=0) + _scatter(_far(second), rng)
    second = _redrawn(second, np.full(len(second), turn), moved, rng, place)
    return Trial(_thinned(first, rng), _thinned(second, rng), float(np.hypot(*(moved - xy).T).max()) + 2000)


def _shape_alone(first: Table, second: Table, rng: np.random.Generator, place: Path) -> Trial:
    """Large floes at places dealt anew, drawn anew and turned."""
    large = [set(table["floe_id"][(table["area_m2"] > LARGE_PX * PIXEL_M**2) & ~table["touches_edge"]]) for table in (first, second)]
    first, second = (table[table["floe_id"].isin(large[0] & large[1])].reset_index(drop=True) for table in (first, second))
    xy = second[["x", "y"]].to_numpy(float)
    second = _redrawn(second, rng.uniform(-180, 180, len(second)), rng.permutation(xy), rng, place)
    return Trial(first, second, float(np.hypot(*np.ptp(xy, axis=0))) + 2000)


def _to_neighbour(table: Table) -> NDArray[np.float64]:
    """From each floe's middle to the nearest other one [N], metres."""
    xy = table[["x", "y"]].to_numpy(float)
    return np.asarray(cKDTree(xy).query(xy, 2)[0][:, 1])


def _gaps(table: Table) -> NDArray[np.float64]:
    """Three times the gap between each floe's outline and the next [N], metres; a pixel where they touch."""
    outlines = table.geometry.to_numpy()
    at, other = STRtree(outlines).query_nearest(outlines, exclusive=True)
    gap = np.zeros(len(outlines))
    gap[at] = shapely.distance(outlines[at], outlines[other])
    return FAR * np.maximum(gap, PIXEL_M)


def _far(table: Table) -> NDArray[np.float64]:
    """Three spacings about each floe [N], metres."""
    return FAR * spacing(table[["x", "y"]].to_numpy(float))


def _scatter(most: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A displacement [N, 2] of up to `most` [N] for each floe."""
    far, bearing = rng.uniform(0, most), rng.uniform(0, 2 * np.pi, len(most))
    return far[:, None] * np.column_stack([np.cos(bearing), np.sin(bearing)])


_BOTH = ("two", "one")
_STRESSES: dict[str, tuple[Stress, int, Sequence[str]]] = {
    "as they are": (_as_they_are, 1, ("two",)),
    "near": (_each_by_itself(_to_neighbour), 0, _BOTH),
    "gaps": (_each_by_itself(_gaps), 0, _BOTH),
    "far": (_each_by_itself(_far), 0, _BOTH),
    "as one": (_as_one, 0, _BOTH),
    "shape alone": (_shape_alone, 0, _BOTH),
}


def _thinned(table: Table, rng: np.random.Generator) -> Table:
    kept = table[rng.random(len(table)) >= LOST].reset_index(drop=True)
    kept.attrs = table.attrs
    return kept.iloc[rng.permutation(len(kept))].reset_index(drop=True)


def _redrawn(table: Table, turn_deg: NDArray[np.float64], places: NDArray[np.float64], rng: np.random.Generator, place: Path) -> Table:
    """The floes turned, their outlines drawn anew, measured on a raster where each lies by itself, and put to their places."""
    outlines = [_drawn_anew(polygon, turn, rng) for polygon, turn in zip(table.geometry, turn_deg, strict=True)]
    size = np.array([np.ceil(np.subtract(outline.bounds[2:], outline.bounds[:2])).astype(int) + 3 for outline in outlines])
    wide = max(int(np.sqrt(size.prod(axis=1).sum()) * 1.2), int(size.max()) + 2)
    corners, at, shelf = np.zeros((len(size), 2)), np.array([1, 1]), 0
    for k in np.argsort(-size[:, 1], kind="stable"):
        if at[0] + size[k, 0] > wide:
            at, shelf = np.array([1, at[1] + shelf]), 0
        corners[k] = at
        at, shelf = at + np.array([size[k, 0], 0]), max(shelf, size[k, 1])
    middle = np.array(table.attrs[ABOUT]["bounds"]).reshape(2, 2).mean(axis=0)
    shape = (int(at[1] + shelf + 1), wide)
    grid = Grid(
        table.attrs[ABOUT]["crs"],
        Affine(PIXEL_M, 0, middle[0] - PIXEL_M * wide / 2, 0, -PIXEL_M, middle[1] + PIXEL_M * shape[0] / 2),
        *shape,
    )
    shapes = []
    for number, (outline, corner) in enumerate(zip(outlines, corners, strict=True), 1):
        on_sheet = affinity.translate(outline, *(corner - outline.bounds[:2] + 1))
        # Rows run down: the sheet shows the floe as a map does.
        shapes.append((affinity.affine_transform(on_sheet, [1, 0, 0, -1, 0, 2 * corner[1] + size[number - 1, 1]]), number))
    labels = rasterize(shapes, shape, dtype="int32")
    measured = floe_table(*written(place / "sheet", labels.astype(np.uint32), {}, grid, table.attrs[ABOUT]))
    out = table.iloc[measured["floe_id"].to_numpy() - 1].reset_index(drop=True)
    away = places[measured["floe_id"].to_numpy() - 1]
    for name in measured.columns.drop(["pass_id", "floe_id", "time", "touches_edge", "confidence", "x", "y", "lon", "lat", "geometry"]):
        out[name] = measured[name]
    out["geometry"] = measured.geometry.to_numpy()
    out["x"], out["y"] = away.T
    out.attrs = table.attrs
    return out


def _drawn_anew(polygon: Polygon, turn_deg: float, rng: np.random.Generator) -> Polygon:
    """An outline in pixels, turned, each of its points, a pixel apart, off by `OUTLINE_PX`."""
    points = middles(np.asarray(polygon.exterior.coords), PIXEL_M) / PIXEL_M
    points = points + OUTLINE_PX * (rng.normal(size=len(points)) + 1j * rng.normal(size=len(points)))
    points = points * np.exp(1j * np.radians(turn_deg))
    return Polygon(np.column_stack([points.real, points.imag]))


def _labelled(case: Path, satellite: str, place: Path) -> Table:
    """Floe table of a hand-labelled pass."""
    item = json.loads((case / f"{satellite}.json").read_text())
    with rasterio.open(case / f"{satellite}.labels.tif") as dataset:
        labels, grid = dataset.read(1), read_grid(dataset)
    with rasterio.open(case / f"{satellite}.truecolor.tif") as dataset:
        red = dataset.read(1) / np.float32(255)
    with rasterio.open(case / f"{satellite}.falsecolor.tif") as dataset:
        swir22, nir = dataset.read([1, 2]) / np.float32(255)
    # Terra is the earlier pass; the times in the items are nominal.
    time = datetime.fromisoformat(item["properties"]["datetime"]) + timedelta(hours=satellite == "aqua")
    about = {"pass_id": item["id"], "time": time.isoformat()}
    return floe_table(
        *written(
            place / item["id"],
            np.where(labels == 65535, 0, labels).astype(np.uint32),
            {"red": red, "nir": nir, "swir22": swir22},
            grid,
            about,
        )
    )


def written(folder: Path, labels: NDArray[np.uint32], bands: dict[str, NDArray[np.float32]], grid: Grid, about: dict[str, str]) -> Sequence:  # type: ignore[type-arg]
    """A segment folder and its scene."""
    window = Window(0, 0, *grid.shape)
    (folder / "segment").mkdir(parents=True, exist_ok=True)
    rasters = {"valid": np.ones(grid.shape, np.uint8), **bands}
    for name, pixels in rasters.items():
        with write_band(folder / f"{name}.tif", grid, str(pixels.dtype)) as writer:
            writer.write(window, pixels)
    with write_band(folder / "segment" / "labels.tif", grid, "uint32") as writer:
        writer.write(window, labels)
    files = {name: f"{name}.tif" for name in rasters}
    time = datetime.fromisoformat(about["time"])
    return folder / "segment", write_item(
        folder, pass_id=about["pass_id"], time=time, sensor="optical", grid=grid, rasters=files, properties={}
    )


if __name__ == "__main__":
    main()
