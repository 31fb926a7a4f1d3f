"""Whole chains of stages on one machine: what the commands do."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icegraph.calibrate.settings import Radar, RadarSettings
from icegraph.errors import InputError, ModelError, PassError
from icegraph.ingest import Manifest, ingest
from icegraph.ingest.manifest import Pass
from icegraph.orphans import end_with_parent
from icegraph.progress import Progress
from icegraph.registry import SHIPPED, model_name, model_set
from icegraph.scene import Scene, link_or_copy, scene_folders
from icegraph.store import Refusal, atomic_dir, folder_beside, sha256
from icegraph.truth import IGNORE, find_truth, read_labels

if TYPE_CHECKING:
    from icegraph.segment import Engine

RunPipeline = Callable[[str, dict[str, Any], Path, Path], dict[str, list[Path]]]
"""Runs the pipeline of a name with arguments, artifact root and log file; gives its outputs."""


LOG = "run.log"
REGISTERED = "registered.json"


@dataclass(frozen=True)
class Field:
    """A field that `icegraph run` simulates.

    Args:
        name: Its folder.
        views: What looks at it.
        size_km: Its side.
        passes: How many passes over it.
        interval_h: Hours between them.
        seed: Added to the run's seed.
        holdout: Kept from training, for evaluation.
        ice: Settings of the ice that do not come from the seed; see `icegraph.simulate.field.Settings`.
    """

    name: str
    views: tuple[str, ...]
    size_km: float
    passes: int
    interval_h: float
    seed: int
    holdout: bool = False
    ice: Mapping[str, Any] = field(default_factory=dict)


def simulated_fields(number: int = 8) -> list[Field]:
    """For radar and for optical: `number` fields to train on, and one to be judged by, whose kind of ice is the seed's choice.

    The fields to train on take the kinds of ice in turn, and every third has a giant floe. The first is seen twice, so that the matcher
    has a real pair to learn from; the one to be judged by is seen three times.
    """
    from icegraph.simulate.field import REGIMES

    fields = []
    for name, views, size_km, interval_h, seed in (
        ("sar", ("sar", "amsr2"), 14.0, 24.0, 1000),
        ("optical", ("optical",), 90.0, 12.0, 2000),
    ):
        for k in range(number):
            ice = {"regime": REGIMES[k % len(REGIMES)]} | ({"largest": 0.5} if k % 3 == 2 else {})
            fields.append(Field(f"{name}-{k}", views, size_km, 2 if k == 0 else 1, interval_h, seed + k, ice=ice))
        fields.append(Field(f"{name}-test", views, size_km, 3, interval_h, seed + 500, holdout=True))
    return fields


def known_segmenters() -> list[Path]:
    """The shipped models that training on a laptop goes on from.

    Radar takes longer to learn than a laptop's run lasts. An optical model begins anew: the longer it learns from simulated scenes, the
    less it knows of real ones.
    """
    return [place for place in (SHIPPED / "segmenter-sar",) if place.is_dir()]


def train_on_simulation(
    out: Path, seed: int, run: RunPipeline, progress: Progress, fields: Sequence[Field], start: Sequence[Path] = (), **settings: float
) -> Path:
    """Simulate fields, train on some of them, evaluate on the others, and register what passes the gate.

    Args:
        out: Gets `simulation/`, `models/` and `training/`.
        seed: Of the simulation and the training.
        run: Runs a pipeline.
        progress: Is told where the simulation stands.
        fields: What to simulate.
        start: Segmenters to go on from, at most one a sensor; the others begin with random weights.
        settings: `pretrain_steps`, `steps`, `matcher_steps`, `max_speed_m_s` other than the pipeline's.

    Returns:
        Folder with report.html, metrics.json, gate.json, passes/, tracks/ and models/.
    """
    simulation = own_folder(out / "simulation", f"{fields[0].name}/simulation.json")
    own_folder(out / "training", LOG)
    simulate_fields(fields, simulation, seed, progress)
    arguments = {
        "passes": [str((simulation / field.name / "passes").resolve()) for field in fields],
        "truth": [str((simulation / field.name / "truth").resolve()) for field in fields if not field.holdout],
        "holdout": [str((simulation / field.name / "truth").resolve()) for field in fields if field.holdout],
        "registry": str((out / "models").resolve()),
        "start": [str(place.resolve()) for place in start],
        "seed": seed,
        **settings,
    }
    return _run_and_keep("sea_ice_training", arguments, out / "training", run)


def track_passes(
    passes: Sequence[Path],
    out: Path,
    model: str | None,
    truth: Sequence[Path],
    run: RunPipeline,
    max_speed_m_s: float = 1.0,
    radar: Radar | None = None,
) -> Path:
    """Run the tracking pipeline on passes.

    Args:
        passes: The passes.
        out: Gets `tracking/`; the models in its `models/` are used where no other is named.
        model: Name or folder of a model or a set of models.
        truth: Label rasters to hold the result against; may be empty.
        run: Runs a pipeline.
        max_speed_m_s: Fastest drift looked for.
        radar: What to make of Sentinel-1 products (`icegraph.calibrate.RadarSettings`).

    Returns:
        Folder with report.html, metrics.json, passes/ and tracks/.

    Raises:
        ModelError: There are no models; those that did not pass the gate are named.
    """
    models = model_set(model, (out / "models", SHIPPED))
    failed = out / "training" / "models"
    if not models.places and failed.is_dir():
        raise ModelError(
            failed, "these models did not pass the gate and there are no others", f"use them as they are with --model {failed}"
        )
    own_folder(out / "tracking", LOG)
    if truth:
        find_truth(truth)  # a wrong path is told now, not after the work
    arguments = {
        "passes": [str(path) for path in passes],
        "segmenters": [str(path) for path in models.segmenters],
        "matcher": str(models.matcher),
        "truth": [str(path.resolve()) for path in truth],
        "max_speed_m_s": max_speed_m_s,
        "radar": dict(radar or {}),
    }
    return _run_and_keep("sea_ice_tracking", arguments, out / "tracking", run)


def simulate_fields(fields: Sequence[Field], out: Path, seed: int, progress: Progress) -> None:
    """Simulate fields, side by side where there are cores for it; `out` appears, whole, at the end."""
    from icegraph.simulate import simulate

    workers = min(len(fields), os.cpu_count() or 1)
    with atomic_dir(out) as fresh, ProcessPoolExecutor(max_workers=workers, initializer=_leave_signals_to_parent) as pool:
        try:
            jobs = {
                pool.submit(
                    simulate,
                    fresh / field.name,
                    seed=seed * 10_000 + field.seed,
                    size_km=field.size_km,
                    passes=field.passes,
                    interval_h=field.interval_h,
                    views=field.views,
                    ice=field.ice,
                ): field
                for field in fields
            }
            for number, job in enumerate(as_completed(jobs), 1):
                job.result()
                progress(f"simulate: {jobs[job].name}", number / len(jobs))
        except BrokenProcessPool as error:
            raise InputError("simulation", "one of its processes was killed, perhaps for want of memory", "close other programs") from error
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.kill()
            raise


def _leave_signals_to_parent() -> None:
    """A worker is ended by its parent: Ctrl-C in a terminal reaches both, and one sentence is enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def calibrate_passes(passes: Sequence[Path], out: Path, radar: Radar, progress: Progress) -> tuple[list[Refusal], list[Scene]]:
    """Calibrate each pass into `out/<pass id>/`.

    Args:
        passes: The passes.
        out: Folder to write to.
        radar: What to make of Sentinel-1 products (`icegraph.calibrate.RadarSettings`).
        progress: Is told where it stands.

    Returns:
        The passes refused, and the scenes.

    Raises:
        InputError: Nothing could be calibrated.
    """
    from icegraph.calibrate import calibrate

    settings = RadarSettings.parse(radar)
    scenes: list[Scene] = []
    refused: list[Refusal] = []
    _require_folder(out)
    with folder_beside(out / "work") as work:
        manifest = ingest(passes, work)
    entries = manifest.require_scenes()
    for entry in entries:
        own_folder(out / entry.id, "valid.tif")
    for number, entry in enumerate(entries):
        progress(f"calibrate: {entry.id}", number / len(entries))
        try:
            scenes.append(calibrate(entry, out / entry.id, settings))
        except PassError as error:
            refused.append(Refusal(str(entry.href), str(error)))
    if not scenes:
        manifest.model_copy(update={"passes": []}).refusing(refused).require_scenes()
    return [*manifest.refused, *refused], scenes


def segment_passes(
    passes: Sequence[Path],
    out: Path,
    model: str | None,
    progress: Progress,
    radar: Radar | None = None,
    min_confidence: float | None = None,
) -> tuple[list[Refusal], dict[str, int]]:
    """Find the floes of each pass: `out/<pass id>/` with labels.tif, floes.parquet, item.json and scene/.

    Args:
        passes: The passes.
        out: Folder to write to.
        model: Name or folder of a model or a set of models.
        progress: Is told where it stands.
        radar: What to make of Sentinel-1 products (`icegraph.calibrate.RadarSettings`).
        min_confidence: Drop floes of a lower mean floe probability; default: what the model's rule says.

    Returns:
        The passes refused, and pass id → number of floes.

    Raises:
        InputError: Nothing could be segmented.
    """
    settings = RadarSettings.parse(radar or {})
    models = model_set(model).segmenters
    counts: dict[str, int] = {}
    _require_folder(out)
    with folder_beside(out / "work") as work:
        manifest = ingest(passes, work)
        refused: list[Refusal] = []
        entries = manifest.require_scenes()
        for entry in entries:
            own_folder(out / entry.id, "item.json")
        for number, scene in enumerate(_scenes(manifest, work, refused, settings)):
            progress(f"segment: {scene.id}", number / len(entries))
            counts[scene.id] = _segment_scene(scene, models, out / scene.id, min_confidence)
    if not counts:
        manifest.model_copy(update={"passes": []}).refusing(refused).require_scenes()
    return [*manifest.refused, *refused], counts


def segment_pass(entry: Pass, partners: Sequence[Pass], models: Sequence[Path], work: Path, out: Path) -> int:
    """Find the floes of one pass; `out`, with labels.tif, floes.parquet, item.json and scene/, appears whole at the end.

    Args:
        entry: The pass.
        partners: AMSR2 data.
        models: Segmenters.
        work: A folder for what lies between.
        out: The result.

    Returns:
        The number of floes.

    Raises:
        PassError: The pass cannot be used.
        ModelError: No model fits it.
    """
    from icegraph.calibrate import calibrate
    from icegraph.fuse import fuse

    return _segment_scene(fuse(calibrate(entry, work / "calibrated"), partners, work / "scene"), models, out)


def _segment_scene(scene: Scene, models: Sequence[Path], out: Path, min_confidence: float | None = None) -> int:
    from icegraph.graph import read_floes, write_floes
    from icegraph.segment import model_for, segment

    with atomic_dir(out) as fresh:
        segment(scene, model_for(scene, models), fresh, min_confidence=min_confidence)
        count = len(read_floes(write_floes(fresh, scene)))
        shutil.copytree(scene.folder, fresh / "scene", copy_function=link_or_copy)
    return count


def open_raster(raster: Path, model: str | None, work: Path) -> tuple[Scene, "Engine", str]:
    """A raster as a scene, and the segmenter that reads it.

    Args:
        raster: A pass.
        model: Name or folder of a model or a set of models.
        work: Gets the scene.

    Returns:
        The scene, what predicts it, and that one's version: its name and the first digits of its SHA-256.

    Raises:
        InputError: It is not one pass, or cannot be used.
        ModelError: No model fits it.
    """
    from icegraph.calibrate import calibrate
    from icegraph.fuse import fuse
    from icegraph.segment import Engine, load_segmenter, model_for

    models = model_set(model).segmenters
    manifest = ingest([raster], work)
    entry = manifest.require_scenes()[0]
    scene = fuse(calibrate(entry, work / "calibrated"), manifest.partners, work / "scene")
    chosen = model_for(scene, models)
    return scene, Engine(load_segmenter(chosen)), f"{model_name(chosen)} {sha256(chosen)[:12]}"


def train_segmenter(passes: Sequence[Path], truth: Sequence[Path], out: Path, progress: Progress, **settings: Any) -> list[Refusal]:
    """Train a segmenter on passes, of which some have known floes; the others serve pre-training.

    Args:
        passes: Passes of one sensor.
        truth: Label rasters, or folders of them (see `icegraph.truth`).
        out: The model's folder.
        progress: Is told where it stands.
        **settings: Further arguments of `icegraph.segment.train.fit_segmenter`.

    Returns:
        The passes refused.

    Raises:
        InputError: Nothing can be learnt from, or the passes are of several sensors.
    """
    from icegraph.segment.train import fit_segmenter

    own_folder(out, "config.json")
    with folder_beside(out.with_name(f"{out.name}-scenes")) as work:
        manifest = ingest(passes, work)
        refused: list[Refusal] = []
        manifest.require_scenes()
        scenes = [Scene.open(_kept(scene, work / "all" / scene.id)) for scene in _scenes(manifest, work, refused)]
        if not scenes:
            manifest.model_copy(update={"passes": []}).refusing(refused).require_scenes()
        sensors = sorted({scene.sensor for scene in scenes})
        if len(sensors) > 1:
            raise InputError(", ".join(map(str, passes)), f"are of {' and '.join(sensors)}", "train a model for each kind of sensor")
        fit_segmenter([scene.folder for scene in scenes], find_truth(truth), out, sensor=sensors[0], progress=progress, **settings)
    return [*manifest.refused, *refused]


def train_matcher(passes: Sequence[Path], truth: Sequence[Path], out: Path, progress: Progress, *, steps: int, seed: int) -> list[Refusal]:
    """Train a matcher on the known floes of passes, as they were drawn.

    Args:
        passes: Passes, in one or several seas.
        truth: Label rasters, or folders of them (see `icegraph.truth`); a floe has one number in all rasters of a folder.
        out: The model's folder.
        progress: Is told where it stands.
        steps: Training steps.
        seed: Of all that is random.

    Returns:
        The passes refused.

    Raises:
        InputError: No pass has known floes.
    """
    from icegraph.graph import build_graph, read_floes
    from icegraph.track.fit import fit_matcher

    own_folder(out, "config.json")
    known = find_truth(truth)
    with folder_beside(out.with_name(f"{out.name}-scenes")) as work:
        manifest = ingest(passes, work)
        refused: list[Refusal] = []
        taught: dict[str, dict[int, int]] = {}
        for scene in _scenes(manifest, work, refused):
            if scene.id in known:
                floes = read_floes(_drawn_floes(scene, known[scene.id], work / "drawn" / scene.id))["floe_id"]
                taught[scene.id] = {int(floe): int(floe) for floe in floes}
        if not taught:
            raise InputError(", ".join(map(str, passes)), "no pass has known floes", "give the truth of at least one")
        build_graph([work / "drawn" / name for name in sorted(taught)], work / "graph")
        fit_matcher(work / "graph", taught, out, steps=steps, seed=seed, progress=progress)
    return [*manifest.refused, *refused]


def _drawn_floes(scene: Scene, truth: Path, place: Path) -> Path:
    """Floe table of a scene whose floes are those of a label raster."""
    from icegraph.graph import write_floes
    from icegraph.grid import Window
    from icegraph.scene import write_band

    place.mkdir(parents=True)
    labels = read_labels(truth, scene.grid)
    with write_band(place / "labels.tif", scene.grid, "uint32") as writer:
        writer.write(Window(0, 0, *scene.grid.shape), np.where(labels == IGNORE, 0, labels).astype(np.uint32))
    return write_floes(place, scene)


def _scenes(manifest: Manifest, work: Path, refused: list[Refusal], radar: RadarSettings | None = None) -> Iterator[Scene]:
    """Each pass, calibrated and fused, in a folder that the next one takes; those that cannot be used are added to `refused`."""
    from icegraph.calibrate import calibrate
    from icegraph.fuse import fuse

    for entry in manifest.require_scenes():
        try:
            calibrated = calibrate(entry, work / "calibrated", radar)
        except PassError as error:
            refused.append(Refusal(str(entry.href), str(error)))
            continue
        yield fuse(calibrated, manifest.partners, work / "scene")


def _kept(scene: Scene, place: Path) -> Path:
    return Path(shutil.copytree(scene.folder, place, copy_function=link_or_copy))


def track_folder(folder: Path, out: Path, model: str | None, max_speed_m_s: float) -> None:
    """Follow the floes of the segmented passes in `folder`."""
    from icegraph.graph import build_graph
    from icegraph.track.follow import track

    passes = scene_folders([folder])
    if not passes:
        raise InputError(folder, "holds no segmented pass", "name the folder that `icegraph segment` wrote")
    matcher = model_set(model).matcher
    with folder_beside(own_folder(out, "tracks.parquet")) as work:
        build_graph(
            list(passes.values()),
            work / "graph",
            scenes={pass_id: place / "scene" for pass_id, place in passes.items()},
            max_speed_m_s=max_speed_m_s,
        )
        track(work / "graph", matcher, out)


def evaluate_folder(folder: Path, truth: Sequence[Path], out: Path, tracks: Path | None) -> Mapping[str, Any]:
    """Hold the segmented passes in `folder` (and their tracks) against known floes; writes the report to `out`."""
    from icegraph.evaluate import evaluate

    root = folder / "passes" if (folder / "passes").is_dir() else folder
    followed = tracks or next((place for place in (folder / "tracks",) if place.is_dir()), None)
    passes, known = scene_folders([root]), find_truth(truth)
    if not passes:
        raise InputError(folder, "holds no segmented pass", "name the folder that `icegraph segment` or `icegraph run` wrote")
    if tracks is not None and not (tracks / "tracks.parquet").is_file():
        raise InputError(tracks, "holds no tracks.parquet", "name the folder that `icegraph track` wrote")
    shown = {pass_id: place for pass_id, place in passes.items() if pass_id in known}
    if not shown:
        raise InputError(
            folder, f"none of its passes ({', '.join(passes)}) is among the labels of {', '.join(known)}", "name each <pass id>.labels.tif"
        )
    return evaluate(
        out,
        scenes={pass_id: place / "scene" for pass_id, place in shown.items()},
        segments=shown,
        tracks=followed,
        truth={pass_id: known[pass_id] for pass_id in shown},
    )


def _run_and_keep(pipeline: str, arguments: dict[str, Any], place: Path, run: RunPipeline) -> Path:
    """Run a pipeline and keep of its artifacts what a person wants: the results, the passes, the tracks."""
    place.parent.mkdir(parents=True, exist_ok=True)
    log = place.with_suffix(".log")  # stays there where the run fails
    with atomic_dir(place) as fresh:
        outputs = run(pipeline, arguments, fresh / "work", log)
        for name, (source,) in {"passes": outputs["floes"], "tracks": outputs["tracks"], "results": outputs["results"]}.items():
            source.replace(fresh / name)
        for model in [*outputs.get("segmenters", []), *outputs.get("matcher", [])]:
            model.replace(_made(fresh / "models") / model_name(model))
        for folder in outputs.get("registered", []):
            (folder / REGISTERED).replace(fresh / REGISTERED)
        for pass_id, scene in scene_folders(outputs["scenes"]).items():
            scene.replace(fresh / "passes" / pass_id / "scene")
        for file in (fresh / "results").iterdir():
            file.replace(fresh / file.name)
        (fresh / "results").rmdir()
        log.replace(fresh / LOG)
        shutil.rmtree(fresh / "work")
    return place


def own_folder(place: Path, sign: str) -> Path:
    """`place`, where a command may write a folder anew: nothing is there, or what the same command left, which has the file `sign`."""
    _require_folder(place)
    if place.is_dir() and any(place.iterdir()) and not (place / sign).exists():
        raise InputError(place, "is there already and holds other files, which would be lost", "name another folder with --out")
    return place


def _require_folder(place: Path) -> None:
    """Raises InputError where a file is in the way."""
    for path in (place, *place.parents):
        if path.exists() and not path.is_dir():
            raise InputError(path, "is a file, where a folder is to be written", "name another folder with --out")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
