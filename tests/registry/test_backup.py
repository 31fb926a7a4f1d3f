"""The rehearsal of docs/operations.md: buckets and the registry's server are backed up, lost, and brought back elsewhere."""

import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from icegraph.cli import app
from icegraph.errors import StoreError
from icegraph.registry import Registry
from icegraph.registry.lifecycle import Verdict, promote
from icegraph.store import open_store, sha256


def s3() -> Any:
    return boto3.resource("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")


@pytest.fixture
def fresh_bucket(bucket: str) -> Iterator[str]:
    """The bucket that is restored into."""
    made = s3().Bucket(f"icegraph-{uuid.uuid4().hex[:12]}")
    made.create()
    yield made.name
    made.objects.delete()
    made.delete()


def mirror_out(bucket: str, folder: Path) -> None:
    """What `mc mirror BUCKET FOLDER` and `aws s3 sync` do: every object becomes a file."""
    for one in s3().Bucket(bucket).objects.all():
        (folder / one.key).parent.mkdir(parents=True, exist_ok=True)
        s3().Bucket(bucket).download_file(one.key, str(folder / one.key))


def mirror_in(folder: Path, bucket: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            s3().Bucket(bucket).upload_file(str(file), file.relative_to(folder).as_posix())


def test_a_bucket_that_was_mirrored_holds_every_item_whole(bucket: str, fresh_bucket: str, tmp_path: Path) -> None:
    store = open_store(f"s3://{bucket}")[0]
    for number, key in enumerate(("lake/floes/a", "lake/floes/b", "models/in-use")):
        (tmp_path / "made" / key / "inner").mkdir(parents=True)
        (tmp_path / "made" / key / "floes.parquet").write_bytes(os.urandom(1000 + number))
        (tmp_path / "made" / key / "inner" / "labels.tif").write_bytes(os.urandom(10_000))
        store.commit(key, tmp_path / "made" / key)
    s3().Bucket(bucket).put_object(Key="passes/raw.zip", Body=b"a raw pass")
    mirror_out(bucket, tmp_path / "backup")
    s3().Bucket(bucket).objects.delete()
    mirror_in(tmp_path / "backup", fresh_bucket)
    restored = open_store(f"s3://{fresh_bucket}")[0]
    assert restored.list() == ["lake/floes/a", "lake/floes/b", "models/in-use"]
    for key in restored.list():
        restored.fetch(key, tmp_path / "back" / key)
        assert sha256(tmp_path / "back" / key) == sha256(tmp_path / "made" / key)
    assert s3().Object(fresh_bucket, "passes/raw.zip").get()["Body"].read() == b"a raw pass"
    # The mirror itself can be read, and one item of it put back.
    words = ["copy", str(tmp_path / "made" / "lake/floes/a"), "--out", f"s3://{fresh_bucket}/once-more"]
    CliRunner().invoke(app, words, catch_exceptions=False)
    assert restored.item("once-more").sha256 == sha256(tmp_path / "made" / "lake/floes/a")
    assert open_store(tmp_path / "backup" / "lake")[0].list("lake") == ["lake/floes/a", "lake/floes/b"]


def test_a_mirror_that_was_damaged_is_found_by_its_sha256(bucket: str, fresh_bucket: str, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "floes.parquet").write_bytes(b"floes")
    open_store(f"s3://{bucket}")[0].commit("lake/floes/a", tmp_path / "made")
    mirror_out(bucket, tmp_path / "backup")
    next((tmp_path / "backup").rglob("floes.parquet")).write_bytes(b"flees")
    mirror_in(tmp_path / "backup", fresh_bucket)
    with pytest.raises(StoreError, match="is not what was committed"):
        open_store(f"s3://{fresh_bucket}")[0].fetch("lake/floes/a", tmp_path / "back")


def test_a_registrys_server_comes_back_from_its_database_and_its_artifacts(server: Any, make_model: Any, tmp_path: Path) -> None:
    """The database first, then the artifacts: what a version needs was there before the version."""
    name = "segmenter-restored"
    known = Registry(server.url)
    versions = [known.register(make_model(f"restored-{number}", name), name, {}) for number in (1, 2)]
    promote(known, versions[0], "champion", tmp_path / "in-use", lambda _: Verdict({"sar.segmentation.pq": 0.6}))
    with closing(sqlite3.connect(server.folder / "mlflow.db")) as there, closing(sqlite3.connect(tmp_path / "dump.db")) as dump:
        there.backup(dump)  # as pg_dump does: one moment of it, while it is written to
    shutil.copytree(server.folder / "artifacts", tmp_path / "artifacts")
    other = type(server)(tmp_path / "elsewhere", tmp_path / "dump.db")
    shutil.copytree(tmp_path / "artifacts", other.folder / "artifacts")
    other.start()
    try:
        restored = Registry(other.url)
        assert [(one.number, one.sha256, one.aliases) for one in restored.versions(name)] == [
            (one.number, one.sha256, one.aliases) for one in known.versions(name)
        ]
        assert restored.champion(name) is not None
        assert not [sentence for sentence in restored.verify() if sentence.startswith(name)]
        there = restored.fetch(restored.versions(name)[0], tmp_path / "served")
        assert (there / "model.safetensors").read_bytes() == b"restored-2"
    finally:
        other.stop()
