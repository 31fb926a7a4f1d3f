"""Files made to harm: what they would have GDAL or the XML parser do, and how they are refused before it does."""

import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from icegraph.errors import InputError, PassError
from icegraph.grid import Grid, Window
from icegraph.ingest import ingest
from icegraph.ingest.container import XML_LIMIT, open_folder, open_zip
from icegraph.ingest.tiff import TILE_LIMIT, check_tiff
from icegraph.scene import Scene, write_band, write_item
from icegraph.truth import require_labels

Write = Callable[..., Path]
GRID = Grid("EPSG:3413", Affine(250, 0, 0, 0, -250, 0), 64, 64)


def deflated(path: Path, side: int) -> Path:
    """A true GeoTIFF of one deflated tile of zeros, `side` × `side` bytes unpacked: a thousandth of that on the disk."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(side)) for _ in range(side)) + packer.flush()
    tags = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8), (325, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_tile_that_unpacks_to_a_thousand_times_its_size_is_refused_from_the_tags(tmp_path: Path) -> None:
    small, large = deflated(tmp_path / "small-20200601.tif", 4096), deflated(tmp_path / "large-20200601.tif", 20_000 // 16 * 16)
    assert large.stat().st_size < 1 << 20
    assert check_tiff(small).width == 4096, "and one that fits into memory is no bomb"
    with rasterio.open(small) as dataset:
        assert not dataset.read(1).any()
    with pytest.raises(PassError, match=rf"large-20200601\.tif: has tiles of 400000000 bytes unpacked, more than {TILE_LIMIT}; "):
        check_tiff(large)
    (refused,) = ingest([large], tmp_path / "out").refused
    assert "has tiles of 400000000 bytes" in refused.reason


def virtual(source: str, side: int = 64) -> str:
    """GDAL's virtual raster, which reads whatever file or address it names."""
    extent = f'xOff="0" yOff="0" xSize="{side}" ySize="{side}"'
    return (
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>EPSG:3413</SRS><GeoTransform>0,250,0,0,0,-250</GeoTransform>'
        f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand>'
        f"<SrcRect {extent}/><DstRect {extent}/></SimpleSource></VRTRasterBand></VRTDataset>"
    )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A raster of sevens that nobody gave."""
    path = tmp_path / "secret" / "of-others.tif"
    path.parent.mkdir()
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 64, "width": 64, "crs": GRID.crs, "transform": GRID.transform}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.full((1, 64, 64), 7, np.uint8))
    return path


@pytest.mark.parametrize("source", ["the secret", "/vsicurl/http://169.254.169.254/latest/meta-data", "/vsis3/other/scene.tif"])
def test_a_virtual_raster_named_tif_is_no_pass_no_scene_and_no_truth(source: str, secret: Path, tmp_path: Path) -> None:
    text = virtual(str(secret) if source == "the secret" else source)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "terra-20200601.tif").write_text(text)
    with pytest.raises(InputError, match=r"terra-20200601\.tif"):
        ingest([folder / "terra-20200601.tif"], tmp_path / "out").require_scenes()

    scene = folder / "scene"
    scene.mkdir()
    with write_band(scene / "red.tif", GRID, "float32") as writer:
        writer.write(Window(0, 0, 64, 64), np.ones((64, 64), np.float32))
    rasters = {"red": "red.tif"}
    write_item(scene, pass_id="a", time=_time(), sensor="optical", grid=GRID, rasters=rasters, properties={})
    assert Scene.open(scene).read(["red"]).max() == 1
    (scene / "red.tif").write_text(text)
    with pytest.raises(rasterio.errors.RasterioIOError, match="not recognized"):
        Scene.open(scene).read(["red"])

    (folder / "a.labels.tif").write_text(text)
    with pytest.raises(InputError, match=r"a\.labels\.tif: cannot be read as labels .*is not a TIFF"):
        require_labels(folder / "a.labels.tif", GRID)


def _time() -> Any:
    from datetime import UTC, datetime

    return datetime(2020, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize("beside", [".ovr", ".aux.xml"])
def test_what_lies_beside_a_raster_is_not_followed(beside: str, secret: Path, write_rgb: Write) -> None:
    raster = write_rgb("terra-20200601.tif", np.zeros((1, 64, 64), np.uint8))
    half = raster.with_suffix(".half")
    half.write_text(virtual(str(secret), 32))
    pam = f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{half}</MDI></Metadata></PAMDataset>'
    Path(f"{raster}{beside}").write_text(half.read_text() if beside == ".ovr" else pam)
    with rasterio.open(raster, driver="GTiff") as dataset:
        assert dataset.overviews(1) == []
        assert dataset.read(1, out_shape=(16, 16)).max() == 0
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE"), rasterio.open(raster, driver="GTiff") as dataset:
        assert dataset.read(1, out_shape=(16, 16)).max() == 7, "which GDAL by itself does"


LAUGHS = (
    "<!DOCTYPE lolz [<!ENTITY a0 'lol'>"
    + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))
    + "]><product>&a9;</product>"
)
EXTERNAL = "<!DOCTYPE product [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><product>&x;</product>"
REMOTE = "<!DOCTYPE product SYSTEM 'http://169.254.169.254/latest/meta-data'><product/>"
PARAMETER = "<!DOCTYPE product [<!ENTITY % x SYSTEM 'file:///etc/passwd'> %x;]><product/>"


@pytest.mark.parametrize("text", [LAUGHS, EXTERNAL, REMOTE, PARAMETER], ids=["laughs", "external", "remote", "parameter"])
@pytest.mark.parametrize("which", ["manifest.safe", "annotation/*-hh-*.xml", "annotation/calibration/noise-*-hh-*.xml"])
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_annotation_with_entities_is_refused_by_name(text: str, which: str, zipped: bool, safe: Path, tmp_path: Path) -> None:
    (file,) = safe.glob(which)
    file.write_text(text)
    product = Path(shutil.make_archive(str(tmp_path / "product"), "zip", safe.parent, safe.name)) if zipped else safe
    with pytest.raises(PassError, match=rf"{file.name}: holds a DTD or entities"):
        (open_zip if zipped else open_folder)(product).read_xml(str(file.relative_to(safe)))
    manifest = ingest([product], tmp_path / "out")
    if which.startswith(("manifest", "annotation/*")):  # the noise is read when the pass is calibrated
        assert "holds a DTD or entities" in manifest.refused[0].reason
        assert "root:" not in manifest.refused[0].reason


def test_annotation_whose_tree_would_fill_the_memory_is_refused_by_its_size(safe: Path, tmp_path: Path) -> None:
    (file,) = safe.glob("annotation/*-hh-*.xml")
    file.write_bytes(b"<a>" + b"<a/>" * (XML_LIMIT // 4) + b"</a>")
    (refused,) = ingest([safe], tmp_path / "out").refused
    assert f"more than the {XML_LIMIT} that any annotation needs" in refused.reason


def zip_of(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("x.SAFE/manifest.safe", b"<a/>"), *members):
            archive.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("../../etc/cron.d/x", b"x")], "has a path that leads out of the product"),
        ([("/etc/cron.d/x", b"x")], "has a path that leads out of the product"),
        ([("x.SAFE\\..\\..\\x", b"x")], "has a path that leads out of the product"),
        ([(link("x.SAFE/annotation"), b"/etc")], "is a symbolic link"),
        ([("x.SAFE/measurement/a.tiff", bytes(30 << 20))], "as zip bombs do"),
        ([("x.SAFE/a.xml", b"<a/>"), ("x.SAFE/a.xml", b"<b/>")], "holds the same name twice"),
        ([("x.SAFE/manifest.safe", b"<b/>")], "holds the same name twice"),
        ([(f"x.SAFE/{number}", b"") for number in range(10_001)], "holds 10002 files, more than 10000"),
    ],
    ids=["upwards", "absolute", "backslashes", "link", "bomb", "twice", "two manifests", "many"],
)
def test_a_zip_made_to_harm_is_refused_and_nothing_of_it_is_unpacked(
    members: list[tuple[zipfile.ZipInfo | str, bytes]], problem: str, tmp_path: Path
) -> None:
    product = zip_of(tmp_path / "in.zip", *members)
    (refused,) = ingest([product], tmp_path / "out").refused
    assert refused.reason.startswith(f"{product}: ")
    assert problem in refused.reason
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in.zip", "manifest.json", "out"]


def test_a_zip_whose_directory_lies_about_sizes_gives_no_more_than_it_says(tmp_path: Path) -> None:
    product = zip_of(tmp_path / "in.zip", ("x.SAFE/a.xml", b"<a>" + b"<b/>" * 200_000 + b"</a>"))
    data = bytearray(product.read_bytes())
    at = data.rindex(b"x.SAFE/a.xml") - 46  # the central directory's entry: its size unpacked is at 24
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    product.write_bytes(data)
    with pytest.raises(PassError, match=r"a\.xml: (is not well-formed XML|cannot be read from the zip)"):
        open_zip(product).read_xml("a.xml")


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd",
        "/etc/passwd.tif",
        "../x.tif",
        "..%2f..%2fetc%2fpasswd.tif",
        "http://169.254.169.254/latest/meta-data/x.tif",
        "HTTP://169.254.169.254/x.tif",
        "//169.254.169.254/x.tif",
        "/vsicurl/http://169.254.169.254/x.tif",
        "/vsis3/other/x.tif",
        "vsicurl/http://169.254.169.254/x.tif",
        "file:///etc/passwd",
        "file:etc/passwd.tif",
        "s3://other/scenes/x.tif",
        "GTIFF_RAW:/etc/passwd.tif",
        "NETCDF:/etc/x.nc:z",
        "x.tif\0.png",
    ],
)
def test_an_item_that_points_elsewhere_is_refused_and_the_place_not_looked_at(href: str, write_item: Write, tmp_path: Path) -> None:
    item = write_item("named", href, assets={"truecolor": {"href": href, "eo:bands": [{"name": "red"}]}})
    manifest = ingest([item], tmp_path / "out")
    assert manifest.passes == []
    (refused,) = manifest.refused
    assert str(item) in refused.reason
    assert any(
        words in refused.reason
        for words in ("not a file beside the item", "outside the item's folder", "which is not there", "no path", "no raster asset")
    )


def test_a_link_beside_an_item_that_leads_out_is_refused(write_item: Write, secret: Path, tmp_path: Path) -> None:
    item = write_item("named", "./x.tif")
    (item.parent / "x.tif").symlink_to(secret)
    (refused,) = ingest([item], tmp_path / "out").refused
    assert "outside the item's folder" in refused.reason
