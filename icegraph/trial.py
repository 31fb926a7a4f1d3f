"""Models on trial: the pinned evaluation set through the whole chain, from scenes to figures.

An evaluation set is a folder with `scenes/<pass id>/`, which are fused, and `truth/<n>/`, their label rasters with what lies beside them,
one folder for each that identities are counted in.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from icegraph.errors import InputError, WorseModelError
from icegraph.evaluate import check_gate, flat_metrics
from icegraph.places import delivered
from icegraph.progress import Progress, silent
from icegraph.registry import SHIPPED, ModelSet, Registry, Version, judged_models, model_name, model_set
from icegraph.registry.lifecycle import Judge, Verdict, bring_champion, promote
from icegraph.registry.registry import DATABASE
from icegraph.registry.trail import CHAMPION
from icegraph.scene import Scene, link_or_copy, scene_folders
from icegraph.store import atomic_dir, folder_beside
from icegraph.truth import find_truth


def write_evaluation_set(scenes: Mapping[str, Path], truth: Mapping[str, Path], out: Path) -> None:
    """Gather what models are tried on; `out` appears, whole, at the end.

    Args:
        scenes: Pass id → folder of a fused scene; those without truth are left out.
        truth: Pass id → label raster.
        out: Becomes the evaluation set.

    Raises:
        InputError: No scene has truth.
    """
    known = sorted(set(scenes) & set(truth))
    if not known:
        raise InputError("evaluation set", "no scene has known floes", "give the truth of at least one of the scenes")
    spaces = sorted({truth[pass_id].parent for pass_id in known})
    with atomic_dir(out) as folder:
        for pass_id in known:
            shutil.copytree(scenes[pass_id], folder / "scenes" / pass_id, copy_function=link_or_copy)
            space = folder / "truth" / str(spaces.index(truth[pass_id].parent))
            space.mkdir(parents=True, exist_ok=True)
            stem = truth[pass_id].name.removesuffix(".tif").removesuffix(".labels")
            beside = [truth[pass_id].with_name(f"{stem}{end}") for end in (".classes.tif", ".negatives.tif", ".json")]
            for file in (truth[pass_id], *beside, truth[pass_id].with_name("floes.parquet")):
                if file.is_file() and not (space / file.name).exists():
                    link_or_copy(file, space / file.name)


def try_models(models: ModelSet, evaluation: Path, work: Path, progress: Progress = silent) -> Verdict:
    """Run an evaluation set through the chain.

    Args:
        models: What finds and matches the floes; scenes of a sensor without a segmenter are left out.
        evaluation: An evaluation set.
        work: Gets `segments/`, `graph/`, `tracks/` and `results/`.
        progress: Is told where it stands.

    Raises:
        InputError: It holds no scene of a sensor that there is a segmenter for.
    """
    from icegraph.evaluate import evaluate
    from icegraph.graph import build_graph, write_floes
    from icegraph.segment import read_config, segment_all
    from icegraph.track.follow import NothingToTrackError, track

    sensors = {read_config(model).sensor for model in models.segmenters}
    scenes = {pass_id: place for pass_id, place in scene_folders([evaluation / "scenes"]).items() if Scene.open(place).sensor in sensors}
    if not scenes:
        raise InputError(evaluation, f"holds no scene of {', '.join(sorted(sensors))}", "pin an evaluation set that has some")
    truth = {pass_id: place for pass_id, place in find_truth(sorted((evaluation / "truth").iterdir())).items() if pass_id in scenes}
    segment_all(scenes, models.segmenters, work / "segments", progress=progress)
    segments = {pass_id: work / "segments" / pass_id for pass_id in scenes}
    for pass_id, place in segments.items():
        write_floes(place, Scene.open(scenes[pass_id]))
    build_graph(list(segments.values()), work / "graph", scenes=scenes)
    tracks: Path | None = work / "tracks"
    try:
        track(work / "graph", models.matcher, work / "tracks")
    except NothingToTrackError:
        tracks = None
    figures = evaluate(work / "results", scenes=scenes, segments=segments, tracks=tracks, truth=truth, progress=progress)
    gate = check_gate(figures)
    return Verdict(flat_metrics(figures), tuple(criterion.metric for criterion in gate.criteria if not criterion.passed))


def register_trained(
    models: Sequence[Path],
    place: str,
    results: Path,
    scenes: Mapping[str, Path],
    truth: Mapping[str, Path],
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Track models that were trained, and where they passed the gate register them and make them champions if they are better.

    Args:
        models: Model folders.
        place: The registry: a folder's path or address, or an MLflow server's.
        results: What `icegraph.evaluate` wrote of them: `metrics.json` and `gate.json`.
        scenes: Pass id → folder of a fused scene.
        truth: Pass id → label raster of the passes that they were judged by; the evaluation set, where none is pinned.
        progress: Is told where it stands.

    Returns:
        For each model its `name`, `version` (digits, or None), whether it is the `champion`, and what is `told` of it.

    Raises:
        RegistryError: The registry fails; the same call goes on where it stopped.
    """
    figures = flat_metrics(json.loads((results / "metrics.json").read_text()))
    gate = json.loads((results / "gate.json").read_text())
    verdict = Verdict(figures, tuple(one["metric"] for one in gate["criteria"] if not one["passed"]))
    judged = judged_models(models, gate) if gate["passed"] else []
    with registry_at(place) as (registry, in_use), tempfile.TemporaryDirectory() as work:
        if judged and registry.pinned() is None:
            write_evaluation_set(scenes, truth, Path(work, "evaluation-set"))
            registry.pin(Path(work, "evaluation-set"))
        outcomes = []
        first = {model_name(model) for model in judged if registry.champion(model_name(model)) is None}
        for number, model in enumerate(models):
            progress(f"register {model_name(model)}", number / len(models))
            if model in judged:
                version = registry.register(model, model_name(model), figures, gate)
                measured = _measured(verdict) if model_name(model) in first else judge_with(registry, [in_use, SHIPPED], Path(work))
                outcomes.append(_promoted(registry, version, in_use, measured))
            else:
                registry.track(model, model_name(model), figures)
                reason = "no pass of its sensor was judged" if gate["passed"] else "the gate did not let it pass"
                outcomes.append({"name": model_name(model), "version": None, "champion": False, "told": f"not registered: {reason}"})
    return outcomes


def require_registry(place: str) -> None:
    """See that a registry answers, before hours of work that will be told to it.

    Raises:
        RegistryError: It is a server that does not.
    """
    if place.startswith(("http://", "https://")):
        Registry(place).names()


@contextmanager
def registry_at(place: str) -> Iterator[tuple[Registry, Path]]:
    """The registry at a place, and the folder of its models in use; what is done to one in S3 is committed when the block ends.

    The models in use of a server's registry are in a folder that is gone when the block ends.
    """
    if place.startswith(("http://", "https://")):
        with tempfile.TemporaryDirectory() as folder:
            yield Registry(place), Path(folder)
        return
    with delivered(place, DATABASE, brings="") as folder:
        yield Registry(folder), folder


def _measured(verdict: Verdict) -> Judge:
    """A judge for what was measured just now; there is nothing to compare with."""
    return lambda _: verdict


def _promoted(registry: Registry, version: Version, in_use: Path, judge: Judge) -> dict[str, Any]:
    outcome = {"name": version.name, "version": version.digits, "champion": True, "told": f"version {version.number} is the champion"}
    if CHAMPION in version.aliases:
        bring_champion(registry, version.name, in_use)
        return outcome
    try:
        promote(registry, version, CHAMPION, in_use, judge)
    except WorseModelError as error:
        return outcome | {"champion": False, "told": f"version {version.number} is a candidate: {error.problem}"}
    return outcome


def judge_with(registry: Registry, places: Sequence[Path], work: Path, progress: Progress = silent) -> Judge:
    """A judge that tries models on a registry's pinned evaluation set.

    Args:
        registry: The registry.
        places: Sets of models that fill the roles which are not on trial, the preferred one first.
        work: A folder for what is brought and made.
        progress: Is told where it stands.
    """

    def judge(models: Mapping[str, Path]) -> Verdict:
        evaluation = work / "pinned" / "evaluation-set"
        if not evaluation.is_dir():
            evaluation = registry.fetch_pinned(work / "pinned")
        with folder_beside(work / "trial") as folder:
            others = model_set(None, places)
            return try_models(_only(replace(others, places=others.places | dict(models)), models), evaluation, folder, progress)

    return judge


def _only(models: ModelSet, tried: Mapping[str, Path]) -> ModelSet:
    """Without the segmenters of other sensors, where no matcher is on trial: they would cost time and change nothing."""
    if any(name == "matcher" for name in tried):
        return models
    return ModelSet({name: place for name, place in models.places.items() if name in tried or name == "matcher"})
