"""What tasks end with before there is work to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.evaluate.component import evaluate
from components.gnn_train.component import gnn_train
from components.ingest.component import ingest
from components.register.component import register
from components.segment.component import segment
from components.segment_train.component import segment_train
from icegraph.store import Refusal, write_refusal

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
    # Passes are read again by later tasks, so they must lie where all tasks can read them.
    on_disk = "icegraph: gs://ice/a: is not on a disk that can be read here; mount the bucket and name the folder.\n"
    in_s3 = "icegraph: gs://…: is not an address that can be read here; write s3://BUCKET/KEY, and no user or password in it.\n"
    for task, expected, named in (
        (ingest, on_disk, {"passes": BUCKET, "manifest": place}),
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
