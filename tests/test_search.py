"""Searching for training settings, here and by Katib."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from icegraph.cli import app
from icegraph.errors import InputError
from icegraph.laptop import segment_passes
from icegraph.progress import silent
from icegraph.registry import Registry
from icegraph.search import SPACES, Lessons, run_trial, search
from icegraph.simulate import simulate

KATIB = Path(__file__).parents[1] / "manifests" / "katib" / "segmenter.yaml"


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> Lessons:
    """Three small passes with known floes."""
    out = tmp_path_factory.mktemp("lessons")
    simulate(out / "field", seed=3, size_km=48.0, passes=3, interval_h=3.0, views=("optical",))
    segment_passes([out / "field" / "passes"], out / "segmented", None, silent)
    return Lessons(out / "segmented", (out / "field" / "truth",), steps=4)


def test_every_trial_is_tracked_and_the_best_is_given_and_a_search_goes_on(lessons: Lessons, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    best, score = search("matcher", lessons, 1, registry, tmp_path / "study")
    best, score = search("matcher", lessons, 2, registry, tmp_path / "study")
    runs = registry.runs("search")
    assert 1 <= len(runs) <= 2  # the same settings make the same model, which is one run
    assert score == max(run["figures"]["score"] for run in runs)
    assert {"setting.steps": str(best["steps"]), "kind": "matcher"}.items() <= next(
        run["tags"] for run in runs if run["figures"]["score"] == score
    ).items()
    told = CliRunner().invoke(
        app,
        [
            "trial",
            "segmenter",
            str(lessons.folder),
            "--truth",
            str(lessons.truth[0]),
            "--steps",
            "2",
            "--set",
            "crop=96",
            "--set",
            "batch=2",
            "--registry",
            str(tmp_path / "registry"),
        ],
        catch_exceptions=False,
    )
    assert told.exit_code == 0, told.output
    printed = float(told.output.rpartition("score=")[2])
    (run,) = [run for run in registry.runs("search") if run["tags"]["kind"] == "segmenter"]
    assert run["figures"]["score"] == pytest.approx(printed, abs=1e-6)
    assert run["parameters"]["crop"] == "96"


def test_a_setting_that_nobody_knows_is_told(lessons: Lessons, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^segmenter: has no setting colour; choose of network, "):
        run_trial("segmenter", lessons, {"colour": 1}, None, tmp_path)  # type: ignore[arg-type]


def test_a_search_for_what_is_not_trained_is_told(lessons: Lessons, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^floes: is nothing that is trained; choose of segmenter, matcher"):
        search("floes", lessons, 1, None, tmp_path)  # type: ignore[arg-type]


def test_katib_searches_the_same_space_with_a_command_that_there_is() -> None:
    experiment = yaml.safe_load(KATIB.read_text())["spec"]
    space = {
        one["name"]: tuple(int(value) if value.isdigit() else value for value in one["feasibleSpace"]["list"])
        for one in experiment["parameters"]
    }
    assert space == SPACES["segmenter"]
    template = experiment["trialTemplate"]
    (container,) = template["trialSpec"]["spec"]["template"]["spec"]["containers"]
    assert container["name"] == template["primaryContainerName"]
    for parameter in template["trialParameters"]:
        assert f"--set={parameter['name']}=${{trialParameters.{parameter['name']}}}" in container["args"]
        assert parameter["reference"] in space
    options = CliRunner().invoke(app, ["trial", "--help"], terminal_width=300).output
    for argument in container["args"]:
        assert not argument.startswith("--") or argument.split("=")[0] in options
    assert experiment["objective"]["objectiveMetricName"] == "score"
    assert json.dumps(template)
