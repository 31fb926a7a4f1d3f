"""Optical passes: reflectance, land, cloud."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from icegraph.calibrate import calibrate
from icegraph.calibrate import optical as module
from icegraph.calibrate.optical import cloud_mask, land_mask, reflectance
from icegraph.errors import PassError
from icegraph.grid import Grid
from icegraph.ingest import ingest
from icegraph.ingest.passes import describe
from icegraph.scene import Scene, valid_windows

REGIONS = ["baffin_bay-200km-20060704", "east_siberian_sea-100km-20190612", "hudson_bay-100km-20060513", "sea_of_okhostk-50km-20180412"]
CASES = [(region, satellite) for region in REGIONS for satellite in ("aqua", "terra")]


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def real(shared_data: Path, region: str, satellite: str, out: Path) -> Scene:
    return calibrate(describe(shared_data / "modis_floes" / region / f"{satellite}.json").entry, out)


def test_the_stretch_is_inverted_at_its_published_values() -> None:
    shown = np.array([34, 51, 188, 219, 238], np.uint8)
    np.testing.assert_allclose(reflectance(shown), [0.03, 0.05, 0.4, 0.6, 0.8], atol=0.006)
    assert reflectance(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert (np.diff(reflectance(np.arange(256, dtype=np.uint8))) >= 0).all()


@pytest.mark.parametrize(("region", "satellite"), CASES)
def test_floes_of_the_real_scenes_are_not_taken_for_cloud(region: str, satellite: str, shared_data: Path, tmp_path: Path) -> None:
    scene = real(shared_data, region, satellite, tmp_path / "scene")
    labels = read(shared_data / "modis_floes" / region / f"{satellite}.labels.tif")
    floes = (labels > 0) & (labels < 65535)
    assert scene.grid.shape == labels.shape
    assert (~scene.mask())[floes].mean() < 0.01
    with rasterio.open(shared_data / "modis_floes" / region / f"{satellite}.labels.tif") as dataset:
        assert dataset.transform == scene.grid.transform
    assert sorted([*scene.bands, *scene.masks]) == ["blue", "cloud", "green", "land", "nir", "red", "swir22", "valid"]


@pytest.mark.parametrize("satellite", ["aqua", "terra"])
def test_cloud_that_hides_the_surface_is_found_and_water_is_not_taken_for_it(satellite: str, shared_data: Path, tmp_path: Path) -> None:
    region = REGIONS[0]
    scene = real(shared_data, region, satellite, tmp_path / "scene")
    known = read(shared_data / "modis_floes" / region / f"{satellite}.negatives.tif")
    cloud, land, valid = (scene.mask(name) for name in ("cloud", "land", "valid"))
    assert cloud[known == 1].mean() > 0.98
    assert cloud[known == 3].mean() < 0.01 and cloud[known == 4].mean() < 0.01
    assert 0.005 < land.mean() < 0.02
    np.testing.assert_array_equal(valid, ~land & ~cloud)


def test_ice_is_bright_in_red_and_dark_at_two_micrometres(shared_data: Path, tmp_path: Path) -> None:
    scene = real(shared_data, REGIONS[2], "aqua", tmp_path / "scene")
    labels = read(shared_data / "modis_floes" / REGIONS[2] / "aqua.labels.tif")
    floes = (labels > 0) & (labels < 65535)
    red, swir = scene.read(["red", "swir22"])
    assert 0.6 < np.median(red[floes]) < 0.9
    assert np.median(swir[floes]) < 0.02
    assert scene.item.properties["icegraph:notes"] == ["time: nominal local solar time of the overpass, not from the file"]


def test_cloud_specks_are_left_out_and_pinholes_filled() -> None:
    swir = np.zeros((60, 60), np.float32)
    swir[5, 5] = swir[10, 10:12] = 0.4
    swir[30:50, 30:50] = 0.3
    swir[40, 40] = 0.0
    found = cloud_mask(swir)
    assert not found[:20, :20].any()
    assert found[31:49, 31:49].all()
    assert found.sum() == pytest.approx(400, rel=0.1)


def test_land_is_any_colour_but_black() -> None:
    pixels = np.zeros((4, 3, 3), np.uint8)
    pixels[:3, 0, 0], pixels[0, 1, 1], pixels[3] = 75, 19, 255
    assert np.argwhere(land_mask(pixels)).tolist() == [[0, 0], [1, 1]]
    assert land_mask(np.array([[[0, 1]]], np.uint8)).tolist() == [[False, True]]


def write_rgb(path: Path, *, alpha: bool = True, rows: int = 70) -> Path:
    pixels = np.random.default_rng(0).integers(60, 250, (4 if alpha else 3, rows, 90)).astype(np.uint8)
    pixels[:3, :5, :7] = 0
    if alpha:
        pixels[3] = 255
        pixels[3, 60:, :] = 0
    profile = {"driver": "GTiff", "count": len(pixels), "height": rows, "width": 90, "dtype": "uint8", "photometric": "RGB"}
    profile |= {"ALPHA": "YES"} if alpha else {}
    transform = rasterio.transform.from_origin(0, 0, 250, 250)
    with rasterio.open(path, "w", crs="EPSG:3413", transform=transform, **profile) as dataset:
        dataset.write(pixels)
    return path


def test_true_colour_alone_has_no_cloud_mask_and_says_so(tmp_path: Path) -> None:
    scene = calibrate(describe(write_rgb(tmp_path / "a_20200501.tif")).entry, tmp_path / "scene")
    assert sorted(scene.bands) == ["blue", "green", "red"] and scene.masks == ["valid"]
    notes = " ".join(scene.item.properties["icegraph:notes"])
    assert "cloud cannot be told from ice and is not masked" in notes and "land is not masked" in notes
    valid = scene.mask()
    assert not valid[60:].any(), "alpha 0 is no data"
    assert not valid[:5, :7].any(), "black in all three bands is no data"
    assert valid[5:60].all()
    np.testing.assert_array_equal(np.isfinite(scene.read(["red"])[0]), valid)


def item(folder: Path, assets: dict[str, tuple[str, list[str]]]) -> Path:
    fields = {
        "type": "Feature",
        "id": "made",
        "properties": {"datetime": "2020-05-01T12:00:00Z", "platform": "terra"},
        "assets": {key: {"href": href, "eo:bands": [{"name": name} for name in bands]} for key, (href, bands) in assets.items()},
    }
    path = folder / "made.json"
    path.write_text(json.dumps(fields))
    return path


@pytest.mark.parametrize(
    ("key", "role", "shown"),
    [
        ("landmask", "water-mask", "land"),
        ("land_mask", "data", "land"),
        ("watermask", "water-mask", "water"),
        ("watermask", "data", "water"),
        ("surface", "water-mask", "water"),
        ("surface", "land-mask", "land"),
    ],
)
def test_a_mask_shows_what_its_key_or_else_its_role_says(key: str, role: str, shown: str, tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.tif", alpha=False)
    path = item(tmp_path, {"truecolor": ("a.tif", ["red", "green", "blue"])})
    fields = json.loads(path.read_text())
    fields["assets"][key] = {"href": "mask.tif", "roles": [role]}
    path.write_text(json.dumps(fields))
    pixels = np.zeros((1, 70, 90), np.uint8)
    pixels[:, :, :30] = 1
    profile = {"driver": "GTiff", "count": 1, "height": 70, "width": 90, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "mask.tif", "w", crs="EPSG:3413", transform=rasterio.transform.from_origin(0, 0, 250, 250), **profile
    ) as dataset:
        dataset.write(pixels)
    scene = calibrate(describe(path).entry, tmp_path / "scene")
    np.testing.assert_array_equal(scene.mask("land"), (pixels[0] > 0) == (shown == "land"))
    told = f"asset {key} is taken for a mask of {shown}: what is not black there is {shown}" in scene.item.properties["icegraph:notes"]
    assert told == (not key.startswith("land"))


def test_rasters_of_one_pass_on_two_grids_are_refused(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.tif")
    write_rgb(tmp_path / "b.tif", rows=71)
    path = item(tmp_path, {"a": ("a.tif", ["red", "green", "blue"]), "b": ("b.tif", ["swir22", "nir", "red"])})
    with pytest.raises(PassError, match=r"b\.tif: lies on another grid than a\.tif"):
        calibrate(describe(path).entry, tmp_path / "scene")


def test_windows_do_not_show(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = real(shared_data, REGIONS[0], "aqua", tmp_path / "whole")

    def small(grid: Grid, size: int = 0) -> object:
        return valid_windows(grid, 96)

    monkeypatch.setattr(module, "valid_windows", small)
    parts = real(shared_data, REGIONS[0], "aqua", tmp_path / "parts")
    for name in [*whole.bands, *whole.masks]:
        np.testing.assert_array_equal(read(whole.path(name)), read(parts.path(name)))


def test_true_and_false_colour_side_by_side_are_one_pass_as_an_item_would_say(shared_data: Path, tmp_path: Path) -> None:
    region = shared_data / "modis_floes" / REGIONS[0]
    folder = tmp_path / f"baffin-{REGIONS[0][-8:]}"
    folder.mkdir()
    for name in ("aqua.truecolor.tif", "aqua.falsecolor.tif", "landmask.tif"):
        (folder / name).write_bytes((region / name).read_bytes())
    (entry,) = ingest([folder], tmp_path / "out").passes
    plain, told = calibrate(entry, tmp_path / "plain"), real(shared_data, REGIONS[0], "aqua", tmp_path / "told")
    assert (entry.id, entry.platform) == (f"{folder.name}-aqua.truecolor", "Aqua")
    assert abs(plain.time - told.time).total_seconds() < 120
    for name in [*told.bands, *told.masks]:
        np.testing.assert_array_equal(read(plain.path(name)), read(told.path(name)))


def write_bands(path: Path, names: list[str]) -> np.ndarray:
    """A GeoTIFF of float bands with descriptions; gives its pixels."""
    values = np.random.default_rng(0).uniform(0.05, 0.9, (len(names), 40, 50)).astype(np.float32)
    profile = {"driver": "GTiff", "count": len(names), "height": 40, "width": 50, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:3413", transform=rasterio.transform.from_origin(0, 0, 250, 250), **profile) as dataset:
        dataset.write(values)
        dataset.descriptions = tuple(names)
    return values


@pytest.mark.parametrize("between", ["quality", ""])
def test_a_band_of_another_kind_in_between_shifts_no_other(between: str, tmp_path: Path) -> None:
    values = write_bands(tmp_path / "a_20200501.tif", ["red", "green", "blue", between, "nir", "angle"])
    scene = calibrate(describe(tmp_path / "a_20200501.tif").entry, tmp_path / "scene")
    assert sorted(scene.bands) == ["blue", "green", "nir", "red"]
    np.testing.assert_array_equal(scene.read(["red", "green", "blue", "nir"]), values[[0, 1, 2, 4]])


def test_reflectance_in_floats_is_taken_as_it_is(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0.05, 0.9, (2, 40, 50)).astype(np.float32)
    values[0, 0, 0] = np.nan
    transform = rasterio.transform.from_origin(0, 0, 250, 250)
    path = tmp_path / "a_20200501.tif"
    profile = {"driver": "GTiff", "count": 2, "height": 40, "width": 50, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:3413", transform=transform, **profile) as dataset:
        dataset.write(values)
        dataset.descriptions = ("red", "nir")
    scene = calibrate(describe(path).entry, tmp_path / "scene")
    np.testing.assert_array_equal(scene.read(["red", "nir"])[:, 1:], values[:, 1:])
    assert scene.mask().sum() == 40 * 50 - 1
