"""Whole chains of stages on one machine: what the commands do."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icegraph.errors import InputError, PassError
from icegraph.ingest import ingest
from icegraph.progress import Progress
from icegraph.registry import SHIPPED, model_name, model_set
from icegraph.scene import scene_folders
from icegraph.store import Refusal, atomic_dir
from icegraph.truth import find_truth

RunPipeline = Callable[[str, dict[str, Any], Path, Path], dict[str, list[Path]]]
"""Runs the pipeline of a name with arguments, artifact root and log file; gives its outputs."""


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
    """

    name: str
    views: tuple[str, ...]
    size_km: float
    passes: int
    interval_h: float
    seed: int
    holdout: bool = False


def _fields(name: str, views: tuple[str, ...], size_km: float, interval_h: float, first_seed: int) -> list[Field]:
    """Five fields to train on, as different as seeds make them, one of them seen twice; and one, seen three times, to be judged by."""
    train = [Field(f"{name}-{k}", views, size_km, 2 if k == 0 else 1, interval_h, first_seed + k) for k in range(5)]
    return [*train, Field(f"{name}-test", views, size_km, 3, interval_h, first_seed + 5, holdout=True)]


FIELDS = (*_fields("sar", ("sar", "amsr2"), 18.0, 24.0, 1), *_fields("optical", ("optical",), 90.0, 12.0, 11))


def train_on_simulation(out: Path, seed: int, run: RunPipeline, progress: Progress, fields: Sequence[Field] = FIELDS, **steps: int) -> Path:
    """Simulate fields, train on some of them, evaluate on the others, and register what passes the gate.

    Args:
        out: Gets `simulation/`, `models/` and `training/`.
        seed: Of the simulation and the training.
        run: Runs a pipeline.
        progress: Is told where the simulation stands.
        fields: What to simulate.
        steps: `pretrain_steps`, `steps`, `matcher_steps` other than the pipeline's.

    Returns:
        Folder with report.html, metrics.json, gate.json, passes/, tracks/ and models/.
    """
    simulation = out / "simulation"
    simulate_fields(fields, simulation, seed, progress)
    arguments = {
        "passes": [str((simulation / field.name / "passes").resolve()) for field in fields],
        "truth": [str((simulation / field.name / "truth").resolve()) for field in fields if not field.holdout],
        "holdout": [str((simulation / field.name / "truth").resolve()) for field in fields if field.holdout],
        "registry": str((out / "models").resolve()),
        "seed": seed,
        **steps,
    }
    return _run_and_keep("sea_ice_training", arguments, out / "training", run)


def track_passes(
    passes: Sequence[Path], out: Path, model: str | None, truth: Sequence[Path], run: RunPipeline, max_speed_m_s: float = 1.0
) -> Path:
    """Run the tracking pipeline on passes.

    Args:
        passes: The passes.
        out: Gets `tracking/`; the models in its `models/` are used where no other is named.
        model: Name or folder of a model or a set of models.
        truth: Label rasters to hold the result against; may be empty.
        run: Runs a pipeline.
        max_speed_m_s: Fastest drift looked for.

    Returns:
        Folder with report.html, metrics.json, passes/ and tracks/.
    """
    models = model_set(model, (out / "models", SHIPPED))
    arguments = {
        "passes": [str(path) for path in passes],
        "segmenters": [str(path) for path in models.segmenters],
        "matcher": str(models.matcher),
        "truth": [str(path.resolve()) for path in truth],
        "max_speed_m_s": max_speed_m_s,
    }
    return _run_and_keep("sea_ice_tracking", arguments, out / "tracking", run)


def simulate_fields(fields: Sequence[Field], out: Path, seed: int, progress: Progress) -> None:
    """Simulate fields, side by side where there are cores for it."""
    from icegraph.simulate import simulate

    with ProcessPoolExecutor(max_workers=min(len(fields), os.cpu_count() or 1)) as pool:
        jobs = {
            pool.submit(
                simulate,
                out / field.name,
                seed=seed * 1000 + field.seed,
                size_km=field.size_km,
                passes=field.passes,
                interval_h=field.interval_h,
                views=field.views,
            ): field
            for field in fields
        }
        for number, job in enumerate(as_completed(jobs), 1):
            job.result()
            progress(f"simulate: {jobs[job].name}", number / len(jobs))


def segment_passes(passes: Sequence[Path], out: Path, model: str | None, progress: Progress) -> tuple[list[Refusal], dict[str, int]]:
    """Find the floes of each pass: `out/<pass id>/` with labels.tif, floes.parquet, item.json and scene/.

    Args:
        passes: The passes.
        out: Folder to write to.
        model: Name or folder of a model or a set of models.
        progress: Is told where it stands.

    Returns:
        The passes refused, and pass id → number of floes.

    Raises:
        InputError: Nothing could be segmented.
    """
    from icegraph.calibrate import calibrate
    from icegraph.fuse import fuse
    from icegraph.graph import read_floes, write_floes
    from icegraph.segment import model_for, segment

    models = model_set(model).segmenters
    counts: dict[str, int] = {}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as work:
        manifest = ingest(passes, Path(work))
        refused: list[Refusal] = []
        entries = manifest.require_scenes()
        for number, entry in enumerate(entries):
            progress(f"segment: {entry.id}", number / len(entries))
            try:
                calibrated = calibrate(entry, Path(work) / "calibrated")
            except PassError as error:
                refused.append(Refusal(str(entry.href), str(error)))
                continue
            scene = fuse(calibrated, manifest.partners, Path(work) / "scene")
            with atomic_dir(out / entry.id) as fresh:
                segment(scene, model_for(scene, models), fresh)
                counts[entry.id] = len(read_floes(write_floes(fresh, scene)))
                shutil.copytree(scene.folder, fresh / "scene")
    if not counts:
        manifest.model_copy(update={"passes": []}).refusing(refused).require_scenes()
    return [*(Refusal(str(early.path), early.reason) for early in manifest.refused), *refused], counts


def track_folder(folder: Path, out: Path, model: str | None, max_speed_m_s: float) -> None:
    """Follow the floes of the segmented passes in `folder`."""
    from icegraph.graph import build_graph
    from icegraph.track.follow import track

    passes = scene_folders([folder])
    if not passes:
        raise InputError(folder, "holds no segmented pass", "name the folder that `icegraph segment` wrote")
    matcher = model_set(model).matcher
    with tempfile.TemporaryDirectory(prefix="icegraph-") as work:
        build_graph(list(passes.values()), Path(work) / "graph", max_speed_m_s=max_speed_m_s)
        track(Path(work) / "graph", matcher, out)


def evaluate_folder(folder: Path, truth: Sequence[Path], out: Path, tracks: Path | None) -> Mapping[str, Any]:
    """Hold the segmented passes in `folder` (and their tracks) against known floes; writes the report to `out`."""
    from icegraph.evaluate import evaluate

    root = folder / "passes" if (folder / "passes").is_dir() else folder
    followed = tracks or next((place for place in (folder / "tracks",) if place.is_dir()), None)
    passes, known = scene_folders([root]), find_truth(truth)
    shown = {pass_id: place for pass_id, place in passes.items() if pass_id in known}
    if not shown:
        raise InputError(folder, f"none of its passes ({', '.join(passes) or 'none'}) is among the labels", "check the pass ids")
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
    log = place.with_suffix(".log")
    with atomic_dir(place) as fresh:
        outputs = run(pipeline, arguments, fresh / "work", log)
        for name, (source,) in {"passes": outputs["floes"], "tracks": outputs["tracks"], "results": outputs["results"]}.items():
            source.replace(fresh / name)
        for model in [*outputs.get("segmenters", []), *outputs.get("matcher", [])]:
            model.replace(_made(fresh / "models") / model_name(model))
        for pass_id, scene in scene_folders(outputs["scenes"]).items():
            scene.replace(fresh / "passes" / pass_id / "scene")
        for file in (fresh / "results").iterdir():
            file.replace(fresh / file.name)
        (fresh / "results").rmdir()
        log.replace(fresh / "run.log")
        shutil.rmtree(fresh / "work")
    return place


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
