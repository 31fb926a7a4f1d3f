"""What is expected of the inventory and of each pass's pixels: a row that fails tells which pass is refused and why."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from icegraph.expectations import BETWEEN, Rule, validate
from icegraph.ingest.manifest import Pass
from icegraph.ingest.pixels import Sample

FIRST = datetime(1978, 10, 1, tzinfo=UTC)  # Nimbus-7, the first whose ice record is still used
NODATA_MOST = 0.99
OUTSIDE_MOST = 0.01
DISTINCT_LEAST = 3


def check(passes: Sequence[Pass], samples: Sequence[Sample]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Check the inventory (one row a pass) and the samples (one row a pass and band).

    Returns:
        The outcome of each table (`icegraph.expectations`), and pass id → why it fails (its first failure).
    """
    inventory = [
        {
            "pass_id": entry.id,
            "time_s": entry.time.timestamp(),
            "least_bytes": min(file.bytes for file in entry.files),
            "south": entry.bounds[1],
            "north": entry.bounds[3],
        }
        for entry in passes
    ]
    pixels = [asdict(row) for row in samples]
    outcomes: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    tables = (("raw passes", inventory, _inventory_rules(), ["pass_id"]), ("raw pixels", pixels, _PIXEL_RULES, ["pass_id", "band"]))
    for table, rows, rules, names in tables:
        if rows:
            outcome, failed = validate(table, rows, rules, names)
            outcomes.append(outcome)
            for number, reason in failed:
                failures.setdefault(str(rows[number]["pass_id"]), reason)
    return outcomes, failures


def _inventory_rules() -> list[Rule]:
    latest = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    return [
        Rule(
            BETWEEN,
            {"column": "time_s", "min_value": FIRST.timestamp(), "max_value": latest},
            "has a time before October 1978 or in the future",
            "put its time right",
        ),
        Rule(
            "ExpectColumnPairValuesAToBeGreaterThanB",
            {"column_A": "north", "column_B": "south"},
            "has its north bound not above its south bound",
            "put its place right",
        ),
        Rule(BETWEEN, {"column": "least_bytes", "min_value": 1}, "has an empty file", "download it again"),
    ]


_PIXEL_RULES = [
    Rule(
        BETWEEN,
        {"column": "nodata_share", "max_value": NODATA_MOST},
        "band {band} holds {nodata_share:.1%} NaN or no data (at most 99 % may)",
        "download another copy, or leave it away",
    ),
    Rule(
        BETWEEN,
        {"column": "distinct", "min_value": DISTINCT_LEAST},
        "band {band} is constant: {distinct} different values, {minimum:g} to {maximum:g}",
        "download another copy, or leave it away",
    ),
    Rule(
        BETWEEN,
        {"column": "outside_share", "max_value": OUTSIDE_MOST},
        "band {band} has {outside_share:.1%} of its values outside what its unit allows ({minimum:g} to {maximum:g})",
        "put its unit or scale right",
    ),
]
