import shutil
from pathlib import Path

import pytest

from icegraph.ingest import Manifest, ingest
from icegraph.ingest.source import Source, bare_address
from icegraph.store import sha256


def write(place: Path, digests: dict[str, str]) -> None:
    Source(
        catalogue="asf",
        id="S1B",
        href="https://datapool.asf.alaska.edu/S1B.zip",
        licence="free",
        checksum=None,
        sha256=digests,
        bytes=sum((place / name).stat().st_size if place.is_dir() else place.stat().st_size for name in digests),
    ).write(place)


def test_a_pass_names_where_it_was_downloaded(zipped: Path, tmp_path: Path) -> None:
    write(zipped, {zipped.name: sha256(zipped)})
    [entry] = ingest([zipped.parent], tmp_path / "out").passes
    assert (entry.source, entry.licence) == ("https://datapool.asf.alaska.edu/S1B.zip", "free")
    assert Manifest.read(tmp_path / "out" / "manifest.json").passes == [entry]


def test_a_folder_is_known_by_all_its_files(safe: Path, tmp_path: Path) -> None:
    write(safe, {path.relative_to(safe).as_posix(): sha256(path) for path in safe.rglob("*") if path.is_file()})
    source = Source.read(safe)
    assert source is not None
    assert source.lies_at(safe)
    [entry] = ingest([safe], tmp_path / "out").passes
    assert entry.licence == "free"
    (safe / "manifest.safe").write_text((safe / "manifest.safe").read_text() + "\n")
    assert not source.lies_at(safe)


def test_what_was_told_of_other_bytes_is_not_believed(zipped: Path, tmp_path: Path) -> None:
    write(zipped, {zipped.name: "0" * 64})
    [entry] = ingest([zipped], tmp_path / "out").passes
    assert entry.source is None
    assert entry.licence == "simulated"
    assert f"{zipped.name}.source.json tells of other bytes than these and is not believed" in entry.notes


def test_a_pass_that_was_not_downloaded_has_no_source(zipped: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / zipped.name
    alone.parent.mkdir()
    shutil.copy(zipped, alone)
    [entry] = ingest([alone], tmp_path / "out").passes
    assert entry.source is None


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"catalogue": 1}', "null"])
def test_a_damaged_source_file_tells_nothing(text: str, tmp_path: Path) -> None:
    place = tmp_path / "x.zip"
    assert Source.read(place) is None
    (tmp_path / "x.zip.source.json").write_text(text)
    assert Source.read(place) is None


def test_what_may_be_secret_in_an_address_is_left_out() -> None:
    assert bare_address("https://user:pass@host:8/a/b?X-Amz-Signature=s#f") == "https://host:8/a/b"
