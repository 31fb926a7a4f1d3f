"""Ingest: what is listed, what is refused, and with which words."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from icegraph.errors import InputError
from icegraph.ingest import Manifest, ingest
from icegraph.store import sha256

Write = Callable[..., Path]


def refusal(manifest: Manifest) -> str:
    """The one refusal."""
    assert len(manifest.refused) == 1, manifest.refused
    return manifest.refused[0].reason


def test_folder_and_zip_of_a_product_are_the_same_pass(safe: Path, zipped: Path, tmp_path: Path) -> None:
    (folder,) = ingest([safe], tmp_path / "a").passes
    (archive,) = ingest([zipped], tmp_path / "b").passes
    assert folder.model_dump(exclude={"href", "files"}) == archive.model_dump(exclude={"href", "files"})
    assert folder.id == safe.stem
    assert (folder.kind, folder.platform, folder.bands) == ("sentinel1", "Sentinel-1B", ["hh_db", "hv_db", "incidence_deg"])
    assert folder.time == datetime(2021, 5, 1, 10, 30, tzinfo=UTC)
    assert {file.path.name: file.sha256 for file in folder.files}["manifest.safe"] == sha256(safe / "manifest.safe")


def test_one_bad_pass_does_not_stop_the_others_and_the_manifest_tells(safe: Path, write_rgb: Write, tmp_path: Path) -> None:
    good = write_rgb("good-20200101T100000.tif")
    bad = write_rgb("bad-20200102T100000.tif")
    bad.write_bytes(bad.read_bytes()[:5000])
    manifest = ingest([tmp_path / "in"], tmp_path / "out")
    assert [entry.href for entry in manifest.passes] == [good, safe]
    assert refusal(manifest).startswith(f"{bad}: is cut off")
    assert Manifest.read(tmp_path / "out" / "manifest.json") == manifest
    assert [(table["suite_name"], table["success"]) for table in manifest.expectations] == [("raw passes", True), ("raw pixels", True)]


@pytest.mark.parametrize("kind", ["noise", "calibration"])
def test_a_product_without_noise_or_calibration_is_refused(safe: Path, tmp_path: Path, kind: str) -> None:
    lost = next(safe.glob(f"annotation/calibration/{kind}-*-hv-*.xml"))
    lost.unlink()
    assert refusal(ingest([safe], tmp_path / "out")) == (f"{safe}: {lost.relative_to(safe)} is missing; download the product again, whole.")


def test_a_product_without_one_whole_polarisation_goes_on_without_it(safe: Path, tmp_path: Path) -> None:
    for file in safe.rglob("*-hv-*"):
        file.unlink()
    (entry,) = ingest([safe], tmp_path / "out").passes
    assert entry.bands == ["hh_db", "incidence_deg"]
    assert entry.notes == ["HV is listed in manifest.safe, but none of its files is here: it is left out"]


def test_damaged_products_are_refused_by_name(safe: Path, tmp_path: Path) -> None:
    tiff = next(safe.glob("measurement/*-hh-*"))
    whole = tiff.read_bytes()
    tiff.write_bytes(whole[:-1000])
    assert f"{tiff}: is cut off: " in refusal(ingest([safe], tmp_path / "out"))
    tiff.write_bytes(whole)
    annotation = next(safe.glob("annotation/*-hh-*.xml"))
    text = annotation.read_text()
    annotation.write_text('<!DOCTYPE product [<!ENTITY a "1">]>' + text.partition("?>")[2])
    assert f"{annotation}: holds a DTD or entities" in refusal(ingest([safe], tmp_path / "out"))
    (safe / "manifest.safe").unlink()
    assert "has no manifest.safe" in refusal(ingest([safe], tmp_path / "out"))


def test_a_product_with_an_empty_file_or_an_empty_outline_is_refused(safe: Path, tmp_path: Path) -> None:
    (safe / "preview").mkdir(exist_ok=True)
    (safe / "preview" / "quick-look.png").touch()
    assert refusal(ingest([safe], tmp_path / "out")) == f"{safe}: has an empty file; download it again."
    (safe / "preview" / "quick-look.png").unlink()
    damage(safe, "manifest.safe", "(coordinates>)[^<]*<", r"\g<1>80,10 80,11 80,12 80,13<")
    assert "has its north bound not above its south bound" in refusal(ingest([safe], tmp_path / "out"))


def test_an_empty_measurement_is_refused_by_its_pixels(safe: Path, tmp_path: Path) -> None:
    tiff = next(safe.glob("measurement/*-hv-*"))
    with rasterio.open(tiff, "r+") as dataset:
        dataset.write(np.zeros((1, dataset.height, dataset.width), np.uint16))
    manifest = ingest([safe], tmp_path / "out")
    assert refusal(manifest).startswith(f"{safe}: band hv holds 100.0% NaN or no data (at most 99 % may)")
    (failed,) = [table for table in manifest.expectations if not table["success"]]
    rows = [row for result in failed["results"] for row in result["result"]["unexpected_index_list"]]
    assert {(row["pass_id"], row["band"]) for row in rows} == {(safe.stem, "hv")}
    assert not manifest.passes


def test_passes_out_of_order_are_sorted_and_the_manifest_says_so(write_rgb: Write, tmp_path: Path) -> None:
    late, early = write_rgb("b-20200301T000000.tif"), write_rgb("a-20200201T000000.tif")
    manifest = ingest([late, early], tmp_path / "out")
    assert [entry.href for entry in manifest.passes] == [early, late]
    assert manifest.notes == ["the passes were not given in the order of their times; they are listed in it"]
    assert not ingest([early, late], tmp_path / "out").notes


def test_a_pass_given_twice_is_kept_once(write_rgb: Write, tmp_path: Path) -> None:
    first = write_rgb("a-20200201T000000.tif")
    assert len(ingest([first, first], tmp_path / "out").passes) == 1
    copy = first.with_name("b-20200201T000000.tif")
    shutil.copy(first, copy)
    assert refusal(ingest([first, copy], tmp_path / "out")) == f"{copy}: has the same content as {first}; keep one of them."
    same = tmp_path / "other" / first.name
    same.parent.mkdir()
    shutil.move(write_rgb("c-20200301T000000.tif"), same)
    reason = refusal(ingest([first, same], tmp_path / "out"))
    assert reason == f"{same}: has the same id 'a-20200201T000000' as {first}; keep one of them."


def test_nothing_to_ingest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("no pass")
    with pytest.raises(InputError, match="empty: holds no pass; name SAFE"):
        ingest([tmp_path / "empty"], tmp_path / "out")
    assert "does not exist" in refusal(ingest([tmp_path / "nowhere.tif"], tmp_path / "out"))


def test_an_item_and_its_raster_are_one_pass(write_rgb: Write, write_item: Write, tmp_path: Path) -> None:
    raster = write_rgb("scene.tif")
    item = write_item("named", "./scene.tif")
    for given in ([raster], [item], [tmp_path / "in"], [raster, item]):
        (entry,) = ingest(given, tmp_path / "out").passes
        assert (entry.id, entry.href, entry.platform) == ("named", item, "aqua")
        assert {file.path for file in entry.files} == {item, raster}


@pytest.mark.parametrize(
    ("href", "problem"),
    [
        ("https://example.org/a.tif", "which is not a file beside the item"),
        ("file:///etc/a.tif", "which is not a file beside the item"),
        ("../../secret.tif", "outside the item's folder"),
        ("/etc/a.tif", "outside the item's folder"),
        ("./gone.tif", "which is not there"),
    ],
)
def test_assets_that_lie_elsewhere_are_refused(write_item: Write, tmp_path: Path, href: str, problem: str) -> None:
    item = write_item("named", href)
    reason = refusal(ingest([item], tmp_path / "out"))
    assert reason.startswith(f"{item}: its asset 'truecolor'")
    assert href in reason and problem in reason


def test_assets_that_are_no_bands_are_passed_over_wherever_they_lie(write_rgb: Write, write_item: Write, tmp_path: Path) -> None:
    write_rgb("scene.tif")
    write_rgb("thumbnail.tif", crs=None, transform=None)
    named = {"href": "./scene.tif", "eo:bands": [{"name": name} for name in ("red", "green", "blue")]}
    assets = {
        "truecolor": named,
        "thumbnail": {"href": "https://example.org/t.png", "type": "image/png", "roles": ["thumbnail"]},
        "overview": {"href": "https://example.org/overview.tif", "type": "image/tiff"},
        "quality": {"href": "./thumbnail.tif", "type": "image/tiff"},
        "preview": named | {"href": "https://example.org/preview.png"},
    }
    (entry,) = ingest([write_item("named", "", assets=assets)], tmp_path / "out").passes
    assert [file.path.name for file in entry.files] == ["named.json", "scene.tif"]
    assert "asset quality names no bands and is not used" in entry.notes
    assert "asset preview is not a GeoTIFF and is not used" in entry.notes


def test_items_with_hostile_ids_or_no_time_are_refused(write_rgb: Write, write_item: Write, tmp_path: Path) -> None:
    write_rgb("scene.tif")
    item = write_item("named", "./scene.tif", id="../../etc")
    assert "has the id '../../etc', which cannot name a folder" in refusal(ingest([item], tmp_path / "out"))
    item = write_item("named", "./scene.tif", properties={"datetime": None})
    assert "has no readable datetime" in refusal(ingest([item], tmp_path / "out"))


def wrong_type(write: Write) -> Path:
    return write("a-20200101T000000.tif", np.ones((1, 64, 64), np.uint16) * 7)


def all_nan(write: Write) -> Path:
    return write("S1B_EW_20200101T000000_hv.tif", np.full((1, 64, 64), np.nan, np.float32))


def constant(write: Write) -> Path:
    return write("a-20200101T000000.tif", np.full((3, 64, 64), 90, np.uint8))


def absurd(write: Write) -> Path:
    return write("S1B_EW_20200101T000000_hv.tif", np.random.default_rng(0).uniform(1e4, 1e6, (1, 64, 64)).astype(np.float32))


def nowhere(write: Write) -> Path:
    return write("a-20200101T000000.tif", crs=None)


def in_degrees(write: Write) -> Path:
    transform = rasterio.transform.from_origin(-60, 70, 0.01, 0.01)
    return write("a-20200101T000000.tif", crs="EPSG:4326", transform=transform)


def no_time(write: Write) -> Path:
    return write("a.tif")


def in_the_future(write: Write) -> Path:
    return write("a-20990101T000000.tif")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (wrong_type, "has 1 band of uint16 without names, which is no kind of pass known here"),
        (all_nan, "band sigma0_hv holds 100.0% NaN or no data"),
        (constant, "band red is constant: 1 different values, 90 to 90"),
        (absurd, "band sigma0_hv has 100.0% of its values outside what its unit allows"),
        (nowhere, "says nowhere where it lies"),
        (in_degrees, "is on a grid of degrees"),
        (no_time, "tells no time in its tags or its name"),
        (in_the_future, "has a time before October 1978 or in the future"),
    ],
)
def test_rasters_that_are_no_pass_are_refused(
    make: Callable[[Write], Path], problem: str, write_rgb: Write, tmp_path: Path, recwarn: Any
) -> None:
    path = make(write_rgb)
    reason = refusal(ingest([path], tmp_path / "out"))
    assert reason.startswith(f"{path}: {problem}"), reason
    assert reason.endswith(".")


def test_a_picture_without_an_item_is_guessed_and_each_guess_is_told(write_rgb: Write, tmp_path: Path) -> None:
    path = write_rgb("baffin_aqua_20060704.truecolor.tif", np.random.default_rng(2).integers(60, 250, (4, 64, 64)).astype(np.uint8))
    (entry,) = ingest([path], tmp_path / "out").passes
    assert (entry.kind, entry.bands, entry.platform) == ("optical", ["red", "green", "blue"], "Aqua")
    west, _, east, _ = entry.bounds
    local = entry.time.hour + entry.time.minute / 60 + (west + east) / 2 / 15
    assert local == pytest.approx(13.5, abs=0.02)  # Aqua's nominal crossing
    told = " ".join(entry.notes)
    assert "bands: red, green, blue guessed" in told and "nominal crossing of 13.5 h" in told
    false = write_rgb("hudson_aqua_20060513.falsecolor.tif")
    assert ingest([false], tmp_path / "out").passes[0].bands == ["swir22", "nir", "red"]


def test_true_and_false_colour_of_one_name_are_one_pass_whichever_is_named(write_rgb: Write, tmp_path: Path) -> None:
    true, false = write_rgb("a_20060704.truecolor.tif"), write_rgb("a_20060704.falsecolor.tif")
    for given in ([true], [false], [true, false], [tmp_path / "in"]):
        (entry,) = ingest(given, tmp_path / "out").passes
        assert (entry.href, entry.bands) == (true, ["red", "green", "blue", "swir22", "nir"])
        assert {file.path for file in entry.files} == {true, false}
        assert f"{false.name} lies beside it and is taken for bands 7-2-1" in entry.notes


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("a.tif", {"time_coverage_start": "2020-01-23T12:06:18.368255"}, datetime(2020, 1, 23, 12, 6, 18, 368255, tzinfo=UTC)),
        ("x_20200123T120618_y.tif", {}, datetime(2020, 1, 23, 12, 6, 18, tzinfo=UTC)),
        ("x_20060513.tif", {}, datetime(2006, 5, 13, 12, tzinfo=UTC)),
        ("x_2006-05-13.tif", {}, datetime(2006, 5, 13, 12, tzinfo=UTC)),
        ("a.tif", {"TIFFTAG_DATETIME": "2006:05:13 10:11:12"}, datetime(2006, 5, 13, 10, 11, 12, tzinfo=UTC)),
    ],
)
def test_times_are_found_in_tags_and_names(name: str, tags: dict[str, str], expected: datetime, write_rgb: Write, tmp_path: Path) -> None:
    (entry,) = ingest([write_rgb(name, tags=tags)], tmp_path / "out").passes
    assert entry.time == expected
    assert any(note.startswith("time: ") for note in entry.notes)


def test_a_radar_chip_without_an_item_is_recognised(shared_data: Path, tmp_path: Path) -> None:
    chip = tmp_path / "S1B_EW_GRDM_1SDH_20200123T120618.tif"
    shutil.copy(shared_data / "sentinel1_ew_pair" / chip.name, chip)
    (entry,) = ingest([chip], tmp_path / "out").passes
    assert (entry.kind, entry.platform, entry.bands) == ("sar-geotiff", "Sentinel-1B", ["hv_db"])
    assert entry.time == datetime(2020, 1, 23, 12, 6, 18, 368255, tzinfo=UTC)
    assert entry.bounds == pytest.approx((-34.40152, 83.47409, -29.86801, 83.9647), abs=2e-5)  # the bbox of its STAC item
    assert any("guessed from its median" in note for note in entry.notes)


@pytest.mark.parametrize(("level_db", "band"), [(-14.0, "hh_db"), (-16.6, "hh_db"), (-20.0, "hv_db"), (-28.0, "hv_db")])
def test_one_unnamed_band_is_told_by_its_level(level_db: float, band: str, write_rgb: Write, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).gamma(10.7, 10 ** (level_db / 10) / 10.7, (1, 64, 64)).astype(np.float32)
    (entry,) = ingest([write_rgb("S1B_EW_20200101T000000.tif", pixels)], tmp_path / "out").passes
    assert entry.bands == [band]
    assert any("guessed from its median" in note for note in entry.notes)


def test_the_real_passes_are_listed_once_each(shared_data: Path, tmp_path: Path) -> None:
    manifest = ingest([shared_data / "modis_floes", shared_data / "sentinel1_ew_pair"], tmp_path / "out")
    assert not manifest.refused
    assert sorted(entry.kind for entry in manifest.passes) == ["optical"] * 8 + ["sar-geotiff"] * 2
    for entry in manifest.passes:
        bbox = json.loads(entry.href.read_text())["bbox"]
        assert entry.bounds == pytest.approx(bbox, abs=0.01)


def test_a_real_product_with_empty_pixels_is_refused_after_its_headers_are_read(shared_data: Path, tmp_path: Path) -> None:
    (safe,) = (shared_data / "sentinel1_safe").glob("*.SAFE")
    assert "band vv holds 100.0% NaN or no data" in refusal(ingest([safe], tmp_path / "out"))


def test_a_hostile_zip_is_refused_and_the_rest_goes_on(zipped: Path, safe: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.writestr("../evil", "x")
    manifest = ingest([zipped, safe], tmp_path / "out")
    assert [entry.href for entry in manifest.passes] == [safe]
    assert refusal(manifest).startswith(f"{zipped}: member '../evil' has a path that leads out of the product")


def damage(path: Path, pattern: str, old: str, new: str) -> Path:
    """Put `new` in the place of the regular expression `old`, in the files of a product; gives the product."""
    for file in path.glob(pattern):
        text, count = re.subn(old, new, file.read_text())
        assert count, (file, old)
        file.write_text(text)
    return path


@pytest.mark.parametrize(
    ("pattern", "old", "new", "problem"),
    [
        ("annotation/*-hh-*.xml", "<numberOfLines>[^<]*<", "<numberOfLines>many<", "pixels where its annotation says many × "),
        ("manifest.safe", "(startTime>)[^<]*<", r"\1yesterday<", "its manifest.safe tells no time of acquisition"),
        ("manifest.safe", "(coordinates>)[^<]*<", r"\1nan,nan 1,2<", "is no list of lat,lon"),
    ],
)
def test_headers_that_say_nothing_sensible_are_refused(safe: Path, tmp_path: Path, pattern: str, old: str, new: str, problem: str) -> None:
    assert problem in refusal(ingest([damage(safe, pattern, old, new)], tmp_path / "out"))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_polarisations_of_different_sizes_are_refused(safe: Path, tmp_path: Path) -> None:
    tiff = next(safe.glob("measurement/*-hv-*"))
    with rasterio.open(tiff) as dataset:
        pixels = dataset.read(window=((0, dataset.height - 9), (0, dataset.width)))
    with rasterio.open(tiff, "w", driver="GTiff", count=1, height=pixels.shape[1], width=pixels.shape[2], dtype="uint16") as dataset:
        dataset.write(pixels)
    damage(safe, "annotation/*-hv-*.xml", "<numberOfLines>[^<]*<", f"<numberOfLines>{pixels.shape[1]}<")
    assert "its polarisations have different sizes (HH " in refusal(ingest([safe], tmp_path / "out"))


ODD_ITEMS: list[dict[str, Any]] = [
    {"assets": {"truecolor": {"href": "./scene.tif", "roles": 5, "eo:bands": 5}}},
    {"assets": {"truecolor": 5}},
    {"assets": {"truecolor": {"href": "a\0b"}}},
    {"assets": {"truecolor": {"href": "//[x"}}},
    {"properties": [1]},
    {"properties": {"datetime": "0001-01-01T00:00:00+10:00"}},
    {"properties": {"datetime": "2006-07-04T17:43:00Z", "instruments": 5, "gsd": "x", "platform": [2]}},
    {"id": "named\n"},
    {"id": {}},
]


@pytest.mark.parametrize("odd", ODD_ITEMS, ids=str)
def test_no_item_however_odd_stops_the_others(odd: dict[str, Any], write_rgb: Write, write_item: Write, tmp_path: Path) -> None:
    write_rgb("scene.tif")
    item, good = write_item("named", "./scene.tif", **odd), write_rgb("good-20200101T100000.tif")
    for given in ([item, good], [tmp_path / "in"]):
        manifest = ingest(given, tmp_path / "out")
        assert good in [entry.href for entry in manifest.passes]
        assert all(one.reason.endswith(".") and "defect" not in one.reason for one in manifest.refused)
        assert Manifest.read(tmp_path / "out" / "manifest.json") == manifest
    assert ingest([good.with_name("scene.tif"), good], tmp_path / "out").passes


def test_what_no_reader_foresaw_is_refused_with_the_name_of_the_file(safe: Path, write_rgb: Write, tmp_path: Path) -> None:
    good = write_rgb("good-20200101T100000.tif")
    (safe / "circle").symlink_to(safe / "circle")
    manifest = ingest([good, safe], tmp_path / "out")
    assert [entry.href for entry in manifest.passes] == [good]
    assert refusal(manifest).startswith(f"{safe}: is damaged or of an unknown form (RuntimeError: ")


def test_a_raster_beyond_the_earth_is_refused(write_rgb: Write, tmp_path: Path) -> None:
    transform = rasterio.transform.from_origin(1e12, 1e12, 250, 250)
    far = write_rgb("far-20200101T100000.tif", transform=transform, crs="EPSG:32633")
    manifest = ingest([far], tmp_path / "out")
    assert refusal(manifest) == f"{far}: its place cannot be used (it lies nowhere on Earth); georeference it again."
    assert Manifest.read(tmp_path / "out" / "manifest.json") == manifest


def test_links_that_lead_nowhere_or_in_a_circle_stop_nothing(write_rgb: Write, tmp_path: Path) -> None:
    good = write_rgb("good-20200101T100000.tif")
    for name in ("a.tif", "b.json", "c.SAFE"):
        good.with_name(name).symlink_to(good.with_name(name))
    assert [entry.href for entry in ingest([good.parent], tmp_path / "out").passes] == [good]
