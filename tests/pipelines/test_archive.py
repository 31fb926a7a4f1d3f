"""The archive pipeline through KFP's local runner, each task a process."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icegraph.cli import app
from icegraph.registry import SHIPPED
from icegraph.simulate import simulate
from icegraph.store import open_store, sha256
from pipelines.local import run_local


@pytest.fixture(scope="module")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("passes")
    simulate(out / "field", seed=5, size_km=32.0, passes=2, interval_h=3.0, views=("optical",))
    (out / "field" / "passes" / "broken-20200101.tif").write_bytes(b"not a raster")
    return out / "field" / "passes"


def run(passes: Path, lake: Path, root: Path) -> dict[str, object]:
    arguments = {"passes": [str(passes)], "segmenters": [str(SHIPPED / "segmenter-optical")], "lake": str(lake), "shard_size": 1}
    root.mkdir()
    outputs = run_local("sea_ice_archive", arguments, root / "artifacts", root / "log", lambda task, text, share: None)
    return dict(json.loads((outputs["summary"][0] / "summary.json").read_text()))


def test_the_pipeline_archives_each_pass_once_with_the_bytes_that_segment_writes(passes: Path, tmp_path: Path) -> None:
    first = run(passes, tmp_path / "lake", tmp_path / "first")
    assert first["states"] == {"done": 2}
    assert len(first["refused_on_sight"]) == 1
    whole = sha256(tmp_path / "lake")
    second = run(passes, tmp_path / "lake", tmp_path / "second")
    assert second["states"] == {"already there": 2}
    assert second["items"] == first["items"]
    assert sha256(tmp_path / "lake") == whole

    asked = ["segment", str(passes), "--out", str(tmp_path / "one"), "--model", str(SHIPPED)]
    result = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    for pass_id in first["items"]:
        store, key = open_store(tmp_path / "lake" / "floes" / pass_id)
        item = store.item(key)
        for name in ("labels.tif", "classes.tif", "floe_probability.tif", "floes.parquet", "item.json"):
            assert item.files[name].sha256 == sha256(tmp_path / "one" / pass_id / name), name
