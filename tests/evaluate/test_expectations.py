"""What is expected of passes, pixels and floes, and how the report shows it."""

import json

import pytest

from icegraph.evaluate import evaluate
from icegraph.evaluate.expectations import check_run, quality_rows
from icegraph.graph import write_floes
from icegraph.scene import Scene

from .conftest import MadeRun, drifting_discs

SEAMS = [
    {"swaths": ["EW1", "EW2"], "before_db": -1.5, "after_db": 0.04, "error_db": 0.02},
    {"swaths": ["EW2", "EW3"], "before_db": 0.3, "after_db": -0.07, "error_db": 0.03},
    {"swaths": ["EW3", "EW4"], "before_db": 4.0, "after_db": 3.9, "error_db": None},  # the ice's, as far as anyone knows
]
HV = {"seams": SEAMS, "noise_floor_db": -27.9, "enl": [10.5, 130.0], "below_noise_share": 0.02}


def tell_quality(run: MadeRun, **changes: object) -> dict[str, Scene]:
    for folder in run.scenes.values():
        item = json.loads((folder / "item.json").read_text())
        item["properties"]["icegraph:quality"] = {"valid_share": 0.8, "bands": {"hv": HV | changes}}
        (folder / "item.json").write_text(json.dumps(item))
    return {name: Scene.open(folder) for name, folder in run.scenes.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = drifting_discs(tmp_path_factory.mktemp("run"))
    for name, scene in tell_quality(made).items():
        write_floes(made.segments[name], scene)
    return made


def test_steps_that_the_ice_may_have_made_are_not_told(run: MadeRun) -> None:
    (row,) = quality_rows(next(iter(tell_quality(run).values())))
    assert (row["step_before_db"], row["step_db"]) == (1.5, 0.07)


def test_a_good_run_meets_every_expectation(run: MadeRun) -> None:
    outcomes = check_run(tell_quality(run), run.segments)
    assert {one["suite_name"]: one["success"] for one in outcomes} == {
        "calibrated passes": True,
        "pixel statistics": True,
        "floes": True,
    }
    assert outcomes[2]["results"][0]["result"]["element_count"] == 72


def test_what_is_wrong_is_named(run: MadeRun) -> None:
    scenes = tell_quality(run, noise_floor_db=-5.0)
    first = next(iter(scenes))
    scenes[first].item.assets["hh_db"].extra_fields["icegraph:statistics"]["p98"] = 99.0
    wrong = {
        (outcome["suite_name"], result["expectation_config"]["kwargs"]["column"]): result["result"]["unexpected_index_list"]
        for outcome in check_run(scenes, {})
        for result in outcome["results"]
        if not result["success"]
    }
    assert [row["pass_id"] for row in wrong["calibrated passes", "noise_floor_db"]] == list(scenes)
    assert [(row["pass_id"], row["band"]) for row in wrong["pixel statistics", "above"]] == [(first, "hh_db")]
    assert len(wrong) == 2


def test_the_report_shows_quality_and_data_docs(run: MadeRun) -> None:
    tell_quality(run)
    out = run.root / "out"
    evaluate(out, scenes=run.scenes, segments=run.segments, tracks=run.root / "tracks", truth={})
    page = (out / "report.html").read_text()
    assert "The mean step is 0.900 dB with thermal noise, 0.055 dB without." in page
    assert page.count('<circle class="dot') >= 12
    for table, number in (("Calibrated passes", 4), ("Pixel statistics", 4), ("Floes", 9)):
        assert f'{table}: <span class="tag passed">{number} of {number} met</span>' in page
    assert "values must be greater than or equal to" in page
