"""What is expected of calibrated passes, of their pixels and of the floes found in them.

Nothing is refused here: what fails is shown in the report, with the pass, band or floe that it is about.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icegraph.expectations import BETWEEN, Rule, validate
from icegraph.graph import read_floes
from icegraph.scene import Scene

# What a band may hold from its 2nd to its 98th percentile, by the unit in its name; reflectances have none.
_UNITS = {"db": (-60.0, 15.0), "deg": (0.0, 90.0), "k": (50.0, 330.0), "percent": (0.0, 100.0), "h": (-24.0, 24.0)}
_REFLECTANCE = (0.0, 1.0)
_RADIOMETER = ("tb_", "sic_", "amsr2_")  # bands that a pass may lack: there was no swath, or its footprints hold land all over

STEP_ERROR = 0.5  # dB
_LOOK = "look at the scene before you use its floes"
_PASSES = [
    Rule(BETWEEN, {"column": "valid_share", "min_value": 0.05}, "is valid in {valid_share:.1%} of its grid", _LOOK),
    # Specified: -22 dB (Sentinel-1 Product Definition); the best sub-swaths reach -32 dB.
    Rule(BETWEEN, {"column": "noise_floor_db", "min_value": -40, "max_value": -18}, "has a noise floor of {noise_floor_db} dB", _LOOK),
    Rule(BETWEEN, {"column": "sure_step_db", "max_value": 0.25}, "keeps a step of {step_db} dB between sub-swaths", "set balance=true"),
    Rule(
        "ExpectColumnPairValuesAToBeGreaterThanB",
        {"column_A": "looks_filtered", "column_B": "looks", "ignore_row_if": "either_value_is_missing"},
        "has no more looks after the filter than before",
        _LOOK,
    ),
]
_PIXELS = [
    Rule("ExpectColumnValuesToNotBeNull", {"column": "p50"}, "has no valid pixel in {band}", _LOOK),
    Rule(BETWEEN, {"column": "below", "max_value": 0}, "{band} lies below what its unit allows", _LOOK),
    Rule(BETWEEN, {"column": "above", "max_value": 0}, "{band} lies above what its unit allows", _LOOK),
    Rule(BETWEEN, {"column": "std", "min_value": 0, "strict_min": True}, "{band} is constant", _LOOK),
]
_ANEW = "segment the pass anew"
_FLOES = [
    Rule("ExpectCompoundColumnsToBeUnique", {"column_list": ["pass_id", "floe_id"]}, "stands twice", _ANEW),
    Rule("ExpectColumnValuesToBeInSet", {"column": "outline", "value_set": ["valid"]}, "has an outline that crosses itself", _ANEW),
    Rule(BETWEEN, {"column": "area_km2", "min_value": 0, "strict_min": True}, "has no area", _ANEW),
    Rule(
        "ExpectColumnPairValuesAToBeGreaterThanB",
        {"column_A": "major_axis_m", "column_B": "minor_axis_m", "or_equal": True},
        "is wider than long",
        _ANEW,
    ),
    *(
        Rule(BETWEEN, {"column": name, "min_value": least, "max_value": most}, f"has a {name} outside {least} to {most}", _ANEW)
        for name, least, most in (("solidity", 0, 1), ("circularity", 0, 1), ("confidence", 0, 1), ("lat", -90, 90), ("lon", -180, 180))
    ),
]


def check_run(scenes: Mapping[str, Scene], segments: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Hold passes, pixel statistics and floe tables against what is expected of them.

    Args:
        scenes: Pass id → scene.
        segments: Pass id → segment folder; one without a floe table is passed over.

    Returns:
        The outcome of each table that has rows (`icegraph.expectations`).
    """
    tables = (
        ("calibrated passes", [row for scene in scenes.values() for row in quality_rows(scene)], _PASSES, ("pass_id", "band")),
        ("pixel statistics", [row for scene in scenes.values() for row in _pixel_rows(scene)], _PIXELS, ("pass_id", "band")),
        ("floes", [row for place in segments.values() for row in _floe_rows(place)], _FLOES, ("pass_id", "floe_id")),
    )
    return [validate(name, rows, rules, names)[0] for name, rows, rules, names in tables if rows]


def quality_rows(scene: Scene) -> list[dict[str, Any]]:
    """What a calibrated radar pass tells of its quality (`icegraph.calibrate.quality`): one row a polarisation; none of other passes.

    `step_before_db` and `step_db` are the largest step between sub-swaths, with noise and without, of those known to STEP_ERROR; None where
    there is nothing to tell; `sure_step_db` is what two standard errors leave of `step_db`.
    """
    quality = scene.item.properties.get("icegraph:quality", {})
    return [
        {
            "pass_id": scene.id,
            "band": band,
            "valid_share": quality["valid_share"],
            "noise_floor_db": told["noise_floor_db"],
            "step_before_db": _largest(seam["before_db"] for seam in known_seams(told)),
            "step_db": _largest(seam["after_db"] for seam in known_seams(told)),
            "sure_step_db": _largest(
                max(abs(seam["after_db"]) - 2 * seam["error_db"], 0) for seam in known_seams(told) if seam["after_db"] is not None
            ),
            "looks": told["enl"][0],
            "looks_filtered": told["enl"][1],
            "below_noise_share": told["below_noise_share"],
        }
        for band, told in quality.get("bands", {}).items()
    ]


def known_seams(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The seams of one polarisation whose steps are known to STEP_ERROR; in short images ice hides the instrument's."""
    return [seam for seam in told["seams"] if seam["error_db"] is not None and seam["error_db"] <= STEP_ERROR]


def _largest(steps: Iterable[float | None]) -> float | None:
    return max((abs(step) for step in steps if step is not None), default=None)


def _pixel_rows(scene: Scene) -> list[dict[str, Any]]:
    rows = []
    for band in scene.bands:
        if not scene.statistics(band) and band.startswith(_RADIOMETER):
            continue
        least, most = _UNITS.get(band.rsplit("_", 1)[-1], _REFLECTANCE)
        told = {name: scene.statistics(band).get(name, np.nan) for name in ("mean", "std", "p02", "p50", "p98")}
        rows.append({"pass_id": scene.id, "band": band, **told, "below": least - told["p02"], "above": told["p98"] - most})
    return rows


def _floe_rows(segment: Path) -> list[dict[str, Any]]:
    if not (segment / "floes.parquet").exists():
        return []
    table = read_floes(segment)
    columns = ["pass_id", "floe_id", "area_m2", "major_axis_m", "minor_axis_m", "solidity", "circularity", "confidence", "lat", "lon"]
    rows = table[columns].assign(area_km2=table["area_m2"] / 1e6, outline=np.where(table.geometry.is_valid, "valid", "crossing"))
    return list(rows.drop(columns="area_m2").to_dict("records"))
