"""What S3 alone can do to a store: bad lines, wrong secrets, dead servers, long listings."""

import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from pyarrow import fs
from s3_relay import Relay

from icegraph.errors import InputError, StoreError
from icegraph.ingest.catalogue.filesystem import open_place
from icegraph.store import Store, open_store, sha256
from icegraph.store.s3 import PART, S3

BIG = PART * 2 + 12345
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def client(bucket: str) -> object:
    """A client that goes to the server past any relay and any setting of the test."""
    return boto3.client("s3", endpoint_url=os.environ["ICEGRAPH_TEST_S3_ENDPOINT"], region_name="us-east-1")


@pytest.fixture
def big(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_bytes(os.urandom(BIG))
    (tmp_path / "in" / "b.tif").write_bytes(os.urandom(BIG))
    return tmp_path / "in"


def small(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "f").write_text("x")
    return folder


def committing(address: str, folder: Path) -> subprocess.Popen[str]:
    """Another process that commits a folder."""
    code = f"""
from pathlib import Path
from icegraph.errors import told
from icegraph.store import open_store
with told():
    store, key = open_store({address!r})
    store.commit(key, Path({str(folder)!r}))
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_a_writer_killed_in_mid_upload_is_not_seen_and_the_next_goes_on_where_it_was(
    bucket: str, client: object, relay: Relay, big: Path, tmp_path: Path
) -> None:
    relay.stall_at = BIG + PART  # within the second file
    writer = committing(f"s3://{bucket}/k", big)
    assert relay.stalled.wait(60)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    relay.stall_at = None

    store, key = open_store(f"s3://{bucket}/k")
    assert store.list() == []
    with pytest.raises(StoreError, match="no item was committed there"):
        store.item(key)
    with pytest.raises(StoreError, match="there is no such item, object or folder"):
        store.fetch(key, tmp_path / "out")
    unfinished = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    assert [one["Key"].rpartition("/")[2] for one in unfinished] == ["b.tif"]

    relay.sent = 0
    store.commit(key, big)
    assert BIG < relay.sent < 1.2 * BIG, "the first file is not sent again"
    store.fetch(key, tmp_path / "out")
    assert sha256(tmp_path / "out") == sha256(big)

    store.sweep(key, datetime.now(UTC) + timedelta(minutes=1))
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    store.fetch(key, tmp_path / "again")


def test_large_files_go_up_in_parts(bucket: str, client: object, big: Path) -> None:
    item = Store(S3(bucket)).commit("k", big)
    assert client.head_object(Bucket=bucket, Key=item.file_key("a.tif"))["ETag"].strip('"').endswith("-3")


def test_a_server_without_conditional_writes_is_looked_at_first(bucket: str, relay: Relay, tmp_path: Path) -> None:
    """Some servers refuse a put that asks for nothing to be there; an item is committed there all the same, and an older one stays."""
    relay.lacks = b"If-None-Match"
    store = Store(S3(bucket))
    assert store.commit("item", small(tmp_path / "one")).number == 1
    assert not S3(bucket).create("item/committed-00000001.json", b"other")
    (tmp_path / "one" / "f").write_text("y")
    assert store.commit("item", tmp_path / "one").number == 2
    store.fetch("item", tmp_path / "back")
    assert (tmp_path / "back" / "f").read_text() == "y"
    assert any(request.startswith("PUT ") for request in relay.requests)


def test_a_busy_server_is_asked_again(bucket: str, relay: Relay, tmp_path: Path) -> None:
    relay.busy = 3
    Store(S3(bucket)).commit("k", small(tmp_path / "in"))
    assert relay.busy == 0
    relay.busy = 2
    Store(S3(bucket)).fetch("k", tmp_path / "out")
    assert (relay.busy, (tmp_path / "out" / "f").read_text()) == (0, "x")


def test_a_line_that_breaks_in_mid_download_is_taken_up_again(bucket: str, relay: Relay, big: Path, tmp_path: Path) -> None:
    Store(S3(bucket)).commit("k", big)
    store, key = open_store(f"s3://{bucket}/k")
    relay.cuts, relay.cut_at = 3, 1 << 20
    store.fetch(key, tmp_path / "out")
    assert relay.cuts == 0
    assert sha256(tmp_path / "out") == sha256(big)


def test_a_bit_that_flips_on_the_way_is_refused_by_the_server(bucket: str, relay: Relay, tmp_path: Path) -> None:
    relay.flip = b"pixels"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("these are pixels")
    with pytest.raises(StoreError, match="the server answered XAmzContentSHA256Mismatch"):
        Store(S3(bucket)).commit("k", tmp_path / "in")
    assert list(S3(bucket).list("")) == []


def test_a_commit_whose_answer_is_lost_is_known_as_its_own(bucket: str, relay: Relay, tmp_path: Path) -> None:
    relay.lose = b"/committed-00000001.json"
    item = Store(S3(bucket)).commit("k", small(tmp_path / "in"))
    assert relay.lose == b"" and item.number == 1
    puts = [request for request in relay.requests if request.startswith("PUT") and "committed-" in request]
    assert len(puts) == 2, "it was sent again, and met itself"


def test_listings_of_more_than_a_thousand_objects_are_whole(bucket: str, client: object, tmp_path: Path) -> None:
    names = [f"raw/{number:04d}.json" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.put_object(Bucket=bucket, Key=name, Body=name.encode()), names))
    store = Store(S3(bucket))
    store.commit("z", small(tmp_path / "in"))
    assert store.list() == ["z"], "it comes after the first page"
    assert [one.key for one in S3(bucket).list("raw/")] == names
    S3(bucket).remove(names)
    assert list(S3(bucket).list("raw/")) == []


def refusals(bucket: str, folder: Path) -> dict[str, Callable[[], object]]:
    def store() -> Store:
        return Store(S3(bucket))

    return {
        "commit": lambda: store().commit("k", folder),
        "list": lambda: store().list(),
        "fetch": lambda: store().fetch("k", folder.with_name("out")),
    }


@pytest.mark.parametrize("doing", ["commit", "list", "fetch"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": SECRET}, "the server does not let you (SignatureDoesNotMatch); check AWS_ACCESS_KEY_ID and"),
        ({"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": SECRET}, "the server does not let you ("),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "nothing tells who asks; set AWS_ACCESS_KEY_ID and"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_SECRET_ACCESS_KEY": SECRET}, "127.0.0.1:9 does not answer ("),
    ],
    ids=["wrong secret", "wrong user", "no credentials", "no server"],
)
def test_what_is_wrong_is_one_sentence_without_a_secret(
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, str],
    said: str,
    doing: str,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreError) as raised:
        refusals(bucket, small(tmp_path / "in"))[doing]()
    text = str(raised.value)
    assert text.startswith(f"s3://{bucket}") and said in text and "\n" not in text
    everything = caplog.text + "".join(traceback.format_exception(raised.value))
    assert SECRET not in everything
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("doing", ["commit", "list", "fetch"])
def test_a_missing_bucket_is_told(bucket: str, tmp_path: Path, doing: str) -> None:
    with pytest.raises(StoreError, match="there is no such bucket; make it, or check the address"):
        refusals(f"{bucket}-not", small(tmp_path / "in"))[doing]()


def test_a_bucket_that_vanishes_in_mid_upload_is_told(bucket: str, client: object, relay: Relay, big: Path, tmp_path: Path) -> None:
    relay.stall_at = PART
    name = f"{bucket}-gone"
    client.create_bucket(Bucket=name)
    writer = committing(f"s3://{name}/k", big)
    assert relay.stalled.wait(60)
    gone = boto3.resource("s3", endpoint_url=os.environ["ICEGRAPH_TEST_S3_ENDPOINT"], region_name="us-east-1").Bucket(name)
    for upload in gone.multipart_uploads.all():
        upload.abort()
    gone.objects.delete()
    gone.delete()
    relay.go_on()
    _, said = writer.communicate(timeout=120)
    assert writer.returncode == 1
    assert said.startswith(f"icegraph: s3://{name}/k/content-") and said.count("\n") == 1
    assert "no such bucket" in said or "NoSuch" in said
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said


@pytest.mark.parametrize("names", [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("accesskey", "secretkey")])
def test_a_mounted_kubernetes_secret_tells_who_asks(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    Store(S3(bucket)).commit("k", small(tmp_path / "in"))
    (tmp_path / "secret").mkdir()
    for name, variable in zip(names, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), strict=True):
        (tmp_path / "secret" / name).write_text(os.environ[variable] + "\n")
        monkeypatch.setenv(variable, "wrong")
    monkeypatch.setenv("ICEGRAPH_S3_SECRET", str(tmp_path / "secret"))
    assert Store(S3(bucket)).list() == ["k"]
    listing, root, _ = open_place(f"s3://{bucket}/k")
    assert listing.get_file_info(fs.FileSelector(root, recursive=True))
    (tmp_path / "secret" / names[1]).unlink()
    with pytest.raises(InputError, match=r"holds neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY nor accesskey and secretkey; mount"):
        S3(bucket)


def test_a_profile_tells_who_asks_and_where(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(S3(bucket)).commit("k", small(tmp_path / "in"))
    user, secret = (os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    (tmp_path / "credentials").write_text(f"[ice]\naws_access_key_id = {user}\naws_secret_access_key = {secret}\n")
    server = os.environ["AWS_ENDPOINT_URL"].replace("127.0.0.1", "localhost")  # a name, before which a bucket's could be set
    (tmp_path / "config").write_text(f"[profile ice]\nendpoint_url = {server}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "ice")
    assert Store(S3(bucket)).list() == ["k"]


def test_the_server_may_be_named_as_for_gdal(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(S3(bucket)).commit("k", small(tmp_path / "in"))
    monkeypatch.setenv("AWS_S3_ENDPOINT", os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"))
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert Store(S3(bucket)).list() == ["k"]


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@host:9000", "ftp://host", "http://"])
def test_an_endpoint_that_is_none_is_refused_without_telling_its_secret(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL: is not the address of a server") as raised:
        S3("bucket")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "address", [f"s3://user:{SECRET}@bucket/k", "s3://", "s3:///k", "s3://a", "gs://bucket/k", f"https://host/k?sig={SECRET}"]
)
def test_an_address_that_is_none_is_refused_without_telling_its_secret(address: str) -> None:
    with pytest.raises(InputError, match=r"is not an address that can be read here; write s3://BUCKET/KEY") as raised:
        open_store(address)
    assert SECRET not in str(raised.value)
