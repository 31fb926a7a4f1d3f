"""What a training left in a model's folder, read as a run is tracked: parameters, curves, figures, parents, a picture and a signature."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from icegraph.errors import ModelError
from icegraph.registry.content import require_model

_SHA256_DIGITS = 64
_LONGEST_VALUE = 500  # characters of a parameter
_LEFT, _WIDE, _HIGH = 70, 420, 110  # of a curve's picture


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


def draw_curves(record: Record) -> str:
    """The curves of a training as SVG, one below the other; no library that draws is worth its loading time here."""
    parts = []
    for number, (name, points) in enumerate(record.curves.items()):
        first, last, values = points[0][0], points[-1][0], [value for _, value in points]
        low, high, top = min(values), max(values), number * (_HIGH + 50) + 30
        across = [_LEFT + _WIDE * (step - first) / max(last - first, 1) for step, _ in points]
        down = [top + _HIGH * (high - value) / ((high - low) or 1) for value in values]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
        parts.append(f'<text x="{_LEFT}" y="{top - 8}">{escape(name)}</text>')
        parts.append(f'<text x="4" y="{top + 8}">{high:.4g}</text><text x="4" y="{top + _HIGH}">{low:.4g}</text>')
        parts.append(f'<text x="{_LEFT}" y="{top + _HIGH + 14}">step {first} to {last}</text>')
        parts.append(f'<polyline points="{path}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>')
    high = len(record.curves) * (_HIGH + 50) + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDE + 10}" height="{high}" font-family="sans-serif" font-size="11">'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


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
