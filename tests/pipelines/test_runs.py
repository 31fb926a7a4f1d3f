"""Both pipelines, whole, on small simulated fields and on a real pair, each task a process of its own."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import geopandas
import pandas
import pytest
import rasterio
import xarray
from kfp import dsl
from typer.testing import CliRunner

from components.evaluate.component import evaluate
from components.gnn_train.component import gnn_train
from components.graph_build.component import graph_build
from components.segment_train.component import segment_train
from icegraph.cli import app
from icegraph.errors import ModelError
from icegraph.laptop import Field, track_passes, train_on_simulation
from icegraph.progress import silent
from icegraph.registry import Registry
from pipelines.local import RunError, run_local

FIELDS = (
    Field("sar-a", ("sar", "amsr2"), 10.24, 2, 24.0, 1),
    Field("sar-test", ("sar", "amsr2"), 10.24, 2, 24.0, 2, holdout=True),
    Field("optical-a", ("optical",), 48.0, 2, 3.0, 3),
    Field("optical-test", ("optical",), 48.0, 2, 3.0, 4, holdout=True),
)
STEPS = {"pretrain_steps": 4, "steps": 50, "matcher_steps": 40}
IMAGES_USER = 10001


def run(name: str, arguments: dict[str, Any], root: Path, log: Path) -> dict[str, list[Path]]:
    return run_local(name, arguments, root, log, lambda task, text, share: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    place = train_on_simulation(out, 0, run, silent, FIELDS, **STEPS)
    assert place == out / "training"
    return out


def icegraph(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_all_stages_ran_and_left_what_a_person_wants(trained: Path) -> None:
    ran = set(re.findall(r"Executing task \S*'([\w-]+)'", (trained / "training" / "run.log").read_text()))
    assert {"ingest", "calibrate", "fuse", "segment-train", "segment", "graph-build", "gnn-train", "track", "evaluate"} <= ran
    kept = {path.name for path in (trained / "training").iterdir()}
    assert kept == {"report.html", "metrics.json", "gate.json", "manifest.json", "passes", "tracks", "models", "registered.json", "run.log"}
    assert {path.name for path in (trained / "training" / "models").iterdir()} == {"segmenter-sar", "segmenter-optical", "matcher"}
    assert not [path for path in trained.iterdir() if path.name.startswith(".")]


def test_only_held_out_passes_are_judged_and_all_are_segmented(trained: Path) -> None:
    metrics = json.loads((trained / "training" / "metrics.json").read_text())
    held_out = {
        path.name.removesuffix(".labels.tif") for field in FIELDS if field.holdout for path in truth(trained, field).glob("*.labels.tif")
    }
    assert set(metrics["passes"]) == held_out
    assert len(list((trained / "training" / "passes").iterdir())) == sum(field.passes for field in FIELDS)
    assert metrics["sensors"]["optical"]["segmentation"]["f1"] > 0.3
    assert metrics["sensors"]["optical"]["matching"]["precision"] > 0.5


def test_every_training_is_tracked_and_models_are_registered_exactly_when_the_gate_lets_them(trained: Path) -> None:
    passed = json.loads((trained / "training" / "gate.json").read_text())["passed"]
    assert (trained / "models" / "matcher" / "champion.json").exists() == passed
    runs = Registry(trained / "models").runs("training")
    assert sorted(run["tags"]["icegraph.name"] for run in runs) == ["matcher", "segmenter-optical", "segmenter-sar"]
    assert {run["parameters"]["seed"] for run in runs} == {"0"}


def test_the_commands_keep_their_contract(trained: Path, tmp_path: Path) -> None:
    field, models = FIELDS[3], trained / "training" / "models"
    icegraph("segment", trained / "simulation" / field.name / "passes", "--out", tmp_path / "s", "--model", models)
    passes = sorted(path for path in (tmp_path / "s").iterdir())
    assert len(passes) == field.passes
    for folder in passes:
        with rasterio.open(folder / "labels.tif") as labels, rasterio.open(next(truth(trained, field).glob("*.labels.tif"))) as known:
            assert labels.dtypes == ("uint32",)
            assert (labels.transform, labels.shape, labels.crs) == (known.transform, known.shape, known.crs)
            ids = set(labels.read(1).ravel().tolist()) - {0}
        floes = geopandas.read_parquet(folder / "floes.parquet")
        assert set(floes["floe_id"]) == ids
        assert json.loads((folder / "item.json").read_text())["id"] == folder.name
        online = trained / "training" / "passes" / folder.name / "labels.tif"
        assert online.read_bytes() == (folder / "labels.tif").read_bytes()
    icegraph("track", tmp_path / "s", "--out", tmp_path / "t", "--model", models)
    matches = pandas.read_parquet(tmp_path / "t" / "matches.parquet")
    assert list(matches.columns) == ["pass_from", "floe_from", "pass_to", "floe_to", "confidence"]
    assert set(matches["pass_from"]) == {passes[0].name}
    assert matches["floe_from"].is_unique
    tracks = geopandas.read_parquet(tmp_path / "t" / "tracks.parquet")
    assert {"track_id", "time", "geometry", "u", "v", "sigma", "confidence"} <= set(tracks.columns)
    assert set(geopandas.read_parquet(tmp_path / "t" / "forecast.parquet")["horizon_h"]) == {6, 24, 48}
    with xarray.open_dataset(tmp_path / "t" / "drift.nc") as drift:
        assert drift.attrs["Conventions"] == "CF-1.8"
    said = icegraph("evaluate", tmp_path / "s", "--truth", truth(trained, field), "--tracks", tmp_path / "t", "--out", tmp_path / "e")
    assert "Outlines, F1" in said
    assert (tmp_path / "e" / "report.html").exists()


@pytest.mark.timeout(2400)
def test_a_training_in_the_images_gives_the_figures_that_it_gives_in_processes(
    trained: Path, images: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_as_nobody(name: str, arguments: dict[str, Any], root: Path, log: Path) -> dict[str, list[Path]]:
        for folder in (root, Path(arguments["registry"])):
            folder.mkdir(parents=True, exist_ok=True)
            if os.getuid() == 0:
                os.chown(folder, IMAGES_USER, IMAGES_USER)
        tmp_path.chmod(0o755)
        return run(name, arguments, root, log)

    monkeypatch.setenv("ICEGRAPH_RUNNER", "docker")
    train_on_simulation(tmp_path, 0, run_as_nobody, silent, FIELDS, **STEPS)
    for name in ("metrics.json", *(f"models/{model}/model.safetensors" for model in ("segmenter-optical", "segmenter-sar", "matcher"))):
        assert (tmp_path / "training" / name).read_bytes() == (trained / "training" / name).read_bytes(), name


def test_a_real_pair_is_tracked(trained: Path, shared_data: Path, tmp_path: Path) -> None:
    case = shared_data / "modis_floes" / "sea_of_okhostk-50km-20180412"
    models = str(trained / "training" / "models")
    place = track_passes([case / "aqua.json", case / "terra.json"], tmp_path, models, [case / "terra.labels.tif"], run)
    metrics = json.loads((place / "metrics.json").read_text())
    assert list(metrics["passes"]) == [f"{case.name}-terra", f"{case.name}-aqua"]
    assert [pass_id for pass_id, figures in metrics["passes"].items() if "segmentation" in figures] == [f"{case.name}-terra"]
    assert metrics["sensors"]["optical"]["segmentation"]["f1"] > 0.2
    with (
        rasterio.open(place / "passes" / f"{case.name}-aqua" / "labels.tif") as labels,
        rasterio.open(case / "aqua.truecolor.tif") as image,
    ):
        assert (labels.transform, labels.shape, labels.crs) == (image.transform, image.shape, image.crs)


def test_a_task_that_fails_gives_its_sentence_and_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"^ingest: .*empty.*the whole log is in .*tracking\.log\.$"):
        track_passes([tmp_path / "empty"], tmp_path / "out", str(trained / "training" / "models"), [], run)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tracking.log"]


def test_a_zipped_product_gives_what_its_folder_gives(trained: Path, tmp_path: Path) -> None:
    source, out = trained / "simulation" / FIELDS[1].name / "passes", tmp_path / "out"
    first, *others = sorted(source.glob("S1*.SAFE"))
    zipped = shutil.make_archive(str(tmp_path / first.stem), "zip", first.parent, first.name)
    icegraph("run", zipped, *others, *source.glob("GW1*"), "--out", out, "--model", trained / "training" / "models", "--max-speed", 0.5)
    for safe in (first, *others):
        told, known = (place / "passes" / safe.stem / "labels.tif" for place in (out / "tracking", trained / "training"))
        assert told.read_bytes() == known.read_bytes()
    assert '"max_speed_m_s": 0.5' in (out / "tracking" / "run.log").read_text()


def test_passes_of_two_projections_are_refused_in_one_sentence(trained: Path, tmp_path: Path) -> None:
    image = next((trained / "simulation" / FIELDS[3].name / "passes").glob("*.truecolor.tif"))
    north, south = tmp_path / "terra-20200601.tif", tmp_path / "aqua-20200601.tif"
    for path, crs in ((north, "EPSG:3413"), (south, "EPSG:3976")):
        shutil.copyfile(image, path)
        with rasterio.open(path, "r+") as dataset:
            dataset.crs = crs
    with pytest.raises(RunError, match=r"^graph-build: .*lies in EPSG:.*build one graph for each projection; the whole log is in"):
        track_passes([north, south], tmp_path / "out", str(trained / "training" / "models"), [], run)


def test_models_that_failed_the_gate_are_named_where_there_are_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = tmp_path / "training" / "models"
    failed.mkdir(parents=True)
    monkeypatch.setattr("icegraph.laptop.SHIPPED", tmp_path / "shipped")
    with pytest.raises(ModelError, match=rf"^{failed}: these models did not pass the gate.*--model {failed}\.$"):
        track_passes([tmp_path], tmp_path, None, [], run)


def test_labels_of_no_pass_are_told_and_held_out_passes_teach_nothing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passes, models = trained / "training" / "passes", trained / "training" / "models"
    scenes = [artifact(scene) for scene in sorted(passes.glob("*/scene"))]
    everything = [str(truth(trained, field)) for field in FIELDS]
    graph_build.python_func(scenes, artifact(passes), 1.0, artifact(tmp_path / "floes"), artifact(tmp_path / "graph"))
    for folder in passes.iterdir():
        assert (tmp_path / "floes" / folder.name / "labels.tif").samefile(folder / "labels.tif")

    stranger = tmp_path / "stranger.labels.tif"
    shutil.copyfile(next(truth(trained, FIELDS[0]).glob("*.labels.tif")), stranger)
    for task in (
        lambda: segment_train.python_func(scenes, "sar", everything, everything, [], 0, 1, 0, artifact(tmp_path / "s")),
        lambda: gnn_train.python_func(
            artifact(tmp_path / "graph"), artifact(tmp_path / "floes"), everything, everything, 1, 0, artifact(tmp_path / "m")
        ),
        lambda: evaluate.python_func(
            manifest=artifact(trained / "training"),
            scenes=scenes,
            floes=artifact(passes),
            tracks=artifact(trained / "training" / "tracks"),
            segmenters=[artifact(models / "segmenter-sar")],
            matcher=artifact(models / "matcher"),
            truth=[str(stranger)],
            only_known=False,
            report=artifact(tmp_path / "report"),
            results=artifact(tmp_path / "results"),
            metrics=dsl.Metrics(name="metrics", uri=""),
            classes=dsl.ClassificationMetrics(name="classes", uri=""),
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            task()
        assert ended.value.code == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("icegraph: ")]
    assert [line.split("; ")[-1] for line in said] == [
        "give the truth of at least one of the scenes.",
        "give the truth of at least one.",
        "name each <pass id>.labels.tif.",
    ]


def artifact(path: Path) -> dsl.Dataset:
    return dsl.Dataset(name=path.name, uri=str(path))


def truth(out: Path, field: Field) -> Path:
    return out / "simulation" / field.name / "truth"
