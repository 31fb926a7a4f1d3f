"""A scene given its AMSR2 bands: the values, the choice of swath, and what is said where there is none."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from ice_maps import FORMS, concentration, is_land, write_bremen, write_nsidc
from pyproj import Transformer
from scipy.ndimage import gaussian_filter

from icegraph.calibrate import calibrate
from icegraph.fuse import BANDS, describe_partner, fuse
from icegraph.fuse.l1r import describe_swath
from icegraph.grid import Grid, Window
from icegraph.ingest import ingest
from icegraph.scene import Scene, write_band, write_item
from icegraph.simulate import simulate
from icegraph.simulate.amsr2 import smooth_truth, write_amsr2
from icegraph.simulate.field import FLOE, LAND, LEVEL, MULTIYEAR, NO_ICE, WATER, Snapshot
from icegraph.store import sha256

TIME = datetime(2020, 3, 1, 12, 0, 0, tzinfo=UTC)
GRID = Grid("EPSG:3413", Affine(200, 0, 400_000, 0, -200, -1_000_000), 400, 380)


@dataclass
class Entry:
    """What fuse asks of a manifest's entry."""

    href: Path
    time: datetime
    bounds: tuple[float, float, float, float]
    kind: str = "amsr2"


def even(surface: int, ice_type: int, time: datetime = TIME) -> Snapshot:
    shape = GRID.shape
    return Snapshot(
        time=time,
        grid=GRID,
        identity=np.zeros(shape, np.uint32),
        classes=np.full(shape, surface, np.uint8),
        ice_type=np.full(shape, ice_type, np.uint8),
        wind_m_s=np.full(shape, 5.0, np.float32),
        cloud=np.zeros(shape, np.float32),
        texture=np.zeros(shape, np.float32),
    )


def half_and_half() -> Snapshot:
    """Multiyear ice in the west, first-year ice in the east."""
    field = even(FLOE, LEVEL)
    ice_type = field.ice_type.copy()
    ice_type[:, : GRID.width // 2] = MULTIYEAR
    return replace(field, ice_type=ice_type)


def swath(snapshot: Snapshot, folder: Path, seed: int = 0) -> Entry:
    path = write_amsr2(snapshot, folder, rng=np.random.default_rng(seed))
    granule = describe_swath(path)
    return Entry(path, granule.time, granule.bounds)


@pytest.fixture(scope="module")
def water_before(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """A swath over open water, five hours before the scene."""
    return swath(even(WATER, NO_ICE, TIME - timedelta(hours=5)), tmp_path_factory.mktemp("water"))


@pytest.fixture(scope="module")
def ice_after(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """A swath over first-year ice, two hours after the scene."""
    return swath(even(FLOE, LEVEL, TIME + timedelta(hours=2)), tmp_path_factory.mktemp("ice"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    for name, dtype, value in (("hh_db", "float32", -15.0), ("valid", "uint8", 1)):
        with write_band(folder / f"{name}.tif", GRID, dtype) as writer:
            writer.write(Window(0, 0, *GRID.shape), np.full(GRID.shape, value, dtype))
    return write_item(
        folder,
        pass_id="S1_TEST",
        time=TIME,
        sensor="sar",
        grid=GRID,
        rasters={"hh_db": "hh_db.tif", "valid": "valid.tif"},
        properties={"platform": "sentinel-1b"},
    )


def test_bands_are_the_truth_smoothed_by_the_footprint(scene: Scene, tmp_path: Path) -> None:
    field = half_and_half()
    fused = fuse(scene, [swath(field, tmp_path)], tmp_path / "fused")
    assert fused.bands == ["hh_db", *BANDS]
    for frequency, resolution, blur_km in (
        ("6.9", "res06", 60),
        ("7.3", "res06", 60),
        ("10.7", "res10", 40),
        ("18.7", "res23", 20),
        ("23.8", "res23", 20),
        ("36.5", "res36", 20),
        ("89.0", "original", 20),
    ):
        for polarisation in "HV":
            seen = fused.read([f"tb_{int(float(frequency)):02}{polarisation.lower()}_k"])[0]
            truth = smooth_truth(field, frequency, polarisation, resolution)
            assert np.isfinite(seen).all()
            # The weights blur a little more than the footprint: the edge itself is allowed 15 % of the contrast.
            away = np.abs(np.arange(GRID.width) - GRID.width / 2) * 0.2 > blur_km
            if away.any():
                assert np.abs(seen - truth)[:, away].mean() < 0.7
                assert np.abs(seen - truth)[:, away].max() < 2.5
            assert np.abs(seen - truth).max() < 0.15 * (truth.max() - truth.min()) + 2.5


def test_a_smooth_field_comes_back_within_two_kelvin(scene: Scene, tmp_path: Path) -> None:
    """Shares of ice and water that change over 80 km, far more than a footprint."""
    field = even(FLOE, LEVEL)
    x = np.linspace(0, 1, GRID.width)[None, :]
    water = np.random.default_rng(5).random(GRID.shape) < 0.5 + 0.4 * np.sin(2 * np.pi * x)
    field = replace(field, classes=np.where(water, WATER, FLOE).astype(np.uint8), ice_type=np.where(water, NO_ICE, LEVEL).astype(np.uint8))
    fused = fuse(scene, [swath(field, tmp_path)], tmp_path / "fused")
    seen, truth = fused.read(["tb_36v_k"])[0], smooth_truth(field, "36.5", "V", "res36")
    assert truth.max() - truth.min() > 25
    assert np.abs(seen - truth)[20:-20, 20:-20].max() < 2.5
    assert np.abs(seen - truth).mean() < 1.0


def test_concentration_is_none_over_water_and_full_over_ice(scene: Scene, tmp_path: Path, water_before: Entry, ice_after: Entry) -> None:
    old_ice = swath(even(FLOE, MULTIYEAR), tmp_path)
    for name, entry, low, high in (("water", water_before, 0, 2), ("young", ice_after, 97, 100), ("old", old_ice, 97, 100)):
        percent = fuse(scene, [entry], tmp_path / name).read(["sic_percent"])[0]
        assert low <= percent.min()
        assert percent.max() <= high


def test_the_nearest_swath_in_time_is_taken_and_named(scene: Scene, tmp_path: Path, water_before: Entry, ice_after: Entry) -> None:
    sar = Entry(tmp_path / "other.SAFE", TIME, ice_after.bounds, kind="sentinel1")
    fused = fuse(scene, [water_before, sar, ice_after], tmp_path / "fused")
    said = fused.item.properties
    (part,) = said["icegraph:amsr2_parts"]
    assert (part["name"], part["sha256"], part["share"]) == (ice_after.href.name, sha256(ice_after.href), 1.0)
    assert part["age_s"] == pytest.approx(-7200, abs=60)
    assert said["icegraph:amsr2"] == f"{ice_after.href.name}, 120 min after the pass, 100 % of the scene"
    assert said["icegraph:parents"] == [
        {"name": "S1_TEST", "sha256": sha256(scene.folder / "item.json")},
        {"name": ice_after.href.name, "sha256": sha256(ice_after.href)},
    ]
    assert said["platform"] == "sentinel-1b"
    assert fused.read(["tb_18v_k"]).mean() == pytest.approx(252, abs=0.5)


def test_the_bands_that_the_scene_had_are_unchanged(scene: Scene, tmp_path: Path, ice_after: Entry) -> None:
    fused = fuse(scene, [ice_after], tmp_path / "fused")
    assert sha256(fused.path("hh_db")) == sha256(scene.path("hh_db"))
    with rasterio.open(fused.path("sic_percent")) as dataset:
        assert dataset.units == ("%",)
        assert dataset.transform == GRID.transform
    assert fused.statistics("tb_36v_k")["mean"] == pytest.approx(246, abs=0.5)


def test_a_swath_too_far_in_time_is_left_out_with_the_reason(scene: Scene, tmp_path: Path, water_before: Entry) -> None:
    fused = fuse(scene, [water_before], tmp_path / "fused", limit_h=4)
    assert fused.bands == ["hh_db"]
    assert "5.0 h away, the limit is 4 h" in fused.item.properties["icegraph:amsr2"]
    assert set(BANDS) < set(fuse(scene, [water_before], tmp_path / "again", limit_h=6).bands)


def test_without_any_swath_the_scene_goes_on(scene: Scene, tmp_path: Path) -> None:
    fused = fuse(scene, [], tmp_path / "fused")
    assert fused.bands == ["hh_db"]
    assert fused.masks == ["valid"]
    assert fused.item.properties["icegraph:amsr2"] == "none: no AMSR2 file was given"
    json.dumps(fused.item.to_dict())


def test_a_swath_elsewhere_is_not_used(scene: Scene, tmp_path: Path, ice_after: Entry) -> None:
    away = replace(ice_after, bounds=(-180.0, -80.0, 180.0, -60.0))
    assert "none of 1 AMSR2 files lies over the scene" in fuse(scene, [away], tmp_path / "fused").item.properties["icegraph:amsr2"]


def test_a_swath_whose_bounds_promise_too_much_is_noted_and_the_next_is_taken(scene: Scene, tmp_path: Path, ice_after: Entry) -> None:
    elsewhere = replace(even(FLOE, LEVEL, TIME), grid=Grid("EPSG:3413", Affine(200, 0, -1_900_000, 0, -200, 900_000), *GRID.shape))
    near = replace(swath(elsewhere, tmp_path), bounds=(-180.0, 50.0, 180.0, 90.0))
    said = fuse(scene, [near, ice_after], tmp_path / "fused").item.properties
    assert [part["name"] for part in said["icegraph:amsr2_parts"]] == [ice_after.href.name]
    assert said["icegraph:amsr2_notes"] == [f"{near.href.name}: sees no part of the scene that is not seen already"]


def test_damaged_swaths_are_noted_and_the_next_is_taken(scene: Scene, tmp_path: Path, water_before: Entry, ice_after: Entry) -> None:
    content = water_before.href.read_bytes()
    damaged = [Entry(tmp_path / f"{name}.h5", TIME, ice_after.bounds) for name in ("cut", "missing", "text")]
    damaged[0].href.write_bytes(content[: len(content) // 2])
    damaged[1].href.write_bytes(content)
    with h5py.File(damaged[1].href, "a") as file:
        del file["Brightness Temperature (res36,36.5GHz,V)"]
    damaged[2].href.write_bytes(b"<html>login first</html>")
    said = fuse(scene, [ice_after, *damaged], tmp_path / "fused").item.properties
    assert [part["name"] for part in said["icegraph:amsr2_parts"]] == [ice_after.href.name]
    notes = said["icegraph:amsr2_notes"]
    assert [note.split(":")[0] for note in notes] == ["cut.h5", "missing.h5", "text.h5"]
    assert "no dataset “Brightness Temperature (res36,36.5GHz,V)”" in notes[1]
    alone = fuse(scene, damaged[:1], tmp_path / "alone").item.properties["icegraph:amsr2"]
    assert alone.startswith("none: no usable AMSR2 file; cut.h5: not readable as HDF5")


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """A swath over open water with land in the west."""
    field = even(WATER, NO_ICE)
    classes = field.classes.copy()
    classes[:, : GRID.width // 2] = LAND
    return swath(replace(field, classes=classes), tmp_path_factory.mktemp("coast"))


def test_land_is_neither_ice_nor_a_gap_in_the_swath(scene: Scene, tmp_path: Path, coast: Entry) -> None:
    """Values reach the coast from the sea, within a cell or two, and stop there; warm land does not look like ice."""
    fused = fuse(scene, [coast], tmp_path / "fused")
    assert [part["share"] for part in fused.item.properties["icegraph:amsr2_parts"]] == [1.0]
    assert "icegraph:amsr2_notes" not in fused.item.properties
    percent = fused.read(["sic_percent"])[0]
    coast_col, near = GRID.width // 2, 25  # 5 km: a point of 89 GHz
    assert np.isnan(percent[:, : coast_col - near]).all()
    assert np.isfinite(percent[:, coast_col + near :]).all()
    assert np.nanmax(percent) < 10
    assert np.isnan(fused.read(["tb_06h_k"])[0][:, : coast_col + 20]).all()  # no footprint of 62 km fits there


def test_a_granule_that_does_not_tell_land_is_used_and_that_is_told(scene: Scene, tmp_path: Path, coast: Entry) -> None:
    silent = replace(coast, href=tmp_path / "silent.h5")
    silent.href.write_bytes(coast.href.read_bytes())
    with h5py.File(silent.href, "a") as file:
        del file["Land_Ocean Flag 89"]
    fused = fuse(scene, [silent], tmp_path / "fused")
    (note,) = fused.item.properties["icegraph:amsr2_notes"]
    assert note == "silent.h5: does not tell land from sea: concentration over land means nothing"


def test_the_same_inputs_give_the_same_bytes(scene: Scene, tmp_path: Path, ice_after: Entry) -> None:
    one, two = (fuse(scene, [ice_after], tmp_path / name).folder for name in ("one", "two"))
    assert sha256(one) == sha256(two)


def test_every_pixel_tells_the_age_of_its_sample(scene: Scene, tmp_path: Path, water_before: Entry, ice_after: Entry) -> None:
    for entry, hours in ((water_before, 5.0), (ice_after, -2.0)):
        fused = fuse(scene, [entry], tmp_path / "fused")
        age = fused.read(["amsr2_age_h"])[0]
        # The scans over the scene took less than a minute.
        assert np.abs(age - hours).max() < 0.03
        with rasterio.open(fused.path("amsr2_age_h")) as dataset:
            assert dataset.units == ("h",)


@pytest.fixture(scope="module")
def half_a_swath(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """Multiyear ice, an hour before the scene, of which the swath saw the north alone."""
    entry = swath(even(FLOE, MULTIYEAR, TIME - timedelta(hours=1)), tmp_path_factory.mktemp("half"))
    row = GRID.height // 2
    with h5py.File(entry.href, "a") as file:
        for horn in "AB":
            places = [file[f"{name} of Observation Point for 89{horn}"] for name in ("Longitude", "Latitude")]
            x, y = Transformer.from_crs("EPSG:4326", GRID.crs, always_xy=True).transform(*(place[:] for place in places))
            south = GRID.rowcol(x, y)[0] > row
            for place in places:
                place[:] = np.where(south, -9999.0, place[:])
    return entry


def test_what_the_nearest_swath_did_not_see_is_filled_by_the_next(
    scene: Scene, tmp_path: Path, half_a_swath: Entry, ice_after: Entry
) -> None:
    fused = fuse(scene, [ice_after, half_a_swath], tmp_path / "fused")
    first, second = fused.item.properties["icegraph:amsr2_parts"]
    assert (first["name"], second["name"]) == (half_a_swath.href.name, ice_after.href.name)
    assert first["share"] == pytest.approx(0.5, abs=0.1)
    assert first["share"] + second["share"] == pytest.approx(1)
    kelvin, age = fused.read(["tb_18v_k", "amsr2_age_h"])
    assert np.isfinite(kelvin).all()
    north, south = np.s_[: GRID.height // 2 - 60], np.s_[GRID.height // 2 + 60 :]
    assert (kelvin[north].mean(), age[north].mean()) == (pytest.approx(220, abs=1), pytest.approx(1, abs=0.02))
    assert (kelvin[south].mean(), age[south].mean()) == (pytest.approx(252, abs=1), pytest.approx(-2, abs=0.02))
    assert [parent["name"] for parent in fused.item.properties["icegraph:parents"]][1:] == [first["name"], second["name"]]


def map_entry(path: Path) -> Entry:
    partner = describe_partner(path)
    return Entry(path, partner.time, partner.bounds)


@pytest.mark.parametrize("form", [*FORMS, "he5"])
def test_a_scene_without_a_swath_takes_the_days_map(scene: Scene, tmp_path: Path, form: str) -> None:
    path = write_nsidc(tmp_path) if form == "he5" else write_bremen(tmp_path, form)
    fused = fuse(scene, [map_entry(path)], tmp_path / "fused")
    assert fused.bands == ["hh_db", "sic_percent", "amsr2_age_h"]
    col, row = np.meshgrid(np.arange(GRID.width), np.arange(GRID.height))
    truth = concentration(*GRID.lonlat(*GRID.xy(row, col)))
    percent, age = fused.read(["sic_percent", "amsr2_age_h"])
    assert np.abs(percent - truth).max() < 1.0  # whole percent, and 25 km cells of a smooth field
    assert np.abs(age).max() < 0.01  # the pass was at noon
    assert fused.item.properties["icegraph:amsr2"] == f"{path.name}, 0 min before the pass, 100 % of the scene"


def test_a_swath_goes_before_a_map_that_is_nearer_in_time(scene: Scene, tmp_path: Path, ice_after: Entry, half_a_swath: Entry) -> None:
    day = map_entry(write_bremen(tmp_path, "tif"))
    whole = fuse(scene, [day, ice_after], tmp_path / "whole").item.properties["icegraph:amsr2_parts"]
    assert [part["name"] for part in whole] == [ice_after.href.name]
    fused = fuse(scene, [day, half_a_swath], tmp_path / "half")
    assert [part["name"] for part in fused.item.properties["icegraph:amsr2_parts"]] == [half_a_swath.href.name, day.href.name]
    kelvin, percent = fused.read(["tb_18v_k", "sic_percent"])
    assert np.isfinite(percent).all()
    assert np.isnan(kelvin[GRID.height // 2 + 60 :]).all()


def test_a_map_of_another_day_or_of_land_is_not_used(scene: Scene, tmp_path: Path) -> None:
    path = write_bremen(tmp_path, "tif")
    other = path.rename(tmp_path / path.name.replace("20200301", "20200302"))
    assert "24.0 h away, the limit is 12 h" in fuse(scene, [map_entry(other)], tmp_path / "other").item.properties["icegraph:amsr2"]
    inland = Grid("EPSG:3413", GRID.transform @ Affine.translation(-2500, 5000), 400, 380)  # Greenland
    assert is_land(*inland.lonlat(*inland.xy(np.array([0, 399]), np.array([0, 379])))).all()
    name = {"hh_db": "hh_db.tif"}
    folder = tmp_path / "inland"
    with write_band(folder / "hh_db.tif", inland, "float32") as writer:
        writer.write(Window(0, 0, *inland.shape), np.zeros(inland.shape, np.float32))
    there = write_item(folder, pass_id="S1_LAND", time=TIME, sensor="sar", grid=inland, rasters=name, properties={})
    path = write_bremen(tmp_path, "tif")
    said = fuse(there, [map_entry(path)], tmp_path / "land").item.properties
    assert said["icegraph:amsr2"] == f"none: no usable AMSR2 file; {path.name}: sees no part of the scene that is not seen already"


def test_concentration_follows_the_simulators_truth(scene: Scene, tmp_path: Path) -> None:
    """Shares of ice from 0 to 100 %: the error is less where there is more ice, as published (Spreen et al. 2008, section 4)."""
    x = np.linspace(0, 1, GRID.width)[None, :]
    water = np.random.default_rng(5).random(GRID.shape) < 0.5 + 0.5 * np.sin(2 * np.pi * x)
    field = even(FLOE, LEVEL)
    field = replace(field, classes=np.where(water, WATER, FLOE).astype(np.uint8), ice_type=np.where(water, NO_ICE, LEVEL).astype(np.uint8))
    percent = fuse(scene, [swath(field, tmp_path)], tmp_path / "fused").read(["sic_percent"])[0]
    truth = 100 * gaussian_filter((~water).astype(float), 4.0 * 1000 / 2.355 / GRID.pixel_m)
    inside = np.s_[30:-30, 30:-30]
    error = (percent - truth)[inside]
    assert np.corrcoef(percent[inside].ravel(), truth[inside].ravel())[0, 1] > 0.98
    assert np.abs(error[truth[inside] > 90]).mean() < 5
    assert np.abs(error[truth[inside] < 10]).mean() < 10
    assert np.abs(error).mean() < 12


def test_a_raw_pass_takes_the_map_of_earthdata_that_lies_beside_it(tmp_path: Path) -> None:
    """From the files as they come: SAFE and AU_SI12, ingested, calibrated and fused."""
    sea = {"lon": -10.0, "lat": 80.0}
    simulate(tmp_path / "field", seed=3, size_km=12, passes=1, views=("sar",), start=datetime(2020, 3, 1, 12, tzinfo=UTC), ice=sea)
    write_nsidc(tmp_path / "field" / "passes")
    manifest = ingest([tmp_path / "field" / "passes"], tmp_path / "manifest")
    (entry,), (partner,) = manifest.scenes, manifest.partners
    assert partner.href.suffix == ".he5"
    fused = fuse(calibrate(entry, tmp_path / "scene"), manifest.partners, tmp_path / "fused")
    valid = fused.mask()
    row, col = np.nonzero(valid)
    truth = concentration(*fused.grid.lonlat(*fused.grid.xy(row, col)))
    assert np.abs(fused.read(["sic_percent"])[0][valid] - truth).max() < 1.5
    assert {"hh_db", "hv_db", "sic_percent"} <= set(fused.bands)
    parents = {parent["name"] for parent in fused.item.properties["icegraph:parents"]}
    assert partner.href.name in parents
