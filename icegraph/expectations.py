"""Tables held against expectations with Great Expectations, and its Data Docs as part of a page that opens offline.

A table is a list of rows; what names a row (`pass_id`, a band, a floe) is shown beside each value that fails. Outcomes are Great
Expectations' own JSON without times and random ids, so that the same tables give the same bytes.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

BETWEEN = "ExpectColumnValuesToBeBetween"
_SHOWN = 20  # values that fail, of one expectation, that an outcome keeps
_STRAY = re.compile(r'\s(?:id|href|data-[\w-]+|aria-[\w-]+)=(?:"[^"]*"|[^\s>]+)')


@dataclass(frozen=True)
class Rule:
    """One expectation.

    Args:
        name: Class of the expectation in `great_expectations.expectations`.
        settings: Its arguments.
        problem: What is wrong with a row that fails, with its columns in braces.
        mend: What to do about it.
    """

    name: str
    settings: Mapping[str, Any]
    problem: str
    mend: str


def validate(
    table: str, rows: Sequence[Mapping[str, Any]], rules: Sequence[Rule], names: Sequence[str]
) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """Hold a table against rules.

    Args:
        table: Its name.
        rows: At least one.
        rules: What is expected.
        names: The columns that together name a row, no two rows alike.

    Returns:
        The outcome, for `data_docs`; and each failure in the order of the rules: the row's number, and a sentence.
    """
    import pandas as pd

    gx = _great_expectations()
    context = _context()
    batch = context.data_sources.add_pandas(table).add_dataframe_asset(table).add_batch_definition_whole_dataframe(table)
    suite = context.suites.add(gx.ExpectationSuite(name=table))
    for rule in rules:
        suite.add_expectation(getattr(gx.expectations, rule.name)(**rule.settings))
    shape = {"result_format": "COMPLETE", "unexpected_index_column_names": list(names)}
    definition = gx.ValidationDefinition(name=table, data=batch, suite=suite)
    outcome = definition.run(batch_parameters={"dataframe": pd.DataFrame(rows)}, result_format=shape).to_json_dict()
    place = {tuple(row[name] for name in names): number for number, row in enumerate(rows)}
    failures = []
    results = {_key(result["expectation_config"]["kwargs"]): result for result in outcome["results"]}
    for rule in rules:
        failed = results[_key(rule.settings)]["result"].get("unexpected_index_list") or []
        numbers = sorted(place[tuple(row[name] for name in names)] for row in failed)
        failures += [(number, f"{rule.problem.format(**rows[number])}; {rule.mend}.") for number in numbers]
    return _lasting(outcome), failures


def data_docs(outcome: Mapping[str, Any]) -> Markup:
    """The Data Docs of an outcome as a piece of HTML: Great Expectations' own sections, without what only its own page and scripts use."""
    _great_expectations()
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.render.renderer.column_section_renderer import ValidationResultsColumnSectionRenderer
    from great_expectations.render.view.view import DefaultJinjaSectionView

    columns: dict[str, list[Any]] = {}
    for result in expectationSuiteValidationResultSchema.load(_escaped(outcome)).results:
        columns.setdefault(result.expectation_config.kwargs.get("column", ""), []).append(result)
    view: Any = DefaultJinjaSectionView()
    renderer: Any = ValidationResultsColumnSectionRenderer()
    sections = [renderer.render(results).to_json_dict() for results in columns.values()]
    pieces = [view.render({"section": section, "section_loop": {"index": 1}}) for section in sections]
    return Markup(_STRAY.sub("", "".join(pieces)))  # noqa: S704


def _key(settings: Mapping[str, Any]) -> str:
    """What tells the expectations of a suite apart: the columns that they are about."""
    return " ".join(str(settings[name]) for name in ("column", "column_A", "column_B", "column_list") if name in settings)


def _lasting(outcome: Mapping[str, Any]) -> dict[str, Any]:
    results = []
    for result in outcome["results"]:
        config = result["expectation_config"]
        kwargs = {name: value for name, value in config["kwargs"].items() if name != "batch_id"}
        kept = {name: value for name, value in result["result"].items() if name != "unexpected_index_query"}
        kept |= {name: kept[name][:_SHOWN] for name in ("unexpected_list", "unexpected_index_list") if name in kept}
        told = {"type": config["type"], "kwargs": kwargs, "meta": {}}
        results.append({"success": result["success"], "expectation_config": told, "result": kept, "meta": {}, "exception_info": {}})
    fields = {name: outcome[name] for name in ("success", "suite_name", "statistics")}
    return {**fields, "suite_parameters": {}, "meta": {}, "results": results}


def _escaped(value: Any) -> Any:
    """The same with its text as HTML wants it: Great Expectations shows values as they are."""
    if isinstance(value, Mapping):
        return {_escaped(name): _escaped(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return str(escape(value)) if isinstance(value, str) else value


def _great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return gx


def _context() -> Any:
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig

    # By default an ephemeral context makes a folder for its docs under /tmp, and leaves it there.
    config = DataContextConfig(store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False), analytics_enabled=False)
    context = _great_expectations().get_context(mode="ephemeral", project_config=config)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context
