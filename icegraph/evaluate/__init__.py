"""Metrics of a run, the quality gate, and the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from icegraph.errors import InputError
from icegraph.evaluate.gate import THRESHOLDS, GateResult, check_gate, confusion, flat_metrics
from icegraph.progress import Progress, silent
from icegraph.store import atomic_path

__all__ = ["THRESHOLDS", "GateResult", "check_gate", "confusion", "evaluate", "flat_metrics"]


def evaluate(
    out: Path,
    *,
    scenes: Mapping[str, Path],
    segments: Mapping[str, Path],
    tracks: Path | None,
    truth: Mapping[str, Path],
    models: Sequence[Path] = (),
    manifest: Path | None = None,
    thresholds: Path = THRESHOLDS,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure a run, hold it against the gate, and write `metrics.json`, `gate.json` and `report.html` into `out`.

    Args:
        out: Folder for the three files; others in it are left alone.
        scenes: Pass id → scene folder.
        segments: Pass id → segment folder; each needs its scene.
        tracks: Tracks folder, or None; what it says of other passes than `segments` is left out.
        truth: Pass id → label raster, for the passes whose floes are known; may be empty.
        models: Model folders that made the run.
        manifest: `manifest.json` of the raw files, or None.
        thresholds: The gate's thresholds.
        progress: Is told what is being done and the share done.

    Returns:
        What `metrics.json` holds: `passes` (by pass id), `sensors` (by sensor: `counts`, `segmentation`, `matching`, `tracking`, `drift`,
        `forecast`, as far as they can be computed) and `gate_passed`.

    Raises:
        InputError: A segment has no scene, a label raster does not fit its pass, or an input cannot be read.
    """
    from icegraph.evaluate.expectations import check_run
    from icegraph.evaluate.measure import measure
    from icegraph.evaluate.report import Run, headline, render
    from icegraph.evaluate.segmentation import floe_areas_px
    from icegraph.evaluate.tables import read_tracks
    from icegraph.scene import Scene
    from icegraph.store import code_version
    from icegraph.truth import require_labels

    lonely = sorted(set(segments) - set(scenes))
    if lonely:
        raise InputError(
            segments[lonely[0]], f"no scene is given for the pass {lonely[0]}", "give the scene folder of every segmented pass"
        )
    opened = {pass_id: Scene.open(scenes[pass_id]) for pass_id in segments}
    areas = {pass_id: floe_areas_px(folder / "labels.tif", opened[pass_id].grid) for pass_id, folder in segments.items()}
    for pass_id, place in truth.items():
        require_labels(place, opened[pass_id].grid)
    tables = read_tracks(tracks).among(segments)
    metrics = measure(opened, segments, tables, truth, areas, progress)
    gate = check_gate(metrics, thresholds)
    metrics |= {"gate_passed": gate.passed, "code_version": code_version()}
    progress("drawing the report", 0.5)
    run = Run(metrics, gate, opened, segments, areas, tables, models, _read_manifest(manifest), check_run(opened, segments))
    metrics["headline"] = [asdict(card) for card in headline(run)]
    page = render(run)
    for name, text in (("metrics.json", _json(metrics)), ("gate.json", _json(gate.as_dict())), ("report.html", page)):
        with atomic_path(out / name) as beside:
            beside.write_text(text, encoding="utf-8")
    return metrics


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _read_manifest(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(path, f"the manifest cannot be read ({error})", "name the manifest.json that ingest wrote") from error
    if not isinstance(manifest, dict):
        raise InputError(path, "the manifest is not a JSON object", "name the manifest.json that ingest wrote")
    return manifest
