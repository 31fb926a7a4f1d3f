"""Passing, failing and missing criteria."""

import pytest

from icegraph.errors import InputError
from icegraph.evaluate import check_gate, confusion, flat_metrics

THRESHOLDS = """
[sar]
"segmentation.f1" = { at_least = 0.8 }
"drift.rmse_m" = { at_most = 100 }
"forecast.rmse_m" = { at_most = 500, optional = true }
[optical]
"segmentation.f1" = { at_least = 0.9 }
"""


@pytest.fixture
def thresholds(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text(THRESHOLDS)
    return path


def run(f1=0.85, rmse_m=50.0, **more):
    return {"sensors": {"sar": {"segmentation": {"f1": f1}, "drift": {"rmse_m": rmse_m}, **more}}}


def verdicts(result):
    return {c.metric: c.passed for c in result.criteria}


def test_a_run_that_reaches_its_thresholds_passes(thresholds):
    result = check_gate(run(), thresholds)
    assert result.passed
    assert verdicts(result) == {"sar.segmentation.f1": True, "sar.drift.rmse_m": True, "sar.forecast.rmse_m": True}


@pytest.mark.parametrize(("figures", "failed"), [({"f1": 0.79}, "sar.segmentation.f1"), ({"rmse_m": 100.1}, "sar.drift.rmse_m")])
def test_one_figure_out_of_bounds_fails_the_run(thresholds, figures, failed):
    result = check_gate(run(**figures), thresholds)
    assert not result.passed
    assert [name for name, passed in verdicts(result).items() if not passed] == [failed]


def test_a_threshold_that_is_just_reached_passes(thresholds):
    assert check_gate(run(f1=0.8, rmse_m=100.0), thresholds).passed


def test_a_missing_figure_fails_unless_it_is_optional(thresholds):
    result = check_gate({"sensors": {"sar": {"segmentation": {"f1": 0.9}}}}, thresholds)
    assert verdicts(result) == {"sar.segmentation.f1": True, "sar.drift.rmse_m": False, "sar.forecast.rmse_m": True}
    assert not result.passed
    assert not check_gate(run(forecast={"rmse_m": 501.0}), thresholds).passed


def test_a_run_without_truth_is_not_judged_and_does_not_pass(thresholds):
    result = check_gate({"sensors": {"sar": {"counts": {"floes": 3}}}}, thresholds)
    assert not result.judged
    assert not result.passed
    assert not check_gate({"sensors": {}}, thresholds).passed


@pytest.mark.parametrize(
    "text",
    [
        "sar = 3",
        "[sar]\nf1 = 0.8",
        '[sar]\n"f1" = { least = 0.8 }',
        '[sar]\n"f1" = { optional = true }',
        "[sar",
        "[sar]\nf1 = { at_least = 'a' }",
    ],
)
def test_thresholds_that_cannot_be_meant_are_refused_by_name(tmp_path, text):
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"gate\.toml"):
        check_gate(run(), path)


def test_a_model_that_a_threshold_beats_does_not_pass():
    def failed(above):
        metrics = {"sensors": {"optical": {"segmentation": {"f1": 0.9, "f1_over_classical": above}}}}
        return {c.metric for c in check_gate(metrics).criteria if not c.passed}

    assert failed(-0.01) - failed(0.01) == {"optical.segmentation.f1_over_classical"}


def test_the_thresholds_that_come_with_the_code_are_readable():
    result = check_gate(run())
    assert any(c.metric == "sar.segmentation.f1" for c in result.criteria)
    assert not result.passed


def test_flat_names_are_paths_to_single_figures():
    metrics = {"sensors": {"sar": {"segmentation": {"f1": 0.5, "known": 3, "confusion": [[1]], "by_size": []}}}}
    assert flat_metrics(metrics) == {"sar.segmentation.f1": 0.5, "sar.segmentation.known": 3.0}


def test_confusion_of_all_sensors_is_the_sum():
    tables = {"sar": [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "optical": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
    metrics = {"sensors": {name: {"segmentation": {"confusion": table}} for name, table in tables.items()}}
    names, table = confusion(metrics)
    assert names == ["water", "brash", "floe"]
    assert table == [[2, 2, 3], [4, 6, 6], [7, 8, 10]]
    assert confusion(metrics, "optical")[1] == tables["optical"]
    assert confusion({"sensors": {"sar": {"segmentation": {}}}}) is None
