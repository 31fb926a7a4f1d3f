"""The simulated AMSR2 granule, read back with plain h5py."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest
from affine import Affine
from pyproj import Geod

from icegraph.grid import Grid
from icegraph.simulate.amsr2 import smooth_truth, write_amsr2
from icegraph.simulate.field import FLOE, LAND, LEVEL, MULTIYEAR, WATER, Snapshot


def even(surface: int, ice_type: int = 0, size: int = 200, pixel_m: float = 400.0) -> Snapshot:
    shape = (size, size)
    return Snapshot(
        time=datetime(2020, 3, 1, 12, 34, 56, tzinfo=UTC),
        grid=Grid("EPSG:3413", Affine(pixel_m, 0, 400_000, 0, -pixel_m, -1_000_000), *shape),
        identity=np.zeros(shape, np.uint32),
        classes=np.full(shape, surface, np.uint8),
        ice_type=np.full(shape, ice_type, np.uint8),
        wind_m_s=np.full(shape, 5.0, np.float32),
        cloud=np.zeros(shape, np.float32),
        texture=np.zeros(shape, np.float32),
    )


@pytest.fixture(scope="module")
def granule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_amsr2(even(FLOE, LEVEL), tmp_path_factory.mktemp("amsr2"), rng=np.random.default_rng(3))


def test_the_name_is_that_of_a_granule(granule: Path) -> None:
    assert granule.name.startswith("GW1AM2_202003011234_")
    assert granule.name.endswith("_L1SGRTBR_2220220.h5")
    assert granule.stat().st_size < 5e6


def test_datasets_have_jaxas_names_scales_and_shapes(granule: Path) -> None:
    frequencies = {
        "res06": ["6.9", "7.3", "10.7", "18.7", "23.8", "36.5", "89.0"],
        "res10": ["10.7", "18.7", "23.8", "36.5", "89.0"],
        "res23": ["18.7", "23.8", "36.5", "89.0"],
        "res36": ["36.5", "89.0"],
    }
    low = {f"Brightness Temperature ({res},{ghz}GHz,{pol})" for res, many in frequencies.items() for ghz in many for pol in "HV"}
    high = {f"Brightness Temperature (original,89GHz-{horn},{pol})" for horn in "AB" for pol in "HV"}
    with h5py.File(granule) as file:
        assert {name for name in file if name.startswith("Brightness")} == low | high
        scans = file["Scan Time"].shape[0]
        assert 60 <= scans - 40 <= 120
        for name in low | high:
            assert file[name].shape == (scans, 243 if name in low else 486)
            assert file[name].dtype == np.uint16
            assert file[name].attrs["SCALE FACTOR"][0] == pytest.approx(0.01)
        for horn in "AB":
            assert file[f"Latitude of Observation Point for 89{horn}"].shape == (scans, 486)
            assert file[f"Longitude of Observation Point for 89{horn}"].dtype == np.float32
        assert file["Land_Ocean Flag 6 to 36"].shape == (4, scans, 243)
        assert file["Land_Ocean Flag 89"].shape == (2, scans, 486)
        assert file["Earth Incidence"][0, 0] * 0.01 == pytest.approx(55)
        assert file.attrs["ProductName"][0] == "AMSR2-L1R"
        assert file.attrs["OverlapScans"][0] == "20"
        assert int(file.attrs["NumberOfScans"][0]) == scans - 40


def test_scan_times_are_tai_seconds_since_1993(granule: Path) -> None:
    with h5py.File(granule) as file:
        seconds = file["Scan Time"][:]
    assert np.allclose(np.diff(seconds), 1.5)
    middle = datetime(1993, 1, 1, tzinfo=UTC) + timedelta(seconds=float(np.mean(seconds)) - 10)  # ten leap seconds by 2020
    assert abs(middle - datetime(2020, 3, 1, 12, 34, 56, tzinfo=UTC)) < timedelta(seconds=1)


def test_the_swath_is_as_wide_and_as_dense_as_the_instruments(granule: Path) -> None:
    with h5py.File(granule) as file:
        lat, lon = (file[f"{name} of Observation Point for 89A"][:].astype(float) for name in ("Latitude", "Longitude"))
    geod = Geod(ellps="WGS84")
    width = geod.inv(lon[50, 0], lat[50, 0], lon[50, -1], lat[50, -1])[2] / 1000
    assert 1350 < width < 1500
    along = geod.inv(lon[50, 243], lat[50, 243], lon[51, 243], lat[51, 243])[2] / 1000
    assert along == pytest.approx(10, rel=0.03)


@pytest.mark.parametrize(
    ("surface", "ice_type", "expected"),
    [(WATER, 0, (184, 108)), (FLOE, LEVEL, (252, 237)), (FLOE, MULTIYEAR, (220, 202))],
)
def test_an_even_surface_has_its_tie_points(tmp_path: Path, surface: int, ice_type: int, expected: tuple[float, float]) -> None:
    path = write_amsr2(even(surface, ice_type), tmp_path, rng=np.random.default_rng(0))
    with h5py.File(path) as file:
        for polarisation, kelvin in zip("VH", expected, strict=True):
            seen = file[f"Brightness Temperature (res23,18.7GHz,{polarisation})"][:] * 0.01
            if surface == WATER:  # cloud liquid only warms
                assert np.percentile(seen, 25) == pytest.approx(kelvin, abs=0.7)
                assert seen.mean() > kelvin
            else:
                assert seen.mean() == pytest.approx(kelvin, abs=0.05)
                assert seen.std() == pytest.approx(0.7, rel=0.05)


def test_coarse_footprints_blur_an_ice_edge_more_than_fine_ones(tmp_path: Path) -> None:
    field = even(WATER)
    east = np.arange(200)[None, :] >= 100
    field = replace(
        field,
        classes=np.broadcast_to(np.where(east, FLOE, WATER), (200, 200)).astype(np.uint8),
        ice_type=np.broadcast_to(np.where(east, LEVEL, 0), (200, 200)).astype(np.uint8),
    )
    middle = {res: smooth_truth(field, "36.5", "H", res)[100] for res in ("res06", "res36")}
    widths = {res: int(((line > 155) & (line < 225)).sum()) for res, line in middle.items()}
    assert widths["res06"] > 3 * widths["res36"]
    # Half-way at the edge, and an FWHM of sqrt(7 × 12) km: the 24 %-76 % width of a Gaussian edge is 0.6 FWHM.
    assert middle["res36"][99:101].mean() == pytest.approx((145 + 235) / 2, abs=1)
    level = (middle["res36"] - 145) / 90
    width_km = 0.4 * ((level > 0.2398) & (level < 0.7602)).sum()
    assert width_km == pytest.approx(0.6 * np.sqrt(84), rel=0.1)


def test_land_is_flagged_in_percent(tmp_path: Path) -> None:
    path = write_amsr2(even(LAND), tmp_path, rng=np.random.default_rng(0))
    with h5py.File(path) as file:
        assert file["Land_Ocean Flag 6 to 36"][:].min() == 100


def test_one_seed_gives_one_granule(tmp_path: Path) -> None:
    contents = [
        write_amsr2(even(WATER), tmp_path / name, rng=np.random.default_rng(seed)).read_bytes()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_slush_counts_as_first_year_ice_and_open_share_as_water() -> None:
    shape = (200, 200)
    mixed = replace(even(FLOE, MULTIYEAR), ice_fraction=np.full(shape, 0.5, np.float32), slush=np.full(shape, 0.2, np.float32))
    expected = 0.5 * 187 + 0.1 * 246 + 0.4 * 210
    assert np.allclose(smooth_truth(mixed, "36.5", "V", "res36"), expected, atol=1e-3)
