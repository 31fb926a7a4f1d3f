"""Reading granules: what is described, dropped and refused."""

from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from icegraph.errors import PassError
from icegraph.fuse.l1r import TB_BANDS, describe_swath, read_swath
from icegraph.fuse.points import Points
from icegraph.tai93 import to_tai93

TIME = datetime(2019, 7, 26, 17, 9, 0, tzinfo=UTC)
SCANS, OVERLAP = 12, 2


@pytest.fixture
def granule(tmp_path: Path) -> Path:
    """A tiny granule written here, field by field, from the format: lat 70 + 0.1 a scan, lon 10 + 0.01 a point, 200 K."""
    path = tmp_path / "GW1AM2_201907261709_107A_L1SGRTBR_2220220.h5"
    lat = np.broadcast_to(70 + 0.1 * np.arange(SCANS)[:, None], (SCANS, 486)).astype(np.float32)
    lon = np.broadcast_to(10 + 0.01 * np.arange(486)[None, :], (SCANS, 486)).astype(np.float32)
    own = [("res06", "6.9"), ("res06", "7.3"), ("res10", "10.7"), ("res23", "18.7"), ("res23", "23.8"), ("res36", "36.5")]
    low = [f"{footprint},{frequency}GHz,{polarisation}" for footprint, frequency in own for polarisation in "HV"]
    high = [f"original,89GHz-{horn},{polarisation}" for horn in "AB" for polarisation in "HV"]
    with h5py.File(path, "w") as file:
        for name, width in [(name, 243) for name in low] + [(name, 486) for name in high]:
            dataset = file.create_dataset(f"Brightness Temperature ({name})", data=np.full((SCANS, width), 20000, np.uint16))
            dataset.attrs["SCALE FACTOR"] = np.array([0.01], np.float32)
        for horn in "AB":
            file[f"Latitude of Observation Point for 89{horn}"] = lat
            file[f"Longitude of Observation Point for 89{horn}"] = lon
        file["Scan Time"] = to_tai93(TIME) + 1.5 * (np.arange(SCANS) - (SCANS - 1) / 2)
        for name, text in (("ProductName", "AMSR2-L1R"), ("PlatformShortName", "GCOM-W1"), ("OverlapScans", str(OVERLAP))):
            file.attrs.create(name, [text], dtype=h5py.string_dtype())
    return path


def test_a_granule_is_described_without_its_overlap(granule: Path) -> None:
    time, bounds, platform, licence = describe_swath(granule)
    assert abs((time - TIME).total_seconds()) < 1e-3
    assert bounds == pytest.approx((10.0, 70.2, 14.85, 70.9), abs=1e-4)
    assert (platform, licence) == ("GCOM-W1", "JAXA G-Portal terms of use")


def test_a_granule_across_180_degrees_is_bounded_by_where_it_lies(granule: Path) -> None:
    with h5py.File(granule, "a") as file:
        name = "Longitude of Observation Point for 89A"
        file[name][:] = (file[name][:] + 168 + 180) % 360 - 180
    assert describe_swath(granule).bounds == pytest.approx((178.0, 70.2, -177.15, 70.9), abs=1e-4)


def channels(granule: Path) -> dict[str, Points]:
    return {band: points for points in read_swath(granule).channels for band in points.bands}


def test_every_frequency_comes_at_its_own_footprint_in_both_polarisations(granule: Path) -> None:
    with h5py.File(granule, "a") as file:
        for number, name in enumerate(name for name in file if name.startswith("Brightness")):
            file[name][:] = 20000 + 10 * number
        expected = {
            f"tb_{ghz}{pol.lower()}_k": float(file[f"Brightness Temperature ({name},{pol})"][0, 0]) / 100
            for ghz, name in {
                "06": "res06,6.9GHz",
                "07": "res06,7.3GHz",
                "10": "res10,10.7GHz",
                "18": "res23,18.7GHz",
                "23": "res23,23.8GHz",
                "36": "res36,36.5GHz",
                "89": "original,89GHz-A",
            }.items()
            for pol in "HV"
        }
    seen = channels(granule)
    assert set(seen) == set(expected) == set(TB_BANDS)
    for band, kelvin in expected.items():
        assert seen[band].values[0, seen[band].bands.index(band)] == pytest.approx(kelvin, abs=1e-3)
    sigmas = [seen[f"tb_{ghz}h_k"].sigma_m for ghz in ("06", "10", "18", "89")]
    assert sigmas == sorted(sigmas, reverse=True)


def test_low_frequencies_lie_on_every_second_89_ghz_point(granule: Path) -> None:
    seen = channels(granule)
    for ghz in ("06", "10", "18", "36"):
        assert seen[f"tb_{ghz}h_k"].values.shape[0] == (SCANS - 2 * OVERLAP) * 243
        assert np.allclose(seen[f"tb_{ghz}h_k"].lon[:3], [10.01, 10.03, 10.05], atol=1e-5)
    assert seen["tb_89h_k"].values.shape == (2 * (SCANS - 2 * OVERLAP) * 486, 2)
    assert np.allclose(seen["tb_18h_k"].values, 200.0, atol=1e-3)


def test_missing_and_impossible_values_are_dropped(granule: Path) -> None:
    with h5py.File(granule, "a") as file:
        file["Brightness Temperature (res36,36.5GHz,H)"][5, :3] = [65535, 65534, 100]
        file["Latitude of Observation Point for 89B"][6, 7] = -9999.0
    seen = channels(granule)
    assert len(seen["tb_36v_k"].lon) == (SCANS - 2 * OVERLAP) * 243 - 3
    assert len(seen["tb_18v_k"].lon) == (SCANS - 2 * OVERLAP) * 243
    assert len(seen["tb_89v_k"].lon) == 2 * (SCANS - 2 * OVERLAP) * 486 - 1


def test_footprints_that_hold_land_are_dropped_by_their_own_flag(granule: Path) -> None:
    assert not read_swath(granule).tells_land
    low, high = np.zeros((4, SCANS, 243), np.uint8), np.zeros((2, SCANS, 486), np.uint8)
    low[0, 3:9] = 100
    low[1, 4, :7] = 6
    low[2, 4, :10] = 6
    low[3, 4, 10:15] = 6
    low[3, 5, :99] = 5
    high[1, 6, :7] = 100
    with h5py.File(granule, "a") as file:
        file["Land_Ocean Flag 6 to 36"], file["Land_Ocean Flag 89"] = low, high
    seen, scans = channels(granule), SCANS - 2 * OVERLAP
    dropped = {band: (2 if "89" in band else 1) * scans * (486 if "89" in band else 243) - len(points.lon) for band, points in seen.items()}
    assert dropped["tb_06h_k"] == 6 * 243
    assert (dropped["tb_10h_k"], dropped["tb_18h_k"], dropped["tb_23v_k"], dropped["tb_36h_k"], dropped["tb_89h_k"]) == (7, 10, 10, 5, 7)
    ground = read_swath(granule).ground
    assert len(ground.lon) == 2 * scans * 486
    np.testing.assert_allclose(ground.lon[ground.values[:, 0] == 100], 10 + 0.01 * np.arange(7), atol=1e-5)


def test_land_flags_of_another_size_are_refused(granule: Path) -> None:
    with h5py.File(granule, "a") as file:
        file["Land_Ocean Flag 6 to 36"] = np.zeros((4, SCANS, 243), np.uint8)
        file["Land_Ocean Flag 89"] = np.zeros((2, SCANS, 243), np.uint8)
    with pytest.raises(PassError, match="“Land_Ocean Flag 89” has the shape"):
        read_swath(granule)


@pytest.mark.parametrize("name", ["Scan Time", "Latitude of Observation Point for 89A", "Brightness Temperature (original,89GHz-A,V)"])
def test_a_missing_dataset_is_named(granule: Path, name: str) -> None:
    with h5py.File(granule, "a") as file:
        del file[name]
    for use in (read_swath, describe_swath):
        with pytest.raises(PassError) as caught:
            use(granule)
        assert granule.name in str(caught.value)
        assert name in str(caught.value)


def test_datasets_of_other_sizes_are_refused(granule: Path) -> None:
    with h5py.File(granule, "a") as file:
        del file["Brightness Temperature (res36,36.5GHz,V)"]
        file["Brightness Temperature (res36,36.5GHz,V)"] = np.zeros((3, 243), np.uint16)
    with pytest.raises(PassError, match="has 3 scans, at least 10 expected"):
        read_swath(granule)


def test_other_products_and_other_files_are_refused(granule: Path, tmp_path: Path) -> None:
    with h5py.File(granule, "a") as file:
        file.attrs["ProductName"] = ["AMSR2-L1B"]
    with pytest.raises(PassError, match="AMSR2-L1B, not L1R"):
        describe_swath(granule)
    text = tmp_path / "GW1AM2_x.h5"
    text.write_text("not found")
    with pytest.raises(PassError, match="not readable as HDF5"):
        describe_swath(text)
    with pytest.raises(PassError, match="download it again"):
        describe_swath(tmp_path / "absent.h5")


def test_a_granule_of_overlap_alone_is_refused(granule: Path) -> None:
    with h5py.File(granule, "a") as file:
        file.attrs["OverlapScans"] = ["6"]
    with pytest.raises(PassError, match="nothing is left"):
        read_swath(granule)


def test_datasets_that_are_no_granules_are_refused_before_they_are_read(granule: Path, tmp_path: Path) -> None:
    name = "Brightness Temperature (res36,36.5GHz,V)"
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = np.zeros((SCANS, 243), np.uint16)
    replacements = {
        "no dataset": lambda file: file.__setitem__(name, h5py.ExternalLink("other.h5", "x")),
        "which no granule has": lambda file: file.create_dataset(name, shape=(SCANS, 10**9), dtype=np.uint16, chunks=(1, 10**6)),
        "of shape \\(\\)": lambda file: file.create_dataset(name, data=3),
    }
    for words, put in replacements.items():
        with h5py.File(granule, "a") as file:
            del file[name]
            put(file)
        with pytest.raises(PassError, match=words):
            read_swath(granule)


def test_scans_without_a_time_are_dropped(granule: Path) -> None:
    with h5py.File(granule, "a") as file:
        file["Scan Time"][4] = -9999.0
    assert len(read_swath(granule).channels[0].lon) == (SCANS - 2 * OVERLAP - 1) * 243
    assert abs((describe_swath(granule)[0] - TIME).total_seconds()) < 1.5
