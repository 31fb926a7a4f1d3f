"""The quality gate: the thresholds of `gate.toml` held against the metrics of a run."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from icegraph.errors import InputError

THRESHOLDS = Path(__file__).with_name("gate.toml")


@dataclass(frozen=True)
class Criterion:
    """One threshold and how the run stands to it.

    Args:
        metric: Name in `flat_metrics`, such as `sar.segmentation.f1`.
        value: The metric, or None where the run does not have it.
        at_least: Lower threshold, or None.
        at_most: Upper threshold, or None.
        optional: Whether a missing metric passes.
        passed: The verdict.
    """

    metric: str
    value: float | None
    at_least: float | None
    at_most: float | None
    optional: bool
    passed: bool


@dataclass(frozen=True)
class GateResult:
    """All criteria of a run.

    Args:
        criteria: In the order of the file.
    """

    criteria: tuple[Criterion, ...]

    @property
    def judged(self) -> bool:
        """Whether any metric that the gate asks for was there at all: without truth, none is."""
        return any(criterion.value is not None for criterion in self.criteria)

    @property
    def passed(self) -> bool:
        """Whether there are criteria and every one of them passed."""
        return self.judged and all(criterion.passed for criterion in self.criteria)

    def as_dict(self) -> dict[str, Any]:
        """What `gate.json` holds."""
        return {"passed": self.passed, "judged": self.judged, "criteria": [asdict(criterion) for criterion in self.criteria]}


def check_gate(metrics: Mapping[str, Any], thresholds: Path = THRESHOLDS) -> GateResult:
    """Hold a run's metrics (`evaluate`'s answer) against the thresholds of the sensors that the run has.

    A metric that is missing fails, unless its threshold is marked optional.

    Raises:
        InputError: The thresholds are not readable.
    """
    flat = flat_metrics(metrics)
    criteria = []
    for sensor, table in _read_thresholds(thresholds).items():
        if sensor not in metrics.get("sensors", {}):
            continue
        for name, threshold in table.items():
            value = flat.get(f"{sensor}.{name}")
            low, high, optional = threshold.get("at_least"), threshold.get("at_most"), bool(threshold.get("optional", False))
            passed = optional if value is None else (low is None or value >= low) and (high is None or value <= high)
            criteria.append(Criterion(f"{sensor}.{name}", value, low, high, optional, passed))
    return GateResult(tuple(criteria))


def flat_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Every figure of `evaluate`'s answer by sensor, with its path as name: `sar.segmentation.f1`, `optical.drift.rmse_m`.

    Tables (the confusion of classes, recall by size) and the figures of single passes are not in it.
    """
    flat = {}
    for sensor, groups in metrics.get("sensors", {}).items():
        for group, figures in groups.items():
            for name, value in figures.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    flat[f"{sensor}.{group}.{name}"] = float(value)
    return flat


def confusion(metrics: Mapping[str, Any], sensor: str | None = None) -> tuple[list[str], list[list[int]]] | None:
    """Class names and the confusion of pixels (rows true, columns predicted) of one sensor, or of all; None where no classes are known."""
    from icegraph.evaluate.segmentation import CLASSES

    groups = metrics.get("sensors", {})
    tables = [
        group["segmentation"]["confusion"]
        for name, group in groups.items()
        if sensor in (None, name) and "confusion" in group.get("segmentation", {})
    ]
    if not tables:
        return None
    return list(CLASSES), [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]


def _read_thresholds(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    mend = 'write a table a sensor, with lines such as "segmentation.f1" = { at_least = 0.8 }'
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(path, f"the thresholds cannot be read ({error})", mend) from error
    for sensor, table in tables.items():
        if not isinstance(table, dict):
            raise InputError(path, f"{sensor} is not a table", mend)
        for name, threshold in table.items():
            keys = set(threshold) if isinstance(threshold, dict) else set()
            if not keys & {"at_least", "at_most"} or keys - {"at_least", "at_most", "optional"}:
                raise InputError(path, f"{sensor}.{name} = {threshold} is not a threshold", mend)
            if not all(isinstance(threshold[key], int | float) for key in keys):
                raise InputError(path, f"{sensor}.{name} = {threshold} holds something that is not a number", mend)
    return tables
