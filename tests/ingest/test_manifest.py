"""The manifest as a file, and which passes go which way."""

from pathlib import Path

import pytest

from icegraph.errors import InputError
from icegraph.ingest import Manifest, ingest
from icegraph.store import Refusal


def test_swaths_are_partners_and_not_scenes(simulated_safe: Path, tmp_path: Path) -> None:
    manifest = ingest([simulated_safe.parent], tmp_path)
    assert [entry.kind for entry in manifest.scenes] == ["sentinel1"]
    assert [(entry.kind, entry.platform, entry.licence) for entry in manifest.partners] == [("amsr2", "GCOM-W1", "simulated")]
    assert not manifest.refused


def test_a_manifest_with_refusals_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "bad.h5").write_bytes(b"x")
    manifest = ingest([tmp_path / "bad.h5"], tmp_path).refusing([Refusal("/a/b.tif", "b.tif: is empty.")])
    manifest.write(tmp_path / "late.json")
    read = Manifest.read(tmp_path / "late.json")
    assert read == manifest
    assert [refusal.path for refusal in read.refused] == [str(tmp_path / "bad.h5"), "/a/b.tif"]


def test_the_same_passes_give_the_same_bytes(simulated_safe: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ingest([simulated_safe], tmp_path / name)
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()


@pytest.mark.parametrize(
    "text", ["", "{}", '{"passes": [{"id": "../x"}], "created_by": "1"}', '{"passes": [], "created_by": "1", "more": 1}']
)
def test_what_is_no_manifest_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: not a readable manifest"):
        Manifest.read(path)
