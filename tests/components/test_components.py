"""The components called as plain functions: what passes from one to the next."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.calibrate.component import calibrate
from components.fuse.component import fuse
from components.ingest.component import ingest
from components.register.component import register
from icegraph.evaluate import check_gate
from icegraph.ingest import Manifest
from icegraph.registry import Registry, model_set
from icegraph.scene import Scene
from icegraph.simulate import simulate
from icegraph.store import read_refusal


@pytest.fixture(scope="module")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("field") / "s"
    simulate(out, seed=1, size_km=16.0, passes=1, views=("sar", "amsr2", "optical"))
    return out / "passes"


def artifact(path: Path) -> dsl.Dataset:
    return dsl.Dataset(name=path.name, uri=str(path))


def test_ingest_gives_the_passes_to_loop_over_and_the_sensors_to_train_for(passes: Path, tmp_path: Path) -> None:
    pass_ids, sensors = ingest.python_func(passes=[str(passes)], manifest=artifact(tmp_path / "m"))
    manifest = Manifest.read(tmp_path / "m" / "manifest.json")
    assert pass_ids == [entry.id for entry in manifest.scenes]
    assert len(pass_ids) == 2
    assert sensors == ["optical", "sar"]
    assert len(manifest.partners) == 1


def test_ingest_ends_with_a_sentence_where_nothing_is_usable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tif").write_bytes(b"not a raster")
    with pytest.raises(SystemExit) as ended:
        ingest.python_func(passes=[str(tmp_path / "x.tif")], manifest=artifact(tmp_path / "m"))
    assert ended.value.code == 1
    assert "x.tif" in capsys.readouterr().err


def test_a_radar_pass_becomes_a_scene_with_amsr2(passes: Path, tmp_path: Path) -> None:
    pass_ids, _ = ingest.python_func(passes=[str(passes)], manifest=artifact(tmp_path / "m"))
    radar = next(name for name in pass_ids if name.startswith("S1B"))
    calibrate.python_func(manifest=artifact(tmp_path / "m"), pass_id=radar, scene=artifact(tmp_path / "s"))
    fuse.python_func(manifest=artifact(tmp_path / "m"), scene=artifact(tmp_path / "s"), fused=artifact(tmp_path / "f"))
    assert Scene.open(tmp_path / "s").bands == ["hh_db", "hv_db", "incidence_deg"]
    assert {"tb_36v_k", "sic_percent"} <= set(Scene.open(tmp_path / "f").bands)


def test_a_pass_that_calibrate_cannot_use_is_handed_on_as_a_refusal(passes: Path, tmp_path: Path) -> None:
    pass_ids, _ = ingest.python_func(passes=[str(passes)], manifest=artifact(tmp_path / "m"))
    optical = next(name for name in pass_ids if not name.startswith("S1B"))
    image = passes / f"{optical}.truecolor.tif"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 3])  # damaged after it was looked at
    try:
        calibrate.python_func(manifest=artifact(tmp_path / "m"), pass_id=optical, scene=artifact(tmp_path / "s"))
    finally:
        image.write_bytes(whole)
    fuse.python_func(manifest=artifact(tmp_path / "m"), scene=artifact(tmp_path / "s"), fused=artifact(tmp_path / "f"))
    refusal = read_refusal(tmp_path / "f")
    assert refusal is not None
    assert image.name in refusal.reason


def model(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_trainings_are_tracked_and_only_models_that_the_gate_judged_are_registered(
    passes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pass_ids, _ = ingest.python_func(passes=[str(passes)], manifest=artifact(tmp_path / "i"))
    radar = next(name for name in pass_ids if name.startswith("S1B"))
    calibrate.python_func(manifest=artifact(tmp_path / "i"), pass_id=radar, scene=artifact(tmp_path / "scene"))
    segmenters = [model(tmp_path / sensor, {"kind": "icegraph-segmenter", "sensor": sensor}) for sensor in ("sar", "optical")]
    matcher = model(tmp_path / "m", {"kind": "matcher"})
    thresholds = tmp_path / "gate.toml"
    thresholds.write_text('[sar]\n"segmentation.f1" = { at_least = 0.8 }\n[optical]\n"segmentation.f1" = { at_least = 0.9 }\n')
    metrics = {"sensors": {"sar": {"segmentation": {"f1": 0.85}}}}
    gate = check_gate(metrics, thresholds)
    assert gate.passed
    results = tmp_path / "results"
    results.mkdir()
    (results / "metrics.json").write_text(json.dumps(metrics))
    (results / "gate.json").write_text(json.dumps(gate.as_dict()))
    place = tmp_path / "registry"

    def run() -> list[dict[str, Any]]:
        verdict = register.python_func(
            scenes=[artifact(tmp_path / "scene")],
            segmenters=[dsl.Model(uri=str(path)) for path in segmenters],
            matcher=dsl.Model(uri=str(matcher)),
            results=artifact(results),
            holdout=[str(passes.parent / "truth")],
            registry=str(place),
            registered=artifact(tmp_path / "registered"),
        )
        assert verdict == ("pass" if json.loads((results / "gate.json").read_text())["passed"] else "fail")
        return list(json.loads((tmp_path / "registered" / "registered.json").read_text()))

    outcomes = run()
    assert run() == outcomes  # the task may be run again
    assert [(one["name"], one["champion"]) for one in outcomes] == [
        ("segmenter-sar", True),
        ("segmenter-optical", False),
        ("matcher", True),
    ]
    assert "segmenter-optical: not registered: no pass of its sensor was judged" in capsys.readouterr().out
    registry = Registry(place)
    assert registry.names() == ["matcher", "segmenter-sar"]
    assert len(registry.runs("training")) == 3
    assert registry.champion("segmenter-sar").figures == {"sar.segmentation.f1": 0.85}
    assert [path.name for path in (registry.fetch_pinned(tmp_path / "pinned") / "scenes").iterdir()] == [radar]
    models = model_set(None, (place,))
    assert models.places.keys() == {"segmenter-sar", "matcher"}
    for name, source in (("segmenter-sar", segmenters[0]), ("matcher", matcher)):
        assert (models.places[name] / "config.json").read_bytes() == (source / "config.json").read_bytes()

    (results / "gate.json").write_text(json.dumps(gate.as_dict() | {"passed": False}))
    (segmenters[0] / "model.safetensors").write_bytes(b"worse")
    assert {one["told"] for one in run()} == {"not registered: the gate did not let it pass"}
    assert len(registry.runs("training")) == 4
    assert len(registry.versions("segmenter-sar")) == 1
