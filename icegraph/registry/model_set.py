"""The models of a run: a segmenter for each kind of sensor, and a matcher.

A set is a folder with an entry a name (`segmenter-sar`, `segmenter-optical`, `matcher`): a registry's, or plain model folders as in the
`models/` that are shipped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icegraph.errors import ModelError
from icegraph.registry.in_use import CHAMPION, resolve

SHIPPED = Path(__file__).parents[2] / "models"
SEGMENTERS = ("segmenter-optical", "segmenter-sar")
MATCHER = "matcher"
_TRAIN = "train with `make run`, or name a model with --model"


@dataclass(frozen=True)
class ModelSet:
    """Which model does what.

    Args:
        places: Name → model folder.
    """

    places: dict[str, Path]

    @property
    def segmenters(self) -> list[Path]:
        """The models that find floes.

        Raises:
            ModelError: There is none.
        """
        found = [self.places[name] for name in SEGMENTERS if name in self.places]
        if not found:
            raise ModelError("segmenter", "there is no trained one", _TRAIN)
        return found

    @property
    def matcher(self) -> Path:
        """The model that matches floes.

        Raises:
            ModelError: There is none.
        """
        if MATCHER not in self.places:
            raise ModelError(MATCHER, "there is no trained one", _TRAIN)
        return self.places[MATCHER]


def model_set(named: str | None, places: Sequence[Path] = (SHIPPED,)) -> ModelSet:
    """The models to use.

    Args:
        named: A model's folder, a set's folder, or `<name>` or `<name>/<version>` in the first of `places` that has it; None for what
            `places` hold. It goes before what `places` hold, name by name.
        places: Sets, the preferred one first.

    Raises:
        ModelError: The model named is none of these, or a model is damaged.
    """
    found: dict[str, Path] = {}
    for place in reversed(places):
        found |= _read_set(place)
    if named is not None:
        found |= _named(Path(named), places)
    return ModelSet(found)


def names_in(place: Path) -> list[str]:
    """The names of a set's models."""
    return [name for name in (*SEGMENTERS, MATCHER) if any((place / name / file).is_file() for file in ("config.json", CHAMPION))]


def member(place: Path, name: str) -> Path:
    """The folder of a set's model.

    Raises:
        ModelError: It is damaged.
    """
    return (place / name if (place / name / "config.json").is_file() else resolve(place, name)).resolve()


def model_name(model: Path) -> str:
    """The name a model goes by: its kind and, for a segmenter, its sensor.

    Raises:
        ModelError: Its config.json cannot be read.
    """
    path = model / "config.json"
    try:
        config = json.loads(path.read_text())
        kind = str(config["kind"]).removeprefix("icegraph-")
        return f"{kind}-{config['sensor']}" if "sensor" in config else kind
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(path, f"not a model's config ({error})", "name a folder that a training step wrote") from error


def judged_models(models: Sequence[Path], gate: Mapping[str, Any]) -> list[Path]:
    """The models that a verdict speaks of: the matchers, and the segmenters of the sensors that were judged.

    Args:
        models: Model folders.
        gate: What `gate.json` holds.

    Raises:
        ModelError: A model's config.json cannot be read.
    """
    judged = {f"segmenter-{criterion['metric'].split('.')[0]}" for criterion in gate["criteria"] if criterion["value"] is not None}
    return [model for model in models if model_name(model) in {MATCHER, *judged}]


def _named(path: Path, places: Sequence[Path]) -> dict[str, Path]:
    for candidate in (path, *(place / path for place in places)):
        if (candidate / "config.json").is_file():
            return {model_name(candidate): candidate.resolve()}
        if (candidate / CHAMPION).is_file():
            champion = resolve(candidate.resolve().parent, candidate.resolve().name)
            return {model_name(champion): champion.resolve()}
        if candidate.is_dir() and (several := _read_set(candidate)):
            return several
    raise ModelError(path, "neither a model folder, a name in a registry nor a set of models", _TRAIN)


def _read_set(place: Path) -> dict[str, Path]:
    return {name: member(place, name) for name in names_in(place)}
