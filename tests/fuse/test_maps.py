"""Daily maps of ice concentration: the place and value of each cell, in every form, and what is refused."""

from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from ice_maps import FORMS, concentration, write_bremen, write_nsidc
from netCDF4 import Dataset
from pyhdf.SD import SD, SDC

from icegraph.errors import PassError
from icegraph.fuse.day_map import DayMap, polar_grid
from icegraph.fuse.partners import describe_partner, read_day_map

NOON = datetime(2020, 3, 1, 12, tzinfo=UTC)
# Barents, Beaufort, Kara, Chukchi Seas, and a place in Greenland; Weddell, Ross Seas, and a place in Antarctica.
PLACES = {
    False: (np.array([40.0, -140.0, 70.0, -170.0, -40.0]), np.array([75.0, 73.0, 76.0, 72.0, 72.0])),
    True: (np.array([-40.0, -175.0, 100.0]), np.array([-70.0, -74.0, -75.0])),
}


def at(day: DayMap, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Percent of the cell at each place, found by its own nearest longitude and latitude."""
    points, known = day.about(lon, lat)
    out = np.full(len(lon), np.nan)
    for index in np.flatnonzero(known):
        away = (points.lat - lat[index]) ** 2 + (((points.lon - lon[index] + 180) % 360 - 180) * np.cos(np.radians(lat[index]))) ** 2
        out[index] = points.values[np.argmin(away), 0]
    return out


@pytest.mark.parametrize("south", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_bremens_maps_have_every_cell_in_its_place(tmp_path: Path, form: str, south: bool) -> None:
    day = read_day_map(write_bremen(tmp_path, form, south=south), south=south)
    lon, lat = PLACES[south]
    percent = at(day, lon, lat)
    assert np.isnan(percent[-1])
    assert np.abs(percent - concentration(lon, lat))[:-1].max() < 1.5  # a cell is 25 km: a degree of longitude at most
    assert day.time == NOON


@pytest.mark.parametrize("south", [False, True])
def test_an_array_that_starts_at_the_bottom_is_told_by_its_seas(tmp_path: Path, south: bool) -> None:
    lon, lat = PLACES[south]
    path = write_bremen(tmp_path, "hdf", south=south)
    top = at(read_day_map(path, south=south), lon, lat)
    path.unlink()
    bottom = at(read_day_map(write_bremen(tmp_path, "hdf", south=south, from_the_top=False), south=south), lon, lat)
    np.testing.assert_array_equal(top, bottom)


@pytest.mark.parametrize("south", [False, True])
@pytest.mark.parametrize("cell", [12, 25])
def test_nsidcs_maps_have_every_cell_in_its_place(tmp_path: Path, cell: int, south: bool) -> None:
    day = read_day_map(write_nsidc(tmp_path, cell), south=south)
    lon, lat = PLACES[south]
    percent = at(day, lon, lat)
    assert np.isnan(percent[-1])
    assert np.abs(percent - concentration(lon, lat))[:-1].max() < 1.5
    assert np.isnan(day.percent[0, 0])


def test_the_polar_grids_have_the_published_shapes_and_corners() -> None:
    """NSIDC's guide to its polar stereographic grids: shapes, and the centre of the corner cells at 25 km."""
    shapes = {(448, 304): 25, (896, 608): 12.5, (1792, 1216): 6.25, (3584, 2432): 3.125}
    for shape, cell in shapes.items():
        grid = polar_grid(shape, south=False)
        assert grid is not None and grid.pixel_m == pytest.approx(1000 * cell)
    assert polar_grid((332, 316), south=True) is not None
    assert polar_grid((448, 305), south=False) is None
    north = polar_grid((448, 304), south=False)
    assert north is not None
    lon, lat = north.lonlat(*north.xy(np.array([-0.5]), np.array([-0.5])))  # the upper left corner: 168.35 E, 30.98 N
    assert (lon[0], lat[0]) == (pytest.approx(168.35, abs=0.01), pytest.approx(30.98, abs=0.01))


def test_a_map_is_described_by_its_day_place_and_terms(tmp_path: Path) -> None:
    for form in FORMS:
        partner = describe_partner(write_bremen(tmp_path, form))
        assert (partner.time, partner.platform) == (NOON, "GCOM-W1")
        assert partner.bounds == (-180.0, pytest.approx(31, abs=0.1), 180.0, 90.0)
        assert "Bremen" in partner.licence
    both = describe_partner(write_nsidc(tmp_path))
    assert both.bounds == (-180.0, -90.0, 180.0, 90.0)
    assert "NSIDC" in both.licence


def test_files_that_are_something_else_are_refused_by_name(tmp_path: Path) -> None:
    for suffix, words in {"hdf": "is not HDF4", "nc": "not readable as NetCDF", "tif": "not readable as GeoTIFF"}.items():
        path = tmp_path / f"asi-AMSR2-n6250-20200301-v5.4.{suffix}"
        path.write_bytes(b"<html>login first</html>")
        with pytest.raises(PassError, match=words) as caught:
            describe_partner(path)
        assert path.name in str(caught.value) and "download it again" in str(caught.value)
    he5 = tmp_path / "AMSR_U2_L3_SeaIce12km_B04_20200301.he5"
    he5.write_bytes(b"x" * 100)
    with pytest.raises(PassError, match="not readable as HDF5"):
        describe_partner(he5)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("form", [*FORMS, "he5"])
def test_a_cut_file_is_refused_or_read_whole(tmp_path: Path, form: str, share: float) -> None:
    path = write_nsidc(tmp_path) if form == "he5" else write_bremen(tmp_path, form)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(PassError, match=path.name):
        describe_partner(path)


def test_a_name_without_a_day_is_refused(tmp_path: Path) -> None:
    path = write_bremen(tmp_path, "tif").rename(tmp_path / "asi-AMSR2-latest.tif")
    with pytest.raises(PassError, match="does not tell the day"):
        describe_partner(path)


def test_the_older_scale_of_the_geotiffs_is_refused(tmp_path: Path) -> None:
    path = write_bremen(tmp_path, "tif")
    with rasterio.open(path, "r+") as dataset:
        percent = dataset.read(1)
        dataset.write(np.where(percent == 120, 255, 2 * percent).astype(np.uint8), 1)
    with pytest.raises(PassError, match="to 255 where 0 to 100 and 110, 119, 120 are expected"):
        describe_partner(path)


def test_a_geotiff_on_no_grid_and_one_of_nothing_are_refused(tmp_path: Path) -> None:
    path = write_bremen(tmp_path, "tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full(dataset.shape, 120, np.uint8), 1)
    with pytest.raises(PassError, match="knows the concentration nowhere"):
        describe_partner(path)
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint8", height=4, width=4) as dataset:
        dataset.write(np.zeros((4, 4), np.uint8), 1)
    with pytest.raises(PassError, match="on no grid of metres"):
        describe_partner(path)


def test_hdf4_of_a_region_of_other_data_or_without_land_is_refused(tmp_path: Path) -> None:
    def write(name: str, values: np.ndarray) -> Path:
        path = tmp_path / "asi-AMSR2-n6250-20200301-v5.4.hdf"
        file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
        data = file.create(name, SDC.FLOAT32, values.shape)
        data[:] = values
        data.endaccess()
        file.end()
        return path

    for name, values, words in (
        ("ASI Ice Concentration", np.zeros((30, 40), np.float32), "30 × 40 cells, not the whole Arctic"),
        ("Longitudes", np.zeros((448, 304), np.float32), "no dataset “ASI Ice Concentration”"),
        ("ASI Ice Concentration", np.zeros((448, 304), np.float32), "which way its rows run"),
        ("ASI Ice Concentration", np.full((448, 304), 130, np.float32), "holds values from 130 to 130"),
        ("ASI Ice Concentration", np.zeros(12, np.float32), "which no map of the polar seas has"),
    ):
        with pytest.raises(PassError, match=words):
            describe_partner(write(name, values))


def test_netcdf_without_its_grid_or_with_an_uneven_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "asi-AMSR2-n6250-20200301-v5.4.nc"
    with Dataset(path, "w") as file:
        file.createDimension("x", 3)
        file.createVariable("x", "f8", ("x",))[:] = [0, 1, 3]
    with pytest.raises(PassError, match="it has no variable “y”"):
        describe_partner(path)
    path = write_bremen(tmp_path, "nc")
    with Dataset(path, "a") as file:
        file["x"][5] += 3000
    with pytest.raises(PassError, match="not evenly spaced"):
        describe_partner(path)


def test_hdf_eos5_of_another_product_or_grid_is_refused(tmp_path: Path) -> None:
    path = write_nsidc(tmp_path)
    field = "HDFEOS/GRIDS/NpPolarGrid25km/Data Fields/SI_25km_NH_ICECON_DAY"
    with h5py.File(path, "a") as file:
        del file[field]
        file[field] = np.zeros((448, 300), np.int32)
    with pytest.raises(PassError, match="448 × 300 cells, which is not NSIDC's"):
        describe_partner(path)
    with h5py.File(path, "a") as file:
        del file[field]
        file[field.replace("ICECON", "36H")] = np.zeros((448, 304), np.int32)
    with pytest.raises(PassError, match="it has no dataset “HDFEOS/GRIDS/NpPolarGrid12km"):
        describe_partner(path)
