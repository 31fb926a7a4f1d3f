"""What holds of a store wherever its bytes lie: each test runs on a folder and, where there is a server, on S3."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from icegraph.errors import InputError, StoreError
from icegraph.store import Item, Store, sha256
from icegraph.store.items import Folder, Objects
from icegraph.store.s3 import S3

SOON = timedelta(minutes=1)


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return S3(request.getfixturevalue("bucket")) if request.param == "s3" else Folder(tmp_path / "lake")


@pytest.fixture
def store(objects: Objects) -> Store:
    return Store(objects)


def filled(folder: Path, **files: str) -> Path:
    for name, text in (files or {"item.json": "{}", "hv_db.tif": "pixels"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def spoil(objects: Objects, key: str, tmp_path: Path) -> None:
    """Flip one bit of an object, behind the store's back."""
    content = bytearray(objects.read(key))
    content[len(content) // 2] ^= 1
    (tmp_path / "spoilt").write_bytes(content)
    objects.put(key, tmp_path / "spoilt")


def kept(objects: Objects) -> list[str]:
    return [one.key for one in objects.list("")]


def test_a_committed_item_comes_back_byte_for_byte(store: Store, tmp_path: Path) -> None:
    folder = filled(tmp_path / "in", **{"item.json": "{}", "scene/hv_db.tif": "pixels", "scene/a/b/c": "", "scene-2": "beside"})
    item = store.commit("scenes/a", folder)
    store.fetch("scenes/a", tmp_path / "out")
    assert sha256(tmp_path / "out") == sha256(folder) == item.sha256
    assert store.list() == store.list("scenes") == ["scenes/a"] and store.list("scene") == []
    assert store.read(store.item("scenes/a"), "item.json") == b"{}"


def test_a_file_or_folder_of_an_item_can_be_fetched_alone(store: Store, tmp_path: Path) -> None:
    store.commit("a", filled(tmp_path / "in", **{"item.json": "{}", "scene/hv_db.tif": "pixels"}))
    store.fetch("a/scene/hv_db.tif", tmp_path / "x.tif")
    store.fetch("a/scene", tmp_path / "scene")
    assert (tmp_path / "x.tif").read_text() == (tmp_path / "scene" / "hv_db.tif").read_text() == "pixels"


def test_what_belongs_to_no_item_is_fetched_as_it_is_with_the_items_around(store: Store, objects: Objects, tmp_path: Path) -> None:
    filled(tmp_path / "in")
    objects.put("raw/p.SAFE/manifest.safe", tmp_path / "in" / "item.json")
    store.commit("raw/q", tmp_path / "in")
    store.fetch("raw", tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "p.SAFE/manifest.safe",
        "q/hv_db.tif",
        "q/item.json",
    ]
    with pytest.raises(StoreError, match="there is no such item, object or folder; check the address"):
        store.fetch("ra", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("where", ["put", "create"], ids=["before the last file", "before the commit"])
def test_a_killed_writer_leaves_nothing_to_see_and_the_next_goes_on(objects: Objects, store: Store, tmp_path: Path, where: str) -> None:
    folder = filled(tmp_path / "in", a="first", b="second")
    made = f"S3({objects._bucket!r})" if isinstance(objects, S3) else f"Folder(Path({str(objects._root)!r}))"
    code = f"""
import os, signal
from pathlib import Path
from icegraph.store.items import Folder, Store
from icegraph.store.s3 import S3
objects = {made}
usual = type(objects).{where}
def die(self, key, *rest):
    if key.endswith(("/b", ".json")):
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(self, key, *rest)
type(objects).{where} = die
Store(objects).commit("k", Path({str(folder)!r}))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert kept(objects) != []
    assert store.list() == []
    for look in (lambda: store.item("k"), lambda: store.fetch("k", tmp_path / "out")):
        with pytest.raises(StoreError):
            look()
    before = {one.key: one.modified for one in objects.list("")}
    item = store.commit("k", folder)
    assert item.number == 1
    assert {one.key: one.modified for one in objects.list("") if one.key in before} == before, "what was there is not put again"
    store.fetch("k", tmp_path / "out")
    assert sha256(tmp_path / "out") == sha256(folder)


def test_what_a_killed_writer_left_is_swept_when_it_is_old(objects: Objects, store: Store, tmp_path: Path) -> None:
    folder = filled(tmp_path / "in")
    store.commit("k", folder)
    left = f"k/content-{'ab' * 32}/x.tif"
    objects.put(left, folder / "hv_db.tif")
    objects.put("raw.tif", folder / "hv_db.tif")
    store.sweep()
    assert left in kept(objects), "a writer may be at work there"
    store.sweep("k", datetime.now(UTC) + SOON)
    assert left not in kept(objects) and "raw.tif" in kept(objects)
    store.fetch("k", tmp_path / "out")


def test_what_was_replaced_stays_for_its_readers_until_it_is_old(objects: Objects, store: Store, tmp_path: Path) -> None:
    former = store.commit("k", filled(tmp_path / "one", f="1"))
    assert store.commit("k", filled(tmp_path / "one", f="1")) == former, "the same content is the same commit"
    latter = store.commit("k", filled(tmp_path / "two", f="2"))
    assert (former.number, latter.number) == (1, 2)
    assert (store.read(former, "f"), store.read(store.item("k"), "f")) == (b"1", b"2")
    store.sweep("k", datetime.now(UTC) + SOON)
    assert kept(objects) == ["k/committed-00000002.json", latter.file_key("f")]
    with pytest.raises((StoreError, FileNotFoundError)):
        store.read(former, "f")


def test_a_commit_can_go_back_to_former_content(store: Store, tmp_path: Path) -> None:
    contents = [filled(tmp_path / name, f=name) for name in "ab"]
    assert [store.commit("k", contents[which]).number for which in (0, 1, 0)] == [1, 2, 3]
    assert store.read(store.item("k"), "f") == b"a"


def test_of_writers_at_once_one_wins_and_the_others_are_told(objects: Objects, store: Store, tmp_path: Path) -> None:
    base = store.commit("k", filled(tmp_path / "base", f="base"))
    start, results = threading.Barrier(6), {}

    def write(name: str) -> None:
        folder = filled(tmp_path / name, f=name, g=name * 1000)
        start.wait()
        try:
            results[name] = store.commit("k", folder, over=base.number)
        except StoreError as error:
            results[name] = error

    threads = [threading.Thread(target=write, args=(f"writer-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [name for name, result in results.items() if isinstance(result, Item)]
    losers = [str(result) for name, result in results.items() if name not in winners]
    assert all("another writer committed meanwhile; look at what is there, then run again" in said for said in losers)
    # Swift asks whether a name is free before it takes the bytes, not after: it may let two in, and keeps the later one.
    assert len(winners) == 1 or (winners and isinstance(objects, S3))
    item = store.item("k")
    (winner,) = (name for name in winners if results[name] == item)
    assert item.number == 2
    store.fetch("k", tmp_path / "out")
    assert (tmp_path / "out" / "f").read_text() == winner and (tmp_path / "out" / "g").read_text() == winner * 1000


def test_writers_of_the_same_content_both_succeed(store: Store, tmp_path: Path) -> None:
    folder, results = filled(tmp_path / "in"), []
    threads = [threading.Thread(target=lambda: results.append(store.commit("k", folder, over=0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and {item.number for item in results} == {1}


def test_a_writer_who_saw_an_older_commit_is_told(store: Store, tmp_path: Path) -> None:
    for text in "ab":
        store.commit("k", filled(tmp_path / text, f=text))
    with pytest.raises(StoreError, match="another writer committed meanwhile"):
        store.commit("k", filled(tmp_path / "c", f="c"), over=1)
    assert store.read(store.item("k"), "f") == b"b"


def test_a_flipped_bit_is_told_by_name_and_nothing_appears(objects: Objects, store: Store, tmp_path: Path) -> None:
    item = store.commit("k", filled(tmp_path / "in"))
    spoil(objects, item.file_key("hv_db.tif"), tmp_path)
    for look in (lambda: store.fetch("k", tmp_path / "out"), lambda: store.read(item, "hv_db.tif")):
        with pytest.raises(StoreError, match=r"hv_db\.tif: its content \(SHA-256 .*…\) is not what was committed"):
            look()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("at", ['"sha256": "', '"files": {\n  "', '"bytes": '])
def test_a_damaged_commit_is_told(objects: Objects, store: Store, tmp_path: Path, at: str) -> None:
    store.commit("k", filled(tmp_path / "in"))
    commit = "k/committed-00000001.json"
    text = objects.read(commit).decode()
    place = text.index(at) + len(at)
    (tmp_path / "spoilt").write_text(text[:place] + ("1" if text[place] == "0" else "0") + text[place + 1 :])
    objects.put(commit, tmp_path / "spoilt")
    with pytest.raises(StoreError, match=r"committed-00000001\.json: is not a whole commit"):
        store.item("k")


ODD = ["a b", " x ", "ü/é+%25&?#'\"=~", "<x>&amp;", "a\\b", "a;b,c:d@e$", "日本/氷.tif", "x*y|z", "-rf", "%2e%2e", "...", "🧊", "e\u0301"]


def test_odd_characters_are_kept(store: Store, tmp_path: Path) -> None:
    key = "odd/" + "/".join(ODD)
    item = store.commit(key, filled(tmp_path / "in", **{f"deep/{name}": name for name in ODD}))
    assert store.list("odd") == [key]
    assert sorted(item.files) == sorted(f"deep/{name}" for name in ODD)
    store.fetch(key, tmp_path / "out")
    assert {name: (tmp_path / "out" / "deep" / name).read_text() for name in ODD} == {name: name for name in ODD}


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/etc", "a/", "a//b", "..", "../a", "a/../../b", "a/./b", "a\nb", "a\0b", "\udc80", "x" * 1025),
        *(f"content-{'0' * 64}", "a/committed-00000001.json"),
    ],
)
def test_a_key_that_leads_elsewhere_is_refused(tmp_path: Path, key: str) -> None:
    store, folder = Store(Folder(tmp_path / "lake")), filled(tmp_path / "in")
    for use in (lambda: store.commit(key, folder), lambda: store.item(key)):
        with pytest.raises(InputError):
            use()
    assert os.listdir(tmp_path) == ["in"]


def test_a_forged_commit_cannot_write_outside_the_target(objects: Objects, store: Store, tmp_path: Path) -> None:
    said = {"files": {"../evil": {"sha256": hashlib.sha256(b"evil").hexdigest(), "bytes": 4}}}
    whole = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    objects.create("k/committed-00000001.json", json.dumps({"sha256": whole, **said}).encode())
    with pytest.raises(InputError, match=r"'\.\./evil': is not a path below a folder"):
        store.fetch("k", tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


def test_an_empty_folder_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no file to commit"):
        store.commit("k", tmp_path)


def test_a_local_store_follows_no_key_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    store = Store(Folder(tmp_path / "lake"))
    with pytest.raises(InputError):
        store.fetch("../secret", tmp_path / "out")
    assert os.listdir(tmp_path) == ["secret"]
