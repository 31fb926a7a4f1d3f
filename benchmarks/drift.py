"""How well drift is found where there are no floes to follow, and how well places are forecast.

Simulated pack, seen by radar on two days: patches matched by their pattern, against the mean displacement of the ice that each shows.
First the pack as the current, its shear and its turning move it; then every floe also wanders and spins by itself, and some break, so that
what a patch shows has no displacement in common. Beside it the mean displacement of all, and how far the ice within a patch spreads.

Floes of simulated fields and real buoys, seen twice a day for a day and a half: the place 6, 24 and 48 hours after the last sighting,
against going on with the last velocity. Those of the same field or campaign are each other's neighbours. What the forecast goes by was
fitted to these campaigns; it knows nothing of the simulation.

    python benchmarks/drift.py [BUOYS]       # folder of NetCDF files with time, lon, lat [buoy, sighting]
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from icegraph.calibrate import calibrate
from icegraph.graph.pattern import PatternDrift, pattern_drift
from icegraph.grid import Grid
from icegraph.ingest import ingest
from icegraph.simulate import simulate
from icegraph.simulate.field import Field, Settings
from icegraph.track import forecast
from icegraph.truth import IGNORE, find_truth, read_labels

Floats = NDArray[np.float64]
Course = tuple[Floats, Floats]
DAY_S = 86_400.0
HORIZONS_H = (6, 24, 48)
FORECAST_FIELDS = 40
REACH_M = 20_000.0
AS_ONE = {"spin_per_day": 0.0, "wander_px": 0.0, "breaking": 0.0}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("buoys", type=Path, nargs="?", help="a row for each file, and one for all")
    parser.add_argument("--fields", type=int, default=3, help="simulated fields of each kind")
    asked = parser.parse_args()
    print("| pack | patches | RMSE, px | median, px | all alike: RMSE, px | spread within a patch, px |\n|-|-|-|-|-|-|")
    for name, ice in (("as the current moves it", AS_ONE), ("and floes wander, spin and break", {})):
        error, apart, within = (np.concatenate(part) for part in zip(*(_pack(seed, ice) for seed in range(asked.fields)), strict=True))
        print(f"| {name} | {len(error)} | {_rms(error):.2f} | {np.median(error):.2f} | {_rms(apart):.2f} | {_rms(within):.2f} |")
    print("\n| | horizon | forecasts | RMSE, km | last velocity | in the 68 % ellipse | in the 95 % ellipse |\n|-|-|-|-|-|-|-|")
    fields = [floe_paths(seed) for seed in range(FORECAST_FIELDS)]
    campaigns = {file.stem: buoy_paths(file) for file in sorted(asked.buoys.glob("*.nc"))} if asked.buoys else {}
    for hours in HORIZONS_H:
        _print(f"{FORECAST_FIELDS} simulated fields", hours, np.concatenate([forecast_errors(paths, hours) for paths in fields]))
        errors = {name: forecast_errors(paths, hours) for name, paths in campaigns.items()}
        for name, part in (errors | ({"all buoys": np.concatenate(list(errors.values()))} if errors else {})).items():
            _print(name, hours, part)


def _rms(length: Floats) -> float:
    return float(np.sqrt(np.mean(length**2)))


def _pack(seed: int, ice: dict[str, Any]) -> tuple[Floats, Floats, Floats]:
    """Lengths of the errors of the patches' displacements [K], of their mean, and what is spread within the patches; pixels."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        simulate(place / "ice", seed=9000 + seed, size_km=40, passes=2, views=("sar",), ice={"regime": "pack", "land": False, **ice})
        scenes = [calibrate(entry, place / entry.id) for entry in ingest([place / "ice" / "passes"], place / "found").require_scenes()]
        found = pattern_drift(scenes[0], scenes[1], REACH_M)
        labels = read_labels(find_truth([place / "ice" / "truth"])[scenes[0].id], scenes[0].grid)
        known, within = _known_drift(json.loads((place / "ice" / "simulation.json").read_text())["field"], labels, scenes[0].grid, found)
    told = np.isfinite(within)
    known, shift = known[told], found.shift[told]
    error, apart = np.hypot(*(shift - known).T), np.hypot(*(known.mean(axis=0) - known).T)
    return error / found.pixel_m, apart / found.pixel_m, within[told] / found.pixel_m


def _known_drift(settings: dict[str, Any], labels: NDArray[np.uint32], grid: Grid, found: PatternDrift) -> tuple[Floats, Floats]:
    """Mean displacement [K, 2] of the ice in each patch and the deviation from it [K], metres; NaN where not all of it is known.

    Floes move rigidly, what lies between them with the current.
    """
    field = Field(Settings(**settings))
    before = {floe.identity: (place, angle) for floe, place, angle in zip(field.floes, field.position, field.angle, strict=True)}
    seconds = settings["interval_s"]
    field.step(seconds)
    known = labels != IGNORE
    size = int(labels[known].max()) + 1
    start, shift, turn = np.full((size, 2), np.nan), np.full((size, 2), np.nan), np.zeros(size)
    for floe, place, angle in zip(field.floes, field.position, field.angle, strict=True):
        if floe.identity in before and floe.identity < size:
            start[floe.identity], was = before[floe.identity]
            shift[floe.identity], turn[floe.identity] = place - start[floe.identity], angle - was
    half = round(found.patch_m / grid.pixel_m / 2)
    mean, within = np.full(found.xy.shape, np.nan), np.full(len(found), np.nan)
    for index, (row, col) in enumerate(np.rint(np.column_stack(grid.rowcol(*found.xy.T))).astype(int)):
        rows, cols = (part.ravel() for part in np.mgrid[row - half : row + half, col - half : col + half].clip(0, max(grid.shape) - 1))
        if not known[rows, cols].all():
            continue
        identity, at = labels[rows, cols], np.column_stack(grid.xy(rows, cols)) - field.centre_m
        arm, cos, sin = at - start[identity], np.cos(turn[identity]), np.sin(turn[identity])
        moved = shift[identity] + np.column_stack([cos * arm[:, 0] - sin * arm[:, 1], sin * arm[:, 0] + cos * arm[:, 1]]) - arm
        free = identity == 0
        moved[free] = field.flow.carried(at[free], 0.0, seconds) - at[free]
        mean[index], within[index] = moved.mean(axis=0), np.sqrt(moved.var(axis=0).sum())
    return mean, within


def buoy_paths(file: Path) -> list[Course]:
    """Times, seconds since 1970 [T], and places, x and y in metres [T, 2], of each buoy of a campaign."""
    to_grid = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True)
    paths = []
    with netCDF4.Dataset(file) as data:
        for time, lon, lat in zip(*(np.ma.filled(data[name][:], np.nan) for name in ("time", "lon", "lat")), strict=True):
            good = np.isfinite(time) & (time < 1e30) & np.isfinite(lon) & (np.abs(lat) <= 90)
            time, first = np.unique(time[good], return_index=True)
            paths.append((time, np.column_stack(to_grid.transform(lon[good][first], lat[good][first]))))
    return paths


def floe_paths(seed: int, days: int = 6) -> list[Course]:
    """Times [T] and places [T, 2] of each floe of a simulated field, four times a day, until it breaks."""
    every_s = DAY_S / 4
    field = Field(Settings(seed, 250.0, 250.0, days * DAY_S, DAY_S / 2, cover=0.005, land=False))
    seen: dict[int, list[tuple[float, Floats]]] = {}
    for time in np.arange(4 * days + 1) * every_s:
        for floe, place in zip(field.floes, field.position, strict=True):
            seen.setdefault(floe.identity, []).append((time, place))
        field.step(every_s)
    return [(np.array(times), np.array(places)) for times, places in (zip(*path, strict=True) for path in seen.values())]


def forecast_errors(paths: Sequence[Course], hours: int) -> Floats:
    """Errors [N, 3] of what paths say: ours and the last velocity's, km, and ours in deviations of its ellipse."""
    found = []
    for now, sightings, place_of in _seen_twice_a_day(paths, hours * 3600.0):
        states = forecast.walk(sightings)
        for last in np.flatnonzero(np.r_[np.diff(sightings.track) > 0, True]):
            there = place_of(int(sightings.track[last]), now + hours * 3600)
            if there is None or last == 0 or sightings.track[last - 1] != sightings.track[last]:
                continue
            then = forecast.predict(states[last], now + hours * 3600)
            error = then.mean[:2] - there
            kept = sightings.place[last] + (sightings.place[last] - sightings.place[last - 1]) * hours / 12 - there
            far = np.sqrt(error @ np.linalg.solve(then.scale * then.covariance[:2, :2], error))
            found.append((np.hypot(*error) / 1000, np.hypot(*kept) / 1000, far))
    return np.array(found)


def _print(name: str, hours: int, errors: Floats) -> None:
    ours, theirs, far = errors.T
    inside = [np.mean(far < forecast.radius(share)) for share in (0.68, 0.95)]
    print(f"| {name} | {hours} h | {len(errors)} | {_rms(ours):.2f} | {_rms(theirs):.2f} | {inside[0]:.2f} | {inside[1]:.2f} |")


def _seen_twice_a_day(
    paths: Sequence[Course], ahead_s: float
) -> Iterator[tuple[float, forecast.Sightings, Callable[[int, float], Floats | None]]]:
    """For every half day: the time, the sightings in the 36 hours before, and where one is at a time, by its number."""

    def place_of(one: int, seconds: float) -> Floats | None:
        time, place = paths[one]
        after = np.searchsorted(time, seconds)
        if not 0 < after < len(time) or time[after] - time[after - 1] > DAY_S / 4:
            return None
        return np.array([np.interp(seconds, time, place[:, k]) for k in (0, 1)])

    begin, end = min(time[0] for time, _ in paths), max(time[-1] for time, _ in paths)
    for now in np.arange(begin + 1.5 * DAY_S, end - ahead_s, DAY_S / 2):
        rows = [(one, then, place_of(one, then)) for one in range(len(paths)) for then in now - np.arange(3, -1, -1) * DAY_S / 2]
        rows = [row for row in rows if row[2] is not None]
        if rows:
            track, seconds, place = (np.array(column) for column in zip(*rows, strict=True))
            ones = np.ones(len(rows))
            yield now, forecast.Sightings(track, seconds, place, 100 * ones, ones, np.zeros(len(rows), bool)), place_of


if __name__ == "__main__":
    main()
