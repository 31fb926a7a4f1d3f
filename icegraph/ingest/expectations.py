"""What is expected of the inventory and of each pass's pixels, checked with Great Expectations.

One context, two tables: the inventory (one row a pass) and the samples (one row a pass and band). A row that fails tells which pass is
refused and why.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from icegraph.ingest.manifest import Pass
from icegraph.ingest.pixels import Sample

FIRST = datetime(1978, 10, 1, tzinfo=UTC)  # Nimbus-7, the first whose ice record is still used
NODATA_MOST = 0.99
OUTSIDE_MOST = 0.01
DISTINCT_LEAST = 3

# (expectation, its settings, what is wrong where it fails, what to do)
_Rule = tuple[str, dict[str, Any], str, str]


def check(passes: Sequence[Pass], samples: Sequence[Sample]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Check the inventory and the samples.

    Returns:
        Each expectation with its outcome, and pass id → why it fails (its first failure).
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
    context = _context()
    results: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for table, rows, rules in (("inventory", inventory, _inventory_rules()), ("pixels", pixels, _PIXEL_RULES)):
        if rows:
            found, failed = _validate(context, table, rows, rules)
            results += found
            failures = failed | failures
    return results, failures


def _inventory_rules() -> list[_Rule]:
    latest = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    between = "ExpectColumnValuesToBeBetween"
    return [
        (
            between,
            {"column": "time_s", "min_value": FIRST.timestamp(), "max_value": latest},
            "has a time before October 1978 or in the future",
            "put its time right",
        ),
        (
            "ExpectColumnPairValuesAToBeGreaterThanB",
            {"column_A": "north", "column_B": "south"},
            "has its north bound not above its south bound",
            "put its place right",
        ),
        (between, {"column": "least_bytes", "min_value": 1}, "has an empty file", "download it again"),
    ]


_PIXEL_RULES: list[_Rule] = [
    (
        "ExpectColumnValuesToBeBetween",
        {"column": "nodata_share", "max_value": NODATA_MOST},
        "band {band} holds {nodata_share:.1%} NaN or no data (at most 99 % may)",
        "download another copy, or leave it away",
    ),
    (
        "ExpectColumnValuesToBeBetween",
        {"column": "distinct", "min_value": DISTINCT_LEAST},
        "band {band} is constant: {distinct} different values, {minimum:g} to {maximum:g}",
        "download another copy, or leave it away",
    ),
    (
        "ExpectColumnValuesToBeBetween",
        {"column": "outside_share", "max_value": OUTSIDE_MOST},
        "band {band} has {outside_share:.1%} of its values outside what its unit allows ({minimum:g} to {maximum:g})",
        "put its unit or scale right",
    ),
]


def _context() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    # By default an ephemeral context makes a folder for its docs under /tmp, and leaves it there.
    config = DataContextConfig(store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False), analytics_enabled=False)
    context = gx.get_context(mode="ephemeral", project_config=config)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _validate(
    context: Any, table: str, rows: Sequence[Mapping[str, Any]], rules: Sequence[_Rule]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    import great_expectations as gx
    import pandas as pd

    frame = pd.DataFrame(rows)
    batch = context.data_sources.add_pandas(table).add_dataframe_asset(table).add_batch_definition_whole_dataframe(table)
    suite = context.suites.add(gx.ExpectationSuite(name=table))
    for name, settings, _, _ in rules:
        suite.add_expectation(getattr(gx.expectations, name)(**settings))
    definition = gx.ValidationDefinition(name=table, data=batch, suite=suite)
    outcome = definition.run(batch_parameters={"dataframe": frame}, result_format={"result_format": "COMPLETE"})
    results: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    told = {_key(name, settings): (problem, mend) for name, settings, problem, mend in rules}
    for result in outcome.results:
        config = result.expectation_config
        assert config is not None  # noqa: S101 - Great Expectations types it as optional, and always sets it
        column = config.kwargs.get("column") or config.kwargs.get("column_A")
        failed = sorted(int(index) for index in result.result.get("unexpected_index_list") or [])
        ids = [str(frame.loc[index, "pass_id"]) for index in failed]
        entry = {"subject": table, "expectation": config.type, "column": column, "success": bool(result.success), "failed": ids}
        results.append(entry)
        problem, mend = told[(config.type, str(column))]
        for index, identity in zip(failed, ids, strict=True):
            failures.setdefault(identity, f"{problem.format(**rows[index])}; {mend}.")
    return results, failures


def _key(name: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    return snake, str(settings.get("column") or settings.get("column_A"))
