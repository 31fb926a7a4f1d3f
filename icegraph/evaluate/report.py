"""The report: one HTML page that opens anywhere, offline, with everything in it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from pyproj import Geod

from icegraph.evaluate import charts, pictures
from icegraph.evaluate.expectations import known_seams, quality_rows
from icegraph.evaluate.gate import GateResult, confusion
from icegraph.evaluate.segmentation import LEAST_PX
from icegraph.evaluate.tables import TrackTables
from icegraph.expectations import data_docs
from icegraph.grid import Grid
from icegraph.scene import Scene, footprint
from icegraph.store import code_version, sha256

MOST_PICTURES = 12
MOST_OUTLINES = 6000  # in the whole page: about half a kilobyte each
_SENSORS = {"sar": "SAR", "optical": "Optical", "mixed": "SAR to optical"}


_EARTH = Geod(ellps="WGS84")


@dataclass(frozen=True)
class Figure:
    """A picture or chart with what is said under it."""

    svg: Markup
    caption: str
    title: str = ""


@dataclass(frozen=True)
class Card:
    """A headline figure, and one sentence of what it means."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Run:
    """What the page is made from.

    Args:
        metrics: `measure`'s answer.
        gate: The gate's verdict.
        scenes: Pass id → scene.
        segments: Pass id → segment folder.
        areas: Pass id → pixels of each floe found.
        tables: The tracks.
        models: Model folders.
        manifest: The manifest as read from JSON; empty where there is none.
        expectations: The outcomes of the passes, pixels and floes (`icegraph.expectations`); the manifest has those of the raw files.
    """

    metrics: Mapping[str, Any]
    gate: GateResult
    scenes: Mapping[str, Scene]
    segments: Mapping[str, Path]
    areas: Mapping[str, NDArray[np.int64]]
    tables: TrackTables
    models: Sequence[Path] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    expectations: Sequence[Mapping[str, Any]] = ()

    @property
    def order(self) -> list[str]:
        """Pass ids in time order."""
        return list(self.metrics["passes"])


def render(run: Run) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=PackageLoader("icegraph.evaluate", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": show_number, "sensor": _sensor, "bytes": _bytes}
    chosen = _chosen(run.order)
    views = {
        pass_id: pictures.picture_map(run.scenes[pass_id], f"pass-{number}", 1100 if len(chosen) <= 4 else 880)
        for number, pass_id in enumerate(chosen)
    }
    most = MOST_OUTLINES // max(len(chosen), 1)
    paths = {pass_id: pictures.outlines(run.segments[pass_id] / "labels.tif", view, most) for pass_id, view in views.items()}
    return environment.get_template("report.html.j2").render(
        run=run,
        metrics=run.metrics,
        gate=run.gate,
        heading=_heading(run),
        motif=_motif(views, paths),
        cards=headline(run),
        where=_where(run),
        passes=[_pass_figure(run, pass_id, views[pass_id], *paths[pass_id]) for pass_id in chosen],
        left_out=len(run.order) - len(chosen),
        calibration=[row for pass_id in run.order for row in quality_rows(run.scenes[pass_id])],
        steps=_step_figures(run),
        checks=[_checked(outcome) for outcome in [*run.manifest.get("expectations", []), *run.expectations]],
        drift=_drift_figures(run, views),
        forecast=_forecast_figure(run, views),
        sizes=_size_figure(run),
        criteria=_criteria(run.gate),
        confusion=confusion(run.metrics),
        curves=[figure for model in run.models for figure in _curves(model)],
        models=[_model_row(model) for model in run.models],
        parents=_parents(run),
        files=[(entry["id"], file) for entry in run.manifest.get("passes", []) for file in entry.get("files", [])],
        notes=[
            *run.manifest.get("notes", []),
            *(f"{e['id']}: {note}" for e in run.manifest.get("passes", []) for note in e.get("notes", [])),
        ],
        code_version=code_version(),
        least_px=LEAST_PX,
    )


def show_number(value: float | int | None) -> str:
    """A figure as people read it: three significant digits, thin spaces in thousands, a true minus."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 100:
        text = f"{round(value):,}".replace(",", "\u202f")
    elif value == 0:
        text = "0"
    elif abs(value) < 0.001:
        text = f"{value:.2g}" if abs(value) >= 1e-4 else f"{value:.1e}"
    else:
        text = f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1}f}"
    return text.replace("-", "\u2212")


def _sensor(name: str) -> str:
    return _SENSORS.get(name, name)


def _chosen(order: Sequence[str]) -> list[str]:
    """At most `MOST_PICTURES` passes, evenly spaced, the first and the last among them."""
    if len(order) <= MOST_PICTURES:
        return list(order)
    return [order[i] for i in np.unique(np.linspace(0, len(order) - 1, MOST_PICTURES).round().astype(int))]


def _heading(run: Run) -> dict[str, str]:
    times = [run.scenes[pass_id].time for pass_id in run.order]
    if not times:
        return {"when": "no pass", "where": "", "what": "Nothing was segmented."}
    first, last = min(times), max(times)
    when = f"{first:%d %B %Y}" if first.date() == last.date() else f"{first:%d %B %Y} – {last:%d %B %Y}"
    where = " and ".join(
        f"{abs(lat):.1f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.1f}° {'E' if lon >= 0 else 'W'}" for lon, lat in _places(run)
    )
    kinds = sorted({_sensor(scene.sensor) for scene in run.scenes.values()})
    what = f"{len(times)} {'pass' if len(times) == 1 else 'passes'} · {' and '.join(kinds)}"
    return {"when": when, "where": where, "what": what}


def _places(run: Run) -> list[tuple[float, float]]:
    """Longitude and latitude of the seas that the passes show: middles that lie further apart than the larger pass is wide."""
    kept: list[tuple[float, float]] = []
    width = max(max(run.scenes[pass_id].grid.shape) * run.scenes[pass_id].grid.pixel_m for pass_id in run.order)
    for pass_id in run.order:
        lon, lat = _middle(run.scenes[pass_id].grid)
        if all(_EARTH.inv(lon, lat, *other)[2] > width for other in kept):
            kept.append((lon, lat))
    return kept


def _middle(grid: Grid) -> tuple[float, float]:
    lon, lat = grid.lonlat(*grid.xy(np.array([grid.height / 2]), np.array([grid.width / 2])))
    return float(lon[0]), float(lat[0])


def _motif(views: Mapping[str, pictures.Map], paths: Mapping[str, tuple[dict[int, str], int]]) -> dict[str, Any] | None:
    """The largest outlines of the pass with most floes: the page's head is decorated with the run's own ice."""
    best = max(paths, key=lambda pass_id: len(paths[pass_id][0]), default=None)
    if best is None or not paths[best][0]:
        return None
    return {"paths": list(paths[best][0].values())[:160], "height": views[best].height}


def headline(run: Run) -> list[Card]:
    """The figures a person asks for first."""
    cards = []
    counts = [groups["counts"] for groups in run.metrics["sensors"].values() if "counts" in groups]
    floes, tracks = sum(c["floes"] for c in counts), _long_tracks(run.tables.sightings)
    passes = len(run.order)
    cards.append(
        Card(
            "Floes outlined",
            show_number(floes),
            f"in {passes} {'pass' if passes == 1 else 'passes'}, each floe counted in every pass it is seen in.",
        )
    )
    if len(run.tables.sightings):
        longest = int(run.tables.sightings.groupby("track_id").size().max())
        cards.append(Card("Floes followed", show_number(tracks), f"seen again at least once; the longest track has {longest} sightings."))
    speed, towards = _mean_drift(run)
    if speed is not None:
        cards.append(
            Card(
                "Mean drift",
                f"{show_number(100 * speed)} cm/s",
                f"or {show_number(speed * 86.4)} km a day, on the whole towards {towards}.",
            )
        )
    for group, name, title, scale, unit, meaning in (
        ("segmentation", "f1", "Outlines, F1", 1, "", "balance of floes missed and floes invented; 1 is perfect."),
        ("matching", "precision", "Right matches", 100, " %", "of the pairs told join the same floe in both passes."),
        ("tracking", "idf1", "Identity, IDF1", 1, "", "share of sightings that keep their right identity over all passes."),
        ("drift", "rmse_m_s", "Drift error", 100, " cm/s", "root mean square against the known motion."),
        ("forecast", "median_m", "Forecast error", 0.001, " km", "middle case, for passes that the forecast was not shown."),
    ):
        values = {s: g[group][name] for s, g in run.metrics["sensors"].items() if name in g.get(group, {}) and (s != "mixed")}
        if values:
            shown = " · ".join(show_number(scale * value) for value in values.values()) + unit
            told = meaning if len(values) == 1 else f"({' · '.join(_sensor(s) for s in values)}) {meaning}"
            cards.append(Card(title, shown, told))
    return cards


def _long_tracks(sightings: pd.DataFrame) -> int:
    return int((sightings.groupby("track_id").size() > 1).sum()) if len(sightings) else 0


def _moving(run: Run) -> pd.DataFrame:
    """Sightings that have a measured velocity: those of tracks seen at least twice."""
    sightings = run.tables.sightings
    if not len(sightings):
        return sightings
    return sightings[(sightings.groupby("track_id")["time"].transform("size") > 1) & np.isfinite(sightings["u"].astype(float))]


def _directions(run: Run, moving: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Speed (m/s) and direction (degrees clockwise from true north) of each row."""
    grid = Grid(run.tables.crs, run.scenes[run.order[-1]].grid.transform, 1, 1)
    x, y, u, v = (moving[name].to_numpy(float) for name in ("x", "y", "u", "v"))
    speed = np.hypot(u, v)
    lon, lat = grid.lonlat(x, y)
    step = 1000 / np.maximum(speed, 1e-9)
    lon2, lat2 = grid.lonlat(x + u * step, y + v * step)
    east = ((lon2 - lon + 180) % 360 - 180) * np.cos(np.radians(lat))
    return speed, np.degrees(np.arctan2(east, lat2 - lat)) % 360


def _mean_drift(run: Run) -> tuple[float | None, str]:
    moving = _moving(run)
    if not len(moving):
        return None, ""
    speed, direction = _directions(run, moving)
    angle = np.radians(direction)
    mean = math.degrees(math.atan2(float((speed * np.sin(angle)).sum()), float((speed * np.cos(angle)).sum()))) % 360
    return float(speed.mean()), _compass_words(mean)


def _compass_words(degrees: float) -> str:
    return ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")[round(degrees / 45) % 8]


def _where(run: Run) -> dict[str, Figure] | None:
    if not run.order:
        return None
    outlines = {tuple((lon, lat) for lon, lat in footprint(run.scenes[pass_id].grid)["coordinates"][0]) for pass_id in run.order}
    heading = _heading(run)
    places = Figure(
        charts.polar_sketch(sorted(outlines), label=f"Polar map: the passes lie around {heading['where']}"),
        f"Footprints around {heading['where']}; polar stereographic.",
    )
    rows = [(pass_id, run.scenes[pass_id].time, run.scenes[pass_id].sensor) for pass_id in run.order]
    times = Figure(
        charts.timeline(rows, label=f"Times of the passes: {heading['when']}"),
        "Times of the passes, UTC" + (": SAR above, optical below." if len({r[2] for r in rows}) > 1 else "."),
    )
    return {"map": places, "timeline": times}


def _pass_figure(run: Run, pass_id: str, view: pictures.Map, paths: dict[int, str], too_many: int) -> Figure:
    scene, figures = run.scenes[pass_id], run.metrics["passes"][pass_id]
    track_of = run.tables.track_of(pass_id, seen_again=True)
    names = {floe: f"floe {floe}, track {track_of[floe]}" if floe in track_of else f"floe {floe}" for floe in paths}
    layer = pictures.outline_layer(paths, track_of, names)
    floes = figures["floes"]
    words = f"{show_number(floes)} {'floe' if floes == 1 else 'floes'}"
    if figures["tracked"]:
        words += f", {show_number(figures['tracked'])} of them in a track"
    if too_many:
        words += f"; the {show_number(too_many)} smallest are not drawn"
    if "f1" in figures.get("segmentation", {}):
        words += f"; F1 {show_number(figures['segmentation']['f1'])}"
    caption = f"{_sensor(scene.sensor)}, {figures['pixel_m']:g} m pixels. {words[0].upper()}{words[1:]}."
    # Bright ice is shown a little darker, so that the colours of the outlines stand out.
    dim = 0.25 if scene.sensor == "optical" else 0.0
    svg = pictures.draw_map(view, [layer], embed=True, label=f"{view.alt}; {words}", text=22, dim=dim)
    return Figure(svg, caption, f"{scene.time:%d %B %Y, %H:%M} UTC")


def _step_figures(run: Run) -> list[Figure]:
    """For each polarisation, the steps between sub-swaths of all passes, with thermal noise and without."""
    bands: dict[str, dict[str, dict[str, list[float]]]] = {}
    errors: dict[str, list[float]] = {}
    for pass_id in run.order:
        for band, told in run.scenes[pass_id].item.properties.get("icegraph:quality", {}).get("bands", {}).items():
            for seam in known_seams(told):
                kinds = bands.setdefault(band, {}).setdefault("|".join(seam["swaths"]), {})
                errors.setdefault(band, []).append(seam["error_db"])
                for kind, name in (("with noise", "before_db"), ("noise taken off", "after_db")):
                    kinds.setdefault(kind, []).extend([] if seam[name] is None else [seam[name]])
    figures = []
    for band, steps in bands.items():
        means = [
            float(np.mean(values)) if (values := [abs(v) for kinds in steps.values() for v in kinds[kind]]) else None
            for kind in ("with noise", "noise taken off")
        ]
        caption = f"The mean step is {show_number(means[0])} dB with thermal noise, {show_number(means[1])} dB without."
        caption += f" For the ice that lies there, each is known to \u00b1{show_number(float(np.mean(errors[band])))} dB."
        label = f"{band.upper()}: steps between sub-swaths. {caption}"
        if any(value is not None for value in means):
            figures.append(Figure(charts.step_chart(steps, label=label), caption, f"{band.upper()}: steps between sub-swaths"))
    return figures


def _checked(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A table that was held against expectations: its name, how many it met, and its Data Docs."""
    told = outcome["statistics"]
    met, of = int(told["successful_expectations"]), int(told["evaluated_expectations"])
    return {"name": outcome["suite_name"], "met": met, "of": of, "ok": bool(outcome["success"]), "docs": data_docs(outcome)}


def _drift_figures(run: Run, views: Mapping[str, pictures.Map]) -> dict[str, Any] | None:
    moving = _moving(run)
    base = _base_pass(views, moving)
    if base is None:
        return None
    view = views[base]
    drawn = _largest_tracks(moving, 600)
    latest = drawn.groupby("track_id").tail(1)
    right, down = view.place(latest["x"].to_numpy(float), latest["y"].to_numpy(float), run.tables.crs)
    arrows = latest.iloc[pictures.thinned(right, down, 26)]
    field = run.tables.field.assign(track_id=0, confidence=0.2)
    right, down = view.place(field["x"].to_numpy(float), field["y"].to_numpy(float), run.tables.crs)
    within = (right > 0) & (right < pictures.WIDTH) & (down > 0) & (down < view.height)
    field = field[within].iloc[pictures.thinned(right[within], down[within], 40)]
    vectors = pd.concat([field, arrows]) if len(field) else arrows
    layers = [pictures.track_layer(view, drawn, run.tables.crs), pictures.arrow_layer(view, vectors, run.tables.crs)]
    number = _long_tracks(run.tables.sightings)
    shown = drawn["track_id"].nunique()
    label = f"Tracks and drift arrows of {shown} floes over the pass of {run.scenes[base].time:%d %B %Y}"
    caption = (
        "Where the floes went: dots are sightings, arrows the velocity at the latest one. Each floe keeps the colour that it has in the "
        f"passes above; faint white arrows are the drift field. {show_number(shown)} of {show_number(number)} tracks are drawn."
    )
    speed, direction = _directions(run, moving)
    # A few wrong matches can be very fast: the axis ends where the hundredth part of the sightings begins.
    edges = np.linspace(0, max(float(np.percentile(speed, 99)) * 110, 0.1), 25)
    counts = np.histogram(speed * 100, edges)[0]
    return {
        "map": Figure(pictures.draw_map(view, layers, embed=False, label=label, dim=0.35), caption),
        "speeds": Figure(
            charts.bar_chart(
                edges,
                counts,
                x_name="drift speed, cm/s",
                y_name="sightings",
                label=f"Histogram of drift speed; median {np.median(speed) * 100:.1f} cm/s",
            ),
            f"Median {show_number(float(np.median(speed)) * 100)} cm/s, fastest {show_number(float(speed.max()) * 100)} cm/s.",
            "How fast",
        ),
        "rose": Figure(
            charts.rose(direction, label="Rose of drift directions"),
            "Directions towards which the floes went, from true north; area tells how often.",
            "Where to",
        ),
    }


def _largest_tracks(moving: pd.DataFrame, most: int) -> pd.DataFrame:
    """The tracks with most sightings."""
    sizes = moving.groupby("track_id").size().sort_values(ascending=False, kind="stable")
    return moving[moving["track_id"].isin(sizes.index[:most])]


def _base_pass(views: Mapping[str, pictures.Map], points: pd.DataFrame) -> str | None:
    """The latest pictured pass that has sightings among `points`."""
    have = set(points["pass_id"]) if len(points) else set()
    return next((pass_id for pass_id in reversed(list(views)) if pass_id in have), None)


def _forecast_figure(run: Run, views: Mapping[str, pictures.Map]) -> Figure | None:
    """The forecast over the pass that shows most floes apart: in a small view their ellipses may cover it all."""
    forecast, sightings = run.tables.forecast, run.tables.sightings
    if not len(forecast) or not len(sightings):
        return None
    start = sightings[sightings["track_id"].isin(forecast["track_id"])].groupby("track_id").tail(1)
    last = set(start["pass_id"])
    clear = {name: _clear_forecast(views[name], forecast, run.tables.crs) for name in reversed(list(views)) if name in last}
    base = max(clear, key=lambda name: len(clear[name]), default=None)
    if base is None or not len(clear[base]):
        return None
    view, rows = views[base], clear[base]
    horizon = float(rows["horizon_h"].iloc[0])
    layer = pictures.forecast_layer(view, rows, start, run.tables.crs)
    label = f"Forecast places of {len(rows)} floes {horizon:g} hours ahead with their ellipses"
    caption = (
        f"Where {len(rows)} of {show_number(forecast['track_id'].nunique())} floes are expected {horizon:g} h after the last pass: "
        "the surest ones whose ellipses do not cover each other. "
        "The inner ellipse should hold the floe in 68 of 100 cases, the outer one in 95."
    )
    return Figure(pictures.draw_map(view, [layer], embed=False, label=label, dim=0.5), caption)


def _clear_forecast(view: pictures.Map, forecast: pd.DataFrame, crs: str) -> pd.DataFrame:
    """Rows of one horizon whose ellipses do not cover each other: the horizon nearest to a day that shows 15 floes, or most."""
    best = forecast.iloc[:0]
    for horizon in sorted(forecast["horizon_h"].astype(float).unique(), key=lambda h: (abs(h - 24), h)):
        rows = forecast[np.isclose(forecast["horizon_h"].astype(float), horizon)].sort_values(["sigma_major_m", "track_id"], kind="stable")
        rows = rows.iloc[pictures.apart(view, rows, crs, most=60)]
        best = rows if len(rows) > len(best) else best
        if len(best) >= 15:
            break
    return best


def _size_figure(run: Run) -> Figure | None:
    diameters, least = [], 0.0
    for pass_id in run.order:
        areas = run.areas[pass_id][run.areas[pass_id] > 0]
        pixel_km = run.scenes[pass_id].grid.pixel_m / 1000
        diameters.append(2 * np.sqrt(areas / np.pi) * pixel_km)
        least = max(least, 2 * math.sqrt(LEAST_PX / math.pi) * pixel_km)
    d = np.concatenate([*diameters, np.zeros(0)])
    if len(d) < 3 or d.max() <= d.min():
        return None
    start = max(least, float(np.median(d)))
    exponent = charts.power_law(d, start)
    label = f"Sizes of {len(d)} floe sightings: number larger than a diameter, from {d.min():.2f} to {d.max():.1f} km"
    middle, largest = show_number(float(np.median(d))), show_number(float(d.max()))
    caption = f"{show_number(len(d))} sightings, the middle one {middle} km across, the largest {largest} km."
    if exponent is not None:
        caption += f" Above {show_number(start)} km the number falls about as diameter to the power \u2212{exponent:.1f} (dashed)."
    return Figure(charts.size_chart(d, start, exponent, label=label), caption, "How large")


_WORDS = {
    "segmentation.f1": "floes outlined, F1",
    "segmentation.pq": "panoptic quality",
    "segmentation.f1_over_classical": "floes outlined, F1 over the classical",
    "segmentation.mean_iou": "mean IoU of matched outlines",
    "segmentation.miou": "mean IoU of water, brash, floe",
    "segmentation.precision": "floes outlined, precision",
    "segmentation.recall": "floes outlined, recall",
    "matching.precision": "pairs, precision",
    "matching.recall": "pairs, recall",
    "tracking.idf1": "identity over all passes, IDF1",
    "tracking.hota": "tracks, HOTA",
    "drift.rmse_m": "drift error, m",
    "drift.rmse_m_s": "drift error, m/s",
    "forecast.rmse_m": "forecast error, m",
    "forecast.skill_over_position": "forecast, skill over staying put",
    "forecast.skill_over_velocity": "forecast, skill over last velocity",
}


def _criteria(gate: GateResult) -> list[dict[str, Any]]:
    rows = []
    for c in gate.criteria:
        sensor, _, name = c.metric.partition(".")
        limits = [f"{sign} {limit:g}" for sign, limit in (("≥", c.at_least), ("≤", c.at_most)) if limit is not None]
        verdict = "passed" if c.passed and c.value is not None else "not asked" if c.passed else "missing" if c.value is None else "failed"
        rows.append(
            {
                "sensor": sensor,
                "name": _WORDS.get(name, name),
                "metric": c.metric,
                "value": c.value,
                "limit": ", ".join(limits),
                "verdict": verdict,
            }
        )
    return rows


def _curves(model: Path) -> list[Figure]:
    """Charts of a model's history: one for each phase of training, its losses apart from its scores."""
    figures = []
    for phase, epochs in _phases(_read_json(model / "history.json")).items():
        x_name = next((name for name in ("epoch", "step") if all(name in e for e in epochs)), "epoch")
        names = dict.fromkeys(k for e in epochs for k, v in e.items() if k != x_name and _is_number(v))
        losses = [name for name in names if "loss" in name]
        scores = [name for name in names if name not in losses and all(0 <= e[name] <= 1 for e in epochs if _is_number(e.get(name)))]
        for kind, chosen in (("loss", losses), ("score", scores)):
            series = {
                name.replace("_", " "): [
                    (float(e.get(x_name, i)), float(e[name])) for i, e in enumerate(epochs, 1) if _is_number(e.get(name))
                ]
                for name in chosen[:4]
            }
            if any(len(points) > 1 for points in series.values()):
                title = f"{_model_name(model)}: {phase}, {kind}"
                best = {n: (min if kind == "loss" else max)(y for _, y in points) for n, points in series.items()}
                caption = "Best " + ", ".join(f"{n} {show_number(value)}" for n, value in best.items()) + "."
                figures.append(Figure(charts.line_chart(series, x_name=x_name, label=f"{title}. {caption}"), caption, title))
    return figures


_PHASES = {"pretrain": "pre-training", "pretraining": "pre-training", "train": "training", "epochs": "training"}


def _phases(history: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Phase of training → its epochs, from lists of epochs; those that name their `phase` are sorted by it."""
    phases: dict[str, list[dict[str, Any]]] = {}
    for name, epochs in history.items():
        if isinstance(epochs, list):
            for epoch in epochs:
                if isinstance(epoch, dict):
                    phase = str(epoch.get("phase", name))
                    phases.setdefault(_PHASES.get(phase, phase.replace("_", " ")), []).append(epoch)
    return phases


def _model_name(model: Path) -> str:
    """What a model is, from its config; its folder's name where that does not tell."""
    config = _read_json(model / "config.json")
    kind = str(config.get("kind", "")).removeprefix("icegraph-")
    words = f"{config.get('sensor', '')} {kind}".strip()
    return f"{words[0].upper()}{words[1:]}".replace("Sar ", "SAR ") if kind else model.name


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _model_row(model: Path) -> dict[str, str]:
    config, history = _read_json(model / "config.json"), _read_json(model / "history.json")
    told = [f"{key.replace('_', ' ')} {value}" for key, value in config.items() if _is_number(value) and key not in ("version",)][:5]
    if isinstance(config.get("bands"), list):
        told.insert(0, "bands " + ", ".join(map(str, config["bands"])))
    held = history.get("held_out")
    if isinstance(held, dict):
        figures = [f"{name.replace('_', ' ')} {show_number(value)}" for name, value in held.items() if _is_number(value)]
        told.append("on data held out in training: " + ", ".join(figures))
    return {"name": _model_name(model), "sha256": sha256(model), "about": "; ".join(told)}


def _parents(run: Run) -> list[dict[str, str]]:
    """Parents named by the scenes, each once."""
    rows = {}
    for pass_id in run.order:
        for parent in run.scenes[pass_id].item.properties.get("icegraph:parents", []):
            rows[pass_id, parent["name"]] = {"pass": pass_id, "name": parent["name"], "sha256": parent["sha256"]}
    return list(rows.values())


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError
