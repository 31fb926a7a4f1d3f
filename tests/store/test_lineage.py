import hashlib
from pathlib import Path

from icegraph.store import Refusal, code_version, lineage, read_refusal, sha256, write_refusal


def test_sha256_of_a_file_is_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"ice" * 100_000)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"ice" * 100_000).hexdigest()


def test_sha256_of_a_folder_sees_names_and_contents_but_not_the_place(tmp_path: Path) -> None:
    for place in ("a", "b", "c"):
        (tmp_path / place / "deep").mkdir(parents=True)
        (tmp_path / place / "deep" / "f").write_text("1")
    (tmp_path / "c" / "deep" / "f").rename(tmp_path / "c" / "deep" / "g")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b") != sha256(tmp_path / "c")


def test_lineage_names_parents_and_code() -> None:
    said = lineage([("raw.tif", "ab" * 32)])
    assert said["icegraph:parents"] == [{"name": "raw.tif", "sha256": "ab" * 32}]
    assert said["processing:software"] == {"icegraph": code_version()}


def test_a_refusal_is_read_back_and_a_scene_is_none(tmp_path: Path) -> None:
    write_refusal(tmp_path / "r", Refusal("x.tif", "it is empty"))
    assert read_refusal(tmp_path / "r") == Refusal("x.tif", "it is empty")
    assert read_refusal(tmp_path) is None
