"""The rehearsal of docs/operations.md: buckets and the registry's server are backed up, lost, and brought back elsewhere."""

import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
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


class Postgres:
    """A Postgres set up as that of manifests/base/postgres.yaml: its user is `mlflow`, and it asks for the password on the socket too.

    Args:
        folder: Gets its files and its socket, and is nobody's: Postgres does not run as root.
        programs: Where its programs are, as in PATH.
    """

    def __init__(self, folder: Path, programs: str) -> None:
        self._folder, self._password = folder, uuid.uuid4().hex
        self._user = "nobody" if os.getuid() == 0 else None
        self._settings = {"PATH": programs, "PGHOST": str(folder), "PGUSER": "mlflow", "PGPASSWORD": self._password}
        self.address = f"postgresql+psycopg2://mlflow:{self._password}@/mlflow?host={folder}"

    def start(self) -> None:
        (self._folder / "password").write_text(self._password)
        if self._user:
            shutil.chown(self._folder, self._user)
        self("initdb --pgdata=$PGHOST/data --username=mlflow --pwfile=$PGHOST/password --auth=scram-sha-256 --data-checksums")
        self("pg_ctl start --wait --pgdata=$PGHOST/data --log=$PGHOST/log --options=\"-k $PGHOST -h ''\"")
        self("createdb mlflow")

    def stop(self) -> None:
        self("pg_ctl stop --pgdata=$PGHOST/data --mode=fast")

    def __call__(self, command: str, given: bytes | None = None) -> bytes:
        """What `in_postgres` of docs/operations.md does in the pod."""
        done = subprocess.run(
            ["sh", "-c", command], cwd=self._folder, env=self._settings, user=self._user, input=given, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    # Debian keeps them off the PATH. A socket's path has to be short, and pytest's folders are root's alone.
    programs = os.pathsep.join([*map(str, Path("/usr/lib/postgresql").glob("*/bin")), os.environ["PATH"]])
    if not shutil.which("initdb", path=programs):
        pytest.skip("Postgres is not installed (Debian's package is `postgresql`)")
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(folder), programs)
        postgres.start()
        yield postgres
        postgres.stop()


def documented(program: str) -> str:
    """The command of docs/operations.md that calls a program in Postgres' pod."""
    (command,) = re.findall(rf"in_postgres '({program} [^']*)'", (Path(__file__).parents[2] / "docs" / "operations.md").read_text())
    return str(command)


def test_a_registrys_server_comes_back_from_postgres_dump_and_its_artifacts(
    postgres: Postgres, server: Any, make_model: Any, tmp_path: Path
) -> None:
    name = "segmenter-dumped"
    mlflow = type(server)(tmp_path / "server", postgres.address)
    mlflow.start()
    try:
        known = Registry(mlflow.url)
        versions = [known.register(make_model(f"dumped-{number}", name), name, {}) for number in (1, 2)]
        promote(known, versions[0], "champion", tmp_path / "in-use", lambda _: Verdict({"sar.segmentation.pq": 0.6}))
        there, trail = known.versions(name), known.trail(name)
        dump = postgres(documented("pg_dump"))
        shutil.copytree(mlflow.folder / "artifacts", tmp_path / "artifacts")

        # What came after the dump is lost; a later release has been at the database; and half of it is gone.
        known.register(make_model("dumped-3", name), name, {})
        with pytest.raises(AssertionError, match="being accessed by other users"):
            postgres(documented("pg_restore"), dump)
        mlflow.stop()
        shutil.rmtree(mlflow.folder / "artifacts")
        for lost in (
            "CREATE TABLE of_a_later_release (id integer REFERENCES experiments (experiment_id))",
            "DROP TABLE model_version_tags CASCADE",
            "DELETE FROM registered_model_aliases",
        ):
            postgres(f"psql --quiet --dbname=mlflow --set=ON_ERROR_STOP=1 --command='{lost}'")

        shutil.copytree(tmp_path / "artifacts", mlflow.folder / "artifacts")
        postgres(documented("pg_restore"), dump)
        mlflow.start()
        restored = Registry(mlflow.url)
        assert (restored.versions(name), restored.trail(name)) == (there, trail)
        assert restored.champion(name) == there[1]
        assert restored.verify() == []
        served = restored.fetch(there[0], tmp_path / "served")
        assert (served / "model.safetensors").read_bytes() == b"dumped-2"
    finally:
        mlflow.stop()


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
