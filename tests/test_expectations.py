"""Tables against expectations: what fails is named, the outcome lasts, and its Data Docs are safe to put into a page."""

import json

from icegraph.expectations import BETWEEN, Rule, data_docs, validate

ROWS = [{"pass_id": f"p{n}", "band": "<b>hh</b>", "share": n / 40, "low": 1.0, "high": 2.0} for n in range(41)]
ROWS[3] |= {"low": 5.0}
RULES = [
    Rule(BETWEEN, {"column": "share", "max_value": 0.25}, "{band} holds {share:.0%}", "leave it away"),
    Rule("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": "high", "column_B": "low"}, "is upside down", "turn it"),
]


def test_failures_name_their_rows_in_the_order_of_the_rules() -> None:
    outcome, failures = validate("shares", ROWS, RULES, ["pass_id", "band"])
    assert failures[0] == (11, "<b>hh</b> holds 28%; leave it away.")
    assert [number for number, _ in failures] == [*range(11, 41), 3]
    assert not outcome["success"]
    assert outcome["statistics"]["successful_expectations"] == 0


def test_the_same_table_gives_the_same_bytes_and_no_endless_lists() -> None:
    first, again = (json.dumps(validate("shares", ROWS, RULES, ["pass_id", "band"])[0]) for _ in range(2))
    assert first == again
    results = json.loads(first)["results"]
    assert results[0]["result"]["unexpected_count"] == 30
    assert len(results[0]["result"]["unexpected_index_list"]) == 20


def test_data_docs_are_text_without_scripts_addresses_or_ids() -> None:
    outcome, _ = validate("shares", ROWS, RULES, ["pass_id", "band"])
    page = str(data_docs(json.loads(json.dumps(outcome))))
    assert "values must be less than or equal to" in page and "30 unexpected values found" in page
    assert "p11" in page and "&lt;b&gt;hh&lt;/b&gt;" in page
    assert not any(bad in page for bad in ("<b>", "<script", "http", " id=", "href", "src="))


def test_nothing_is_missing_where_all_is_well() -> None:
    outcome, failures = validate("shares", ROWS[:3], RULES, ["pass_id", "band"])
    assert outcome["success"] and failures == []
    assert "text-danger" not in data_docs(outcome)
