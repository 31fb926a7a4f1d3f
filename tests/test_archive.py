"""The archive: every pass once, whatever happens on the way."""

import json
import os
import random
import shutil
import tempfile
import time
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from s3_relay import Relay
from shard_process import start_shard

from components.archive_plan.component import archive_plan
from icegraph.archive import MADE, Outcome, run_shard, shards, summary
from icegraph.ingest import Manifest, ingest
from icegraph.registry import SHIPPED
from icegraph.simulate import simulate
from icegraph.store import open_store, sha256

MODELS = [SHIPPED / "segmenter-optical"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Two small optical passes, and one between them that looks well and is cut off."""
    out = tmp_path_factory.mktemp("archive")
    simulate(out / "field", seed=3, size_km=32.0, passes=3, interval_h=3.0, views=("optical",))
    listed = ingest([out / "field" / "passes"], out / "manifest")
    for file in listed.scenes[1].files:
        if file.path.suffix == ".tif":
            os.truncate(file.path, file.bytes // 2)  # after it was looked at
    return listed


def started(manifest: Manifest, lake: str | Path, tmp_path: Path, **settings: Any) -> tuple[BaseProcess, Path]:
    told = tmp_path / "told.json"
    told.unlink(missing_ok=True)
    return start_shard(manifest, MODELS, lake, tmp_path / "work", told, settings), told


def finished(manifest: Manifest, lake: str | Path, tmp_path: Path) -> list[dict[str, Any]]:
    process, told = started(manifest, lake, tmp_path)
    process.join()
    assert process.exitcode == 0
    return list(json.loads(told.read_text()))


def content(lake: str | Path) -> dict[str, tuple[int, str]]:
    """Key of each item → how often it was committed, and its SHA-256."""
    store, root = open_store(lake)
    items = [store.item(key) for key in store.list(root)]
    return {item.key.removeprefix(f"{root}/"): (item.number, item.sha256) for item in items}


def test_shards_hold_every_pass_once_in_order(manifest: Manifest) -> None:
    ids = [entry.id for entry in manifest.scenes]
    assert shards(manifest, 2) == [",".join(ids[:2]), ids[2]]


def test_a_pass_that_cannot_be_used_is_told_and_the_rest_goes_on(manifest: Manifest, tmp_path: Path) -> None:
    outcomes = finished(manifest, tmp_path / "lake", tmp_path)
    assert [one["state"] for one in outcomes] == ["done", "refused", "done"]
    assert manifest.scenes[1].files[0].path.stem.split(".")[0] in outcomes[1]["reason"]
    assert set(content(tmp_path / "lake")) == {f"floes/{manifest.scenes[k].id}" for k in (0, 2)}
    said = summary(manifest, [Outcome(**one) for one in outcomes])
    assert said["states"] == {"done": 2, "refused": 1}
    assert [row["pass_id"] for row in said["not_archived"]] == [manifest.scenes[1].id]


def test_a_shard_run_twice_changes_nothing(manifest: Manifest, tmp_path: Path) -> None:
    finished(manifest, tmp_path / "lake", tmp_path)
    before, files = content(tmp_path / "lake"), sha256(tmp_path / "lake")
    again = finished(manifest, tmp_path / "lake", tmp_path)
    assert [one["state"] for one in again] == ["already there", "refused", "already there"]
    assert sha256(tmp_path / "lake") == files
    assert {number for number, _ in before.values()} == {1}


def test_killed_twenty_times_the_lake_ends_with_the_same_bytes(manifest: Manifest, tmp_path: Path) -> None:
    start = time.monotonic()
    finished(manifest, tmp_path / "whole", tmp_path)
    per_pass = (time.monotonic() - start) / 2
    expected, chance = content(tmp_path / "whole"), random.Random(20)
    kills, rounds = 0, 0
    while kills < 20:
        rounds += 1
        lake = tmp_path / f"lake-{rounds}"
        for tries in count(4):
            process, told = started(manifest, lake, tmp_path)
            process.join(chance.uniform(0, tries / 4 * per_pass))  # longer each time: the machine may be slower than it was
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += 1
        assert process.exitcode == 0
        assert told.exists()
        assert content(lake) == expected
        shutil.rmtree(lake)


def test_an_item_tells_what_it_was_made_from(manifest: Manifest, tmp_path: Path) -> None:
    finished(manifest, tmp_path / "lake", tmp_path)
    entry = manifest.scenes[0]
    store, key = open_store(tmp_path / "lake" / "floes" / entry.id)
    item = store.item(key)
    made = json.loads(store.read(item, MADE))
    assert made["files"] == {file.path.name: file.sha256 for file in entry.files}
    assert made["models"] == {"segmenter-optical": sha256(MODELS[0])}
    assert {"labels.tif", "floes.parquet", "item.json", "scene.json", MADE} <= set(item.files)


def test_a_backlog_in_s3_gives_the_lake_that_it_gives_from_a_disk(
    manifest: Manifest, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(manifest, tmp_path / "lake", tmp_path)
    store, root = open_store(f"s3://{bucket}/passes")
    for entry in manifest.scenes[::2]:  # the one between is cut off
        place = tmp_path / "raw" / entry.id
        place.mkdir(parents=True)
        for file in entry.files:
            shutil.copy(file.path, place)
        store.commit(f"{root}/{entry.id}", place)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "tmp").mkdir()
    listed = dsl.Dataset(name="manifest", uri=str(tmp_path / "listed"))
    dealt = archive_plan.python_func(passes=[f"s3://{bucket}/passes"], shard_size=1, manifest=listed)
    assert dealt == [manifest.scenes[0].id, manifest.scenes[2].id]
    there = Manifest.read(tmp_path / "listed" / "manifest.json")
    assert {entry.href.parts[:2] for entry in there.scenes} == {("s3:", bucket)}
    outcomes = run_shard(there, [entry.id for entry in there.scenes], MODELS, str(tmp_path / "from-s3"), tmp_path / "work")
    assert [one.state for one in outcomes] == ["done", "done"]
    assert not list((tmp_path / "tmp").glob(".icegraph*"))
    assert content(tmp_path / "from-s3") == content(tmp_path / "lake")


def test_a_store_that_is_gone_for_half_a_minute_is_waited_for(manifest: Manifest, bucket: str, relay: Relay, tmp_path: Path) -> None:
    relay.gone = True
    process, told = started(manifest, f"s3://{bucket}/lake", tmp_path)
    time.sleep(30)
    assert process.exitcode is None
    relay.gone = False
    process.join()
    assert [one["state"] for one in json.loads(told.read_text())] == ["done", "refused", "done"]
    assert {number for number, _ in content(f"s3://{bucket}/lake").values()} == {1}


def test_a_store_that_stays_away_fails_the_pass_and_the_report_tells(manifest: Manifest, bucket: str, relay: Relay, tmp_path: Path) -> None:
    relay.gone = True
    process, told = started(manifest, f"s3://{bucket}/lake", tmp_path, attempts=1, patience_s=0.0)
    process.join()
    outcomes = json.loads(told.read_text())
    assert {one["state"] for one in outcomes} == {"failed"}
    assert "does not answer" in outcomes[0]["reason"]
