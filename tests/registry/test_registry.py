"""Runs, versions, aliases and trails, in a folder and behind a server."""

import json
import sqlite3
from pathlib import Path
from xml.etree import ElementTree

import mlflow
import pytest

from icegraph.errors import InputError, ModelError, RegistryError
from icegraph.registry import Registry
from icegraph.registry.trail import Step, Trail, read_trail
from icegraph.store import sha256

FIGURES = {"sar.segmentation.f1": 0.8}
PASSED = {"passed": True, "criteria": []}


def test_a_training_is_tracked_with_its_parameters_curves_and_parents(registry, make_model) -> None:
    run_id = registry.track(make_model("a", seed=7), "segmenter-sar", FIGURES)
    run = mlflow.MlflowClient(f"sqlite:///{registry.place}/mlflow.db").get_run(run_id)  # MLflow's own reader
    assert run.info.status == "FINISHED"
    assert {"seed": "7", "steps": "75", "config.sensor": "sar"}.items() <= run.data.params.items()
    assert run.data.metrics == {"held_out.f1": 0.5, "sar.segmentation.f1": 0.8, "train.loss": pytest.approx(1 / 75)}
    client = mlflow.MlflowClient(f"sqlite:///{registry.place}/mlflow.db")
    assert [(one.step, one.value) for one in client.get_metric_history(run_id, "train.loss")] == [(25, 0.04), (50, 0.02), (75, 1 / 75)]
    names = {one.path for one in client.list_artifacts(run_id)}
    assert names == {"model", "curves.svg", "lineage.json"}
    assert json.loads(Path(client.download_artifacts(run_id, "lineage.json")).read_text()) == {"S1B_a": "ab" * 32}


def test_the_picture_of_the_curves_has_each_of_their_points(registry, make_model) -> None:
    registry.track(make_model("a"), "segmenter-sar")
    picture = ElementTree.parse(next((Path(registry.place) / "artifacts").rglob("curves.svg")))
    (line,) = picture.iterfind(".//{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    across, down = zip(*points, strict=True)
    assert len(points) == 3
    assert across[1] - across[0] == pytest.approx(across[2] - across[1])  # steps 25, 50, 75
    assert (down[1] - down[0]) / (down[2] - down[0]) == pytest.approx((1 / 25 - 1 / 50) / (1 / 25 - 1 / 75), abs=0.01)


def test_nothing_in_a_registry_is_pickled(registry, make_model) -> None:
    registry.register(make_model("a"), "segmenter-sar", FIGURES, PASSED)
    kept = {path.name for path in (Path(registry.place) / "artifacts").rglob("*") if path.is_file()}
    assert kept == {"config.json", "model.safetensors", "README.md", "history.json", "MLmodel", "curves.svg", "lineage.json"}


def test_a_training_told_again_is_one_run_and_one_version(registry, make_model) -> None:
    made = make_model("a")
    first = registry.register(made, "segmenter-sar", FIGURES, PASSED)
    before = [run["figures"] for run in registry.runs("training")]
    assert registry.register(made, "segmenter-sar", FIGURES, PASSED) == first
    assert registry.track(made, "segmenter-sar", FIGURES) == first.run_id
    assert [run["figures"] for run in registry.runs("training")] == before
    assert len(registry.versions("segmenter-sar")) == 1
    assert len(registry.trail("segmenter-sar").steps) == 1


def test_a_version_carries_signature_card_figures_and_content(registry, make_model) -> None:
    made = make_model("a")
    version = registry.register(made, "segmenter-sar", FIGURES, PASSED)
    assert (version.number, version.aliases, version.passed, version.figures) == (1, ("candidate",), True, FIGURES)
    assert version.sha256 == sha256(made)
    assert version.card == "# Card of a"
    mlflow.set_tracking_uri(f"sqlite:///{registry.place}/mlflow.db")
    signature = mlflow.models.get_model_info("models:/segmenter-sar@candidate").signature  # MLflow's own reader
    assert signature.inputs.to_dict()[0]["tensor-spec"] == {"dtype": "float32", "shape": (-1, 2, -1, -1)}


def test_a_version_is_named_by_number_digits_or_alias(registry, make_model) -> None:
    first, second = (registry.register(make_model(weights), "m", {}) for weights in "ab")
    assert registry.version("m", "1").sha256 == registry.version("m", first.digits).sha256 == first.sha256
    assert registry.version("m", "candidate") == second
    assert registry.version("m", "1").aliases == ()
    with pytest.raises(RegistryError, match=r"^m: has no version 9; it has 2 \(.*, candidate\), 1 \("):
        registry.version("m", "9")


def test_a_version_that_is_fetched_is_the_one_that_was_registered(registry, make_model, tmp_path) -> None:
    made = make_model("a")
    version = registry.register(made, "m", {})
    fetched = registry.fetch(version, tmp_path / "there")
    assert fetched == tmp_path / "there" / "m" / version.digits
    assert sha256(fetched) == sha256(made)
    assert registry.verify() == []


def test_bytes_that_changed_in_the_registry_are_refused_and_found(registry, make_model, tmp_path) -> None:
    version = registry.register(make_model("a"), "m", {})
    weights = next((Path(registry.place) / "artifacts").rglob("model.safetensors"))
    weights.write_bytes(b"other")
    with pytest.raises(ModelError, match="not those that were registered"):
        registry.fetch(version, tmp_path / "there")
    assert not list((tmp_path / "there").rglob("*.safetensors"))
    assert len(registry.verify()) == 1
    assert f"m 1: artifacts of run {version.run_id}: " in registry.verify()[0]


def test_a_registry_that_was_moved_finds_its_artifacts(place, make_model, tmp_path) -> None:
    version = Registry(place).register(make_model("a"), "m", {})
    place.rename(tmp_path / "moved")
    moved = Registry(tmp_path / "moved")
    assert moved.verify() == []
    assert moved.fetch(version, tmp_path / "there").is_dir()
    moved.track(make_model("b"), "m")
    assert not place.exists()


def test_a_trail_that_was_altered_is_found(registry, place, make_model) -> None:
    for weights in "ab":
        registry.register(make_model(weights), "m", {})
    with sqlite3.connect(place / "mlflow.db") as database:
        database.execute("UPDATE model_version_tags SET value = replace(value, '@', '#') WHERE name = 'm.trail' AND version = 1")
    with pytest.raises(RegistryError, match="the trail was altered"):
        registry.trail("m")
    assert "the trail was altered" in registry.verify()[0]


def test_an_alias_that_the_trail_does_not_tell_is_found_and_mended_by_the_next_step(registry, place, make_model) -> None:
    for weights in "ab":
        registry.register(make_model(weights), "m", {})
    mlflow.MlflowClient(f"sqlite:///{place}/mlflow.db").set_registered_model_alias("m", "candidate", "1")
    assert "its aliases are candidate 1, its trail tells candidate 2" in registry.verify()[0]
    registry.register(make_model("c"), "m", {})
    assert registry.verify() == []


def test_of_two_steps_on_one_state_the_first_counts_for_every_reader() -> None:
    start = Trail()
    first = Step("register", "m", 1, "a")
    one = first.bound(start.head)
    head = read_trail("m", [one]).head
    winner, loser = (Step("promote", "m", version, "a", "champion").bound(head) for version in (1, 2))
    after = Step("register", "m", 3, "c").bound(read_trail("m", [one, winner]).head)
    trail = read_trail("m", [one, winner, loser, after])
    assert [step.version for step in trail.steps] == [1, 1, 3]
    assert trail.lost == 1
    assert trail.aliases == {"champion": 1}


def test_rolled_back_champions_leave_the_row() -> None:
    steps = [("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2), ("promote", 4), ("rollback", 2), ("rollback", 1)]
    trail = Trail(tuple(Step(kind, "m", version, "", "champion") for kind, version in steps))
    assert trail.champions == [1]


def test_what_is_no_registry_is_told(tmp_path) -> None:
    with pytest.raises(InputError, match="name a folder, or the http"):
        Registry("s3://bucket/registry")
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(RegistryError, match=rf"^{tmp_path}: fails: "):
        Registry(tmp_path)


def test_a_server_keeps_what_a_folder_keeps(server, make_model, tmp_path) -> None:
    registry = Registry(server.url)
    made = make_model("a")
    version = registry.register(made, "segmenter-sar", FIGURES, PASSED)
    assert sha256(registry.fetch(version, tmp_path / "there")) == sha256(made)
    assert registry.verify() == []
    assert registry.champion("segmenter-sar") is None


def test_a_server_that_is_gone_in_mid_run_is_told_and_the_same_call_completes_the_work(server, make_model, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    registry = Registry(server.url)
    made = make_model("b")
    registry.track(made, "m")
    server.stop()
    with pytest.raises(RegistryError, match=rf"^{server.url}: does not answer; see that it runs"):
        registry.register(made, "m", {})
    server.start()
    version = registry.register(made, "m", {})
    assert [run["run_id"] for run in registry.runs("training") if run["tags"]["icegraph.sha256"] == sha256(made)] == [version.run_id]
    assert registry.verify() == []
