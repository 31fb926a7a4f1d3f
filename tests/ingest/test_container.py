"""Zips and XML from strangers."""

import stat
import zipfile
from pathlib import Path

import pytest

from icegraph.errors import PassError
from icegraph.ingest.container import open_folder, open_zip


def make(path: Path, members: dict[str, bytes], links: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFLNK if name in links else stat.S_IFREG) << 16
            archive.writestr(info, data)
    return path


@pytest.mark.parametrize("name", ["../evil.xml", "x.SAFE/../../evil", "/etc/passwd", "..\\evil", "C:\\evil"])
def test_paths_that_lead_out_of_the_product_are_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "a.zip", {"x.SAFE/manifest.safe": b"<a/>", name: b"x"})
    with pytest.raises(PassError, match=r"a\.zip: member .* has a path that leads out of the product"):
        open_zip(path)


def test_links_are_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"x.SAFE/manifest.safe": b"<a/>", "x.SAFE/measurement": b"/etc"}, links=("x.SAFE/measurement",))
    with pytest.raises(PassError, match="is a symbolic link"):
        open_zip(path)
    folder = tmp_path / "x.SAFE"
    folder.mkdir()
    (folder / "annotation").symlink_to("/etc/passwd")
    with pytest.raises(PassError, match="leads out of the product"):
        open_folder(folder)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"x.SAFE/manifest.safe": b"<a/>", "x.SAFE/measurement/m.tiff": bytes(50 << 20)})
    with pytest.raises(PassError, match=r"would unpack to 52428800 bytes from \d+, as zip bombs do"):
        open_zip(path)


def test_a_cut_zip_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"x.SAFE/manifest.safe": b"<a/>" * 99})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PassError, match="not a whole zip"):
        open_zip(path)


def test_damage_within_a_zip_is_told_with_the_member(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"x.SAFE/manifest.safe": b"".join(b"<a>%d</a>" % number for number in range(999))})
    data = bytearray(path.read_bytes())
    data[60:400] = bytes(255 - value for value in data[60:400])
    path.write_bytes(data)
    with pytest.raises(PassError, match=r"a\.zip/manifest\.safe: cannot be read from the zip"):
        open_zip(path).read_xml("manifest.safe")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>', "holds a DTD or entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "holds a DTD or entities"),
        ("<a><b></a>", "is not well-formed XML"),
        ("", "is not well-formed XML"),
    ],
)
def test_hostile_and_broken_xml_is_refused_by_name(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(PassError, match=rf"a\.xml: {problem}"):
        open_folder(tmp_path).read_xml("a.xml")
