"""What a training left in a model's folder, read as a run is tracked: parameters, curves, figures, parents, a picture and a signature."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icegraph.errors import ModelError
from icegraph.registry.content import require_model

_SHA256_DIGITS = 64
_LONGEST_VALUE = 500  # characters of a parameter


@dataclass(frozen=True)
class Record:
    """A training run.

    Args:
        parameters: Name → value: the budget, the seed, and the model's config.
        figures: Name → number: scores at the end, `held_out.f1`.
        curves: Metric, such as `train.loss`, → (step, value), in order.
        parents: Name → SHA-256 of what it learned from.
        code_version: What it was made with, where the folder tells.
    """

    parameters: Mapping[str, str]
    figures: Mapping[str, float]
    curves: Mapping[str, list[tuple[int, float]]]
    parents: Mapping[str, str]
    code_version: str


def read_record(model: Path) -> Record:
    """Read the training that made a model: `history.json` and `config.json` of its folder.

    In the history a list of objects with a `step` is a curve, numbers in `held_out` are figures, and texts of 64 hexadecimal digits name
    parents; what else it holds are parameters.

    Raises:
        ModelError: It is no model, or one of the two files cannot be read.
    """
    require_model(model)
    history = _read(model / "history.json") if (model / "history.json").is_file() else {}
    parameters: dict[str, str] = {}
    figures: dict[str, float] = {}
    parents: dict[str, str] = {}
    for path, value in _leaves({key: value for key, value in history.items() if not _is_curve(value) and key != "software"}):
        name = path[-1] if len(path) > 1 and path[0] == "budget" else ".".join(path)
        if path[0] == "held_out" and isinstance(value, int | float):
            figures[name] = float(value)
        elif isinstance(value, str) and len(value) == _SHA256_DIGITS:
            parents[".".join(path[1:] if path[0] == "parents" else path)] = value
        else:
            parameters[name] = str(value)[:_LONGEST_VALUE]
    for name, value in _read(model / "config.json").items():
        parameters[f"config.{name}"] = json.dumps(value)[:_LONGEST_VALUE] if isinstance(value, list | dict) else str(value)
    finite = {name: value for name, value in figures.items() if math.isfinite(value)}
    return Record(parameters, finite, _curves(history), parents, str(history.get("software", "")))


def draw_curves(record: Record, out: Path) -> None:
    """Draw the curves of a training, one below the other, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.2 * max(len(record.curves), 1)), layout="constrained")
    panels = figure.subplots(max(len(record.curves), 1), squeeze=False)[:, 0]
    for panel, (name, points) in zip(panels, record.curves.items(), strict=False):
        panel.plot(*zip(*points, strict=True))
        panel.set(xlabel="step", ylabel=name)
    figure.savefig(out, metadata={"Software": None})


def _curves(history: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for name, rows in history.items():
        for row in rows if _is_curve(rows) else []:
            for key, value in row.items():
                if key != "step" and isinstance(value, int | float) and math.isfinite(value):
                    found.setdefault(f"{row.get('phase', name)}.{key}", []).append((int(row["step"]), float(value)))
    return found


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and "step" in row for row in value)


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, (*path, str(key)))
    elif value is not None:
        yield path, value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(path, f"cannot be read ({error})", "name a folder that a training step wrote") from error
    if not isinstance(content, dict):
        raise ModelError(path, "not a JSON object", "name a folder that a training step wrote")
    return content
