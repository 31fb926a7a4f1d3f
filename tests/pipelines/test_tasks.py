"""What tasks end with before there is work to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.calibrate.component import calibrate
from components.evaluate.component import evaluate
from components.fuse.component import fuse
from components.gnn_train.component import gnn_train
from components.ingest.component import ingest
from components.register.component import register
from components.segment.component import segment
from components.segment_train.component import segment_train
from icegraph.ingest import Manifest
from icegraph.scene import Scene
from icegraph.simulate import simulate
from icegraph.store import Refusal, open_store, write_refusal

BUCKET = ["gs://ice/a"]


def artifact(path: Path) -> dsl.Dataset:
    return dsl.Dataset(name=path.name, uri=str(path))


def sentence(capsys: pytest.CaptureFixture[str], task: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """What a task that cannot do its work says."""
    with pytest.raises(SystemExit) as ended:
        task(*arguments, **named)
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_an_address_is_not_taken_for_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = artifact(tmp_path / "x")
    places = dict.fromkeys(("manifest", "floes", "tracks", "matcher", "report", "results", "metrics", "classes"), place)
    in_s3 = "icegraph: gs://…: is not an address that can be read here; write s3://BUCKET/KEY, and no user or password in it.\n"
    for task, expected, named in (
        (ingest, in_s3, {"passes": BUCKET, "manifest": place}),
        (evaluate, in_s3, {**places, "scenes": [], "segmenters": [], "truth": BUCKET, "only_known": False}),
        (gnn_train, in_s3, {"graph": place, "floes": place, "truth": BUCKET, "holdout": [], "steps": 1, "seed": 0, "model": place}),
        (gnn_train, in_s3, {"graph": place, "floes": place, "truth": [], "holdout": BUCKET, "steps": 1, "seed": 0, "model": place}),
        (
            segment_train,
            in_s3,
            {
                "scenes": [],
                "sensor": "sar",
                "truth": BUCKET,
                "holdout": [],
                "start": [],
                "pretrain_steps": 0,
                "steps": 1,
                "seed": 0,
                "model": place,
            },
        ),
        (
            register,
            in_s3,
            {
                "scenes": [],
                "segmenters": [],
                "matcher": place,
                "results": place,
                "holdout": BUCKET,
                "registry": str(tmp_path / "registry"),
                "registered": place,
            },
        ),
    ):
        assert sentence(capsys, task.python_func, **named) == expected


def test_where_every_pass_was_refused_the_reasons_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        write_refusal(tmp_path / name, Refusal(f"{name}.tif", f"{name}.tif: is cut off; download it again."))
    scenes = [artifact(tmp_path / "a"), artifact(tmp_path / "b")]
    said = sentence(capsys, segment.python_func, scenes, [], artifact(tmp_path / "out"))
    assert said == "icegraph: no pass could be used: a.tif: is cut off; download it again. b.tif: is cut off; download it again.\n"


def made(passes: list[str], out: Path) -> dict[str, str]:
    """Pass id → the SHA-256 that the scene's item gives each band, after ingest, calibrate and fuse."""
    manifest = artifact(out / "manifest")
    found = ingest.python_func(passes=passes, manifest=manifest)
    checksums = {}
    for pass_id in found.pass_ids:
        scene, fused = artifact(out / pass_id / "scene"), artifact(out / pass_id / "fused")
        calibrate.python_func(manifest=manifest, pass_id=pass_id, scene=scene)
        fuse.python_func(manifest=manifest, scene=scene, fused=fused)
        item = Scene.open(Path(fused.path)).item
        checksums[pass_id] = {name: asset.extra_fields["file:checksum"] for name, asset in item.assets.items()}
        assert "tb_36h_k" in checksums[pass_id]
    return checksums


def test_passes_in_s3_become_the_scenes_that_they_become_on_a_disk(bucket: str, tmp_path: Path) -> None:
    simulate(tmp_path / "field", seed=5, size_km=10.24, passes=1, views=("sar", "amsr2"))
    store, key = open_store(f"s3://{bucket}/passes")
    store.commit(key, tmp_path / "field" / "passes")
    assert made([f"s3://{bucket}/passes"], tmp_path / "s3") == made([str(tmp_path / "field" / "passes")], tmp_path / "disk")
    text = (tmp_path / "s3" / "manifest" / "manifest.json").read_text()
    assert f"s3://{bucket}/passes/" in text
    assert str(tmp_path) not in text
    assert [entry.kind for entry in Manifest.read(tmp_path / "s3" / "manifest" / "manifest.json").passes]
