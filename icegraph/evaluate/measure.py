"""All figures of a run: each pass, then each sensor."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icegraph.evaluate.classical import count_classical
from icegraph.evaluate.drift import drift_errors, known_places, label_places
from icegraph.evaluate.forecast import hindcast
from icegraph.evaluate.matching import LinkCounts, count_links, links_within, right_links
from icegraph.evaluate.segmentation import (
    NO_FLOE_GROUND,
    SIZE_EDGES_PX,
    FloeCounts,
    class_metrics,
    count_classes,
    count_false_ground,
    count_floes,
    false_ground_metrics,
    matched,
    unknown_share,
)
from icegraph.evaluate.tables import TrackTables
from icegraph.evaluate.tracking import PassPairs, hota, idf1, pass_pairs
from icegraph.progress import Progress, silent
from icegraph.scene import Scene
from icegraph.truth import overlap

Point = tuple[float, float]


@dataclass(frozen=True)
class PassTruth:
    """One pass held against its truth.

    Args:
        counts: Floes known, found, matched.
        identities: Floe id → identity.
        pairs: Known floes and tracks.
        confusion: Of classes [3, 3], or None where the true classes are not known.
        false_ground: Pixels of no-floe ground [4, 2], or None.
        known: Identity → (x, y) of floes that are not cut, metres in the projection of the tracks.
        unscored: Share of found floes that the truth cannot judge.
    """

    counts: FloeCounts
    identities: dict[int, int]
    pairs: PassPairs
    confusion: NDArray[np.int64] | None
    false_ground: NDArray[np.int64] | None
    known: dict[int, Point]
    unscored: float


def measure(
    scenes: Mapping[str, Scene],
    segments: Mapping[str, Path],
    tables: TrackTables,
    truth: Mapping[str, Path],
    areas: Mapping[str, NDArray[np.int64]],
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compute the metrics of a run.

    Args:
        scenes: Pass id → scene.
        segments: Pass id → segment folder.
        tables: The tracks.
        truth: Pass id → label raster; passes without truth are described and not judged.
        areas: Pass id → pixels of each floe found (`segmentation.floe_areas_px`).
        progress: Is told what is being done and the share done.

    Returns:
        `passes` (pass id → its figures), `sensors` (sensor → `counts`, `segmentation`, `matching`, `tracking`, `drift`, `forecast`;
        a group that cannot be computed is left out). Matches between two sensors stand under `mixed`.
    """
    order = sorted(segments, key=lambda pass_id: (scenes[pass_id].time, pass_id))
    # Identities are the same in all passes of one folder of truth; other folders count theirs from 1 again.
    spaces = {folder: number << 32 for number, folder in enumerate(dict.fromkeys(truth[p].parent for p in order if p in truth))}
    judged = {}
    for number, pass_id in enumerate(order):
        if pass_id in truth:
            progress(f"comparing {pass_id} with its truth", 0.5 * number / len(segments))
            judged[pass_id] = _judge_pass(scenes[pass_id], segments[pass_id], truth[pass_id], tables, number, spaces[truth[pass_id].parent])
    sensor_of = {pass_id: scenes[pass_id].sensor for pass_id in order}
    sensors: dict[str, dict[str, Any]] = {}
    for sensor in dict.fromkeys(sensor_of.values()):
        own = [pass_id for pass_id in order if sensor_of[pass_id] == sensor]
        sensors[sensor] = {"counts": _describe(own, areas, tables)}
        known = [judged[pass_id] for pass_id in own if pass_id in judged]
        if known:
            sensors[sensor]["segmentation"] = _segmentation(known)
            progress(f"outlining {sensor} passes by a threshold", 0.5)
            classical = count_classical([scenes[pass_id] for pass_id in own if pass_id in judged], truth)
            sensors[sensor]["segmentation"] |= _against(sensors[sensor]["segmentation"], classical)
            if len(tables.sightings):
                sensors[sensor]["tracking"] = hota([p.pairs for p in known]) | idf1([p.pairs for p in known])
    if judged:
        for group, by_sensor in _link_figures(order, sensor_of, scenes, segments, judged, tables, areas).items():
            for sensor, figures in by_sensor.items():
                sensors.setdefault(sensor, {})[group] = figures
    passes = {pass_id: _pass_figures(scenes[pass_id], areas[pass_id], tables, judged.get(pass_id)) for pass_id in order}
    return {"passes": passes, "sensors": {name: {k: v for k, v in groups.items() if v} for name, groups in sensors.items()}}


def _judge_pass(scene: Scene, segment: Path, truth: Path, tables: TrackTables, number: int, space: int) -> PassTruth:
    """Compare one pass, the `number`-th of the run, with its truth; `space` is added to every identity."""
    labels, predicted = segment / "labels.tif", segment / "classes.tif"
    common = overlap(labels, truth, scene.grid)
    common = replace(common, known=common.known + space)
    stem = truth.name.removesuffix(".tif").removesuffix(".labels")
    classes, negatives = truth.with_name(f"{stem}.classes.tif"), truth.with_name(f"{stem}.negatives.tif")
    places = known_places(truth, scene.id, tables.crs or scene.grid.crs).whole()
    return PassTruth(
        counts=count_floes(common),
        identities=matched(common),
        pairs=pass_pairs(common, tables.track_of(scene.id), alone=number << 33),
        confusion=count_classes(predicted, classes, scene.grid) if classes.exists() and predicted.exists() else None,
        false_ground=count_false_ground(labels, negatives, scene.grid) if negatives.exists() else None,
        known={identity + space: place for identity, place in places.items()},
        unscored=unknown_share(common),
    )


def _describe(own: list[str], areas: Mapping[str, NDArray[np.int64]], tables: TrackTables) -> dict[str, float]:
    """Counts that need no truth."""
    here = tables.sightings[tables.sightings["pass_id"].isin(own)]
    lengths = here.groupby("track_id").size()
    return {
        "passes": len(own),
        "floes": sum(int((areas[pass_id] > 0).sum()) for pass_id in own),
        "tracks": int((lengths > 1).sum()),
        "longest_track": int(lengths.max()) if len(lengths) else 0,
    }


def _pass_figures(scene: Scene, areas: NDArray[np.int64], tables: TrackTables, judged: PassTruth | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "time": scene.time.isoformat(),
        "sensor": scene.sensor,
        "platform": str(scene.item.properties.get("platform", "")),
        "pixel_m": round(scene.grid.pixel_m, 3),
        "floes": int((areas > 0).sum()),
        "tracked": len(tables.track_of(scene.id, seen_again=True)),
    }
    if judged:
        figures["segmentation"] = _segmentation([judged])
    return figures


def _place_sigma(tables: TrackTables, scenes: Mapping[str, Scene], areas: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Uncertainty of each sighting's centroid, metres, as the tracker takes it."""
    from icegraph.track.drift import centroid_sigma_m

    sigma = np.zeros(len(tables.sightings))
    for pass_id, rows in tables.sightings.groupby("pass_id").indices.items():
        floes = tables.sightings["floe_id"].to_numpy(np.int64)[rows]
        pixel_m = scenes[pass_id].grid.pixel_m
        sigma[rows] = centroid_sigma_m(areas[pass_id][floes] * pixel_m**2, pixel_m)
    return sigma


def _segmentation(judged: list[PassTruth]) -> dict[str, Any]:
    counts = sum((one.counts for one in judged), FloeCounts())
    figures: dict[str, Any] = counts.metrics() | {"unscored_share": float(np.mean([one.unscored for one in judged]))}
    tables = [one.confusion for one in judged if one.confusion is not None]
    if tables:
        confusion = np.sum(tables, axis=0)
        figures |= class_metrics(confusion) | {"confusion": confusion.tolist()}
    ground = [one.false_ground for one in judged if one.false_ground is not None]
    if ground:
        pixels = np.sum(ground, axis=0)
        figures |= false_ground_metrics(pixels)
        figures["no_floe_ground"] = dict(zip(NO_FLOE_GROUND.values(), pixels.tolist(), strict=True))
    figures["by_size"] = [
        {"from_px": edge, "known": known, "found": hit}
        for edge, known, hit in zip(SIZE_EDGES_PX, counts.known_by_size, counts.matched_by_size, strict=True)
    ]
    return figures


def _against(figures: Mapping[str, Any], classical: FloeCounts | None) -> dict[str, float]:
    """F1 of the classical segmenter on the same passes, and what the run's is above it; empty where either is not defined."""
    baseline = classical.metrics() if classical else {}
    if "f1" not in baseline or "f1" not in figures:
        return {}
    return {"classical_f1": baseline["f1"], "f1_over_classical": figures["f1"] - baseline["f1"]}


def _link_figures(
    order: list[str],
    sensor_of: Mapping[str, str],
    scenes: Mapping[str, Scene],
    segments: Mapping[str, Path],
    judged: Mapping[str, PassTruth],
    tables: TrackTables,
    areas: Mapping[str, NDArray[np.int64]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Figures of `matching`, `drift` and `forecast` by sensor."""
    if not len(tables.sightings) and not tables.matches:
        return {}
    identities = {pass_id: one.identities for pass_id, one in judged.items()}
    links = [link for link in tables.matches if link.pass_from in judged and link.pass_to in judged]
    times = {pass_id: scenes[pass_id].time for pass_id in order}
    found = {pass_id: _whole_floes(segments[pass_id], scenes[pass_id], tables) for pass_id in order}
    known = {pass_id: one.known for pass_id, one in judged.items()}
    known_order = [pass_id for pass_id in order if pass_id in judged]
    matching, drift = {}, {}
    for sensor in dict.fromkeys(sensor_of[pass_id] for pass_id in known_order):
        own = [pass_id for pass_id in known_order if sensor_of[pass_id] == sensor]
        told = links_within(links, own)
        matching[sensor] = sum(count_links(told, identities, own).values(), LinkCounts()).metrics()
        drift[sensor] = drift_errors(right_links(told, identities), found, known, identities, times, tables.crs)
    crossing = [counts for (a, b), counts in count_links(links, identities, known_order).items() if sensor_of[a] != sensor_of[b]]
    if crossing:
        matching["mixed"] = sum(crossing, LinkCounts()).metrics()
        told = [link for link in links if sensor_of[link.pass_from] != sensor_of[link.pass_to]]
        drift["mixed"] = drift_errors(right_links(told, identities), found, known, identities, times, tables.crs)
    sighted = zip(tables.sightings["pass_id"], tables.sightings["floe_id"].astype(int), strict=True)
    cut = np.array([floe not in found[pass_id] for pass_id, floe in sighted], bool)
    forecast = hindcast(tables, known, identities, times, sensor_of, _place_sigma(tables, scenes, areas), cut)
    return {
        "matching": matching,
        "drift": {name: errors.metrics() for name, errors in drift.items()},
        "forecast": {name: errors.metrics() for name, errors in forecast.items()},
    }


def _whole_floes(segment: Path, scene: Scene, tables: TrackTables) -> dict[int, Point]:
    """Floe id → (x, y) as the tracks tell it, of floes that the edge of the pass does not cut."""
    if (segment / "floes.parquet").exists():
        import pandas as pd

        table = pd.read_parquet(segment / "floes.parquet", columns=["floe_id", "touches_edge"])
        whole = set(table["floe_id"][~table["touches_edge"].astype(bool)].astype(int).tolist())
    else:
        whole = set(label_places(segment / "labels.tif", scene.grid).whole())
    return {floe: point for floe, point in tables.places(scene.id).items() if floe in whole}
