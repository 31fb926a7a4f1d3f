"""Better training settings, by trial: each trial trains a model, is judged by the floes it was not shown, and is tracked as a run."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icegraph.errors import InputError
from icegraph.progress import Progress, silent
from icegraph.registry import Registry
from icegraph.registry.registry import SEARCH
from icegraph.scene import scene_folders
from icegraph.store import folder_beside
from icegraph.truth import find_truth, identities

SEGMENTER, MATCHER = "segmenter", "matcher"
Setting = int | str
SPACES: Mapping[str, Mapping[str, tuple[Setting, ...]]] = {
    SEGMENTER: {"network": ("unet", "linknet", "segformer"), "crop": (96, 128, 160), "batch": (2, 4, 8), "local_px": (10, 20, 40)},
    MATCHER: {"steps": (100, 200, 400, 800)},
}
SCORES = {SEGMENTER: "pq", MATCHER: "f1"}  # of `held_out` in a model's history


@dataclass(frozen=True)
class Lessons:
    """What the trials learn from.

    Args:
        folder: What `icegraph segment` or `icegraph run` wrote.
        truth: Label rasters, or folders of them.
        sensor: `sar` or `optical`, for segmenters.
        steps: Supervised steps of a segmenter.
        seed: Of every trial.
    """

    folder: Path
    truth: tuple[Path, ...]
    sensor: str = "optical"
    steps: int = 200
    seed: int = 0


def run_trial(
    kind: str, lessons: Lessons, settings: Mapping[str, Setting], registry: Registry, work: Path, progress: Progress = silent
) -> float:
    """Train a model with some settings, and keep the training as a run of the experiment `search`.

    Args:
        kind: `segmenter` or `matcher`.
        lessons: What it learns from.
        settings: Name → value; see `SPACES`.
        registry: Where the run is kept.
        work: A folder; what is written there is gone at the end.
        progress: Is told where it stands.

    Returns:
        Its score on held-out floes, more is better: a segmenter's panoptic quality, a matcher's F1.

    Raises:
        InputError: A setting is not known, or too few passes are known to hold one out.
    """
    _check(kind, settings)
    with folder_beside(work / "trial") as folder:
        model = folder / (f"segmenter-{lessons.sensor}" if kind == SEGMENTER else MATCHER)
        if kind == SEGMENTER:
            _train_segmenter(lessons, dict(settings), model, progress)
        else:
            _train_matcher(lessons, dict(settings), folder, model, progress)
        held = json.loads((model / "history.json").read_text())["held_out"]
        if SCORES[kind] not in held:
            raise InputError(lessons.folder, "has too few passes to hold one out", "give three passes with known floes or more")
        score = float(held[SCORES[kind]])
        tags = {"kind": kind} | {f"setting.{name}": str(value) for name, value in settings.items()}
        registry.track(model, model.name, {"score": score}, SEARCH, tags)
    return score


def _check(kind: str, settings: Collection[str]) -> None:
    unknown = sorted(set(settings) - set(SPACES.get(kind, {})))
    if kind not in SPACES or unknown:
        problem = f"has no setting {', '.join(unknown)}" if unknown else "is nothing that is trained"
        raise InputError(kind, problem, f"choose of {', '.join(SPACES.get(kind, SPACES))}")


def search(
    kind: str, lessons: Lessons, trials: int, registry: Registry, out: Path, progress: Progress = silent
) -> tuple[dict[str, Setting], float]:
    """Look for good settings with Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    Args:
        kind: `segmenter` or `matcher`.
        lessons: What the trials learn from.
        trials: How many there are to be; those that an earlier search in `out` made count.
        registry: Where each trial is kept as a run.
        out: Folder of the study, `study.db`.
        progress: Is told where it stands.

    Returns:
        The best settings and their score.

    Raises:
        InputError: See `run_trial`; or Optuna is not installed.
    """
    _check(kind, ())
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise InputError("optuna", "is not installed", "install it with `pip install icegraph[search]`") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    out.mkdir(parents=True, exist_ok=True)
    sampler = optuna.samplers.TPESampler(seed=lessons.seed)
    storage = f"sqlite:///{(out / 'study.db').resolve()}"
    study = optuna.create_study(study_name=kind, storage=storage, load_if_exists=True, direction="maximize", sampler=sampler)
    done = optuna.trial.TrialState.COMPLETE

    def objective(trial: Any) -> float:
        settings = {name: trial.suggest_categorical(name, choices) for name, choices in SPACES[kind].items()}
        return run_trial(kind, lessons, settings, registry, out, progress)

    for number in range(len(study.get_trials(states=(done,))), trials):
        progress(f"search: trial {number + 1}", number / trials)
        study.optimize(objective, n_trials=1)
    return dict(study.best_params), float(study.best_value)


def _train_segmenter(lessons: Lessons, settings: dict[str, Any], model: Path, progress: Progress) -> None:
    from icegraph.segment.train import fit_segmenter

    if "network" in settings:
        settings["network"] = {"arch": settings["network"]}
    known = find_truth(lessons.truth)
    scenes = [place for pass_id, place in _scenes(lessons.folder, lessons.sensor).items() if pass_id in known]
    fit_segmenter(scenes, known, model, sensor=lessons.sensor, steps=lessons.steps, seed=lessons.seed, progress=progress, **settings)


def _train_matcher(lessons: Lessons, settings: dict[str, Any], work: Path, model: Path, progress: Progress) -> None:
    from icegraph.graph import build_graph
    from icegraph.track.fit import fit_matcher

    passes = scene_folders([_root(lessons.folder)])
    taught = identities(_root(lessons.folder), find_truth(lessons.truth))
    build_graph(list(passes.values()), work / "graph", scenes={pass_id: place / "scene" for pass_id, place in passes.items()})
    fit_matcher(work / "graph", taught, model, seed=lessons.seed, progress=progress, **settings)


def _scenes(folder: Path, sensor: str) -> dict[str, Path]:
    return {pass_id: place / "scene" for pass_id, place in scene_folders([_root(folder)], sensor).items()}


def _root(folder: Path) -> Path:
    return folder / "passes" if (folder / "passes").is_dir() else folder
