"""Daily maps of ice concentration as Bremen and NSIDC write them: a field in closed form over rough continents."""

from pathlib import Path

import h5py
import numpy as np
import rasterio
from affine import Affine
from netCDF4 import Dataset
from pyhdf.SD import SD, SDC
from pyproj import Transformer

EDGES_KM = {False: (-3850, -5350, 3750, 5850), True: (-3950, -3950, 3950, 4350)}  # left, bottom, right, top
DAY = "20200301"
FORMS = ("hdf", "tif", "nc")


def concentration(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Percent: 0 in the west to 100 in the east of a slope along longitude, varying over thousands of km."""
    return 50 + 50 * np.sin(np.radians(lon)) * np.cos(np.radians(lat) * 2)


def is_land(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Greenland, Siberia and Antarctica, roughly, by parallels and meridians."""
    greenland = (lat > 62) & (lat < 82) & (lon > -55) & (lon < -25)
    siberia = (lat < 72.5) & (lat > 50) & (lon > 60) & (lon < 160)
    east_antarctica = (lat < -69) & (lon > -20) & (lon < 160)
    west_antarctica = (lat < -74) & (lon > -140) & (lon < -70)
    return greenland | siberia | east_antarctica | west_antarctica | (lat < -79)


def cells(cell_km: float, *, south: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles of columns and rows (m, from the top), and the percent of the cells, NaN over land."""
    left, bottom, right, top = EDGES_KM[south]
    x = 1000 * (np.arange(left, right, cell_km) + cell_km / 2)
    y = 1000 * (np.arange(top, bottom, -cell_km) - cell_km / 2)
    crs = "EPSG:3412" if south else "EPSG:3411"
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    return x, y, np.where(is_land(lon, lat), np.nan, concentration(lon, lat)).astype(np.float32)


def write_bremen(folder: Path, form: str, *, south: bool = False, from_the_top: bool = True, cell_km: float = 25.0) -> Path:
    """An ASI map; the array of the HDF4 form, which does not say it, may start at the top or at the bottom."""
    x, y, percent = cells(cell_km, south=south)
    path = folder / f"asi-AMSR2-{'s' if south else 'n'}{int(1000 * cell_km)}-{DAY}-v5.4.{form}"
    if form == "hdf":
        file = SD(str(path), SDC.WRITE | SDC.CREATE)
        data = file.create("ASI Ice Concentration", SDC.FLOAT32, percent.shape)
        data[:] = percent if from_the_top else percent[::-1].copy()
        data.endaccess()
        file.end()
    elif form == "nc":
        with Dataset(path, "w") as file:
            for name, axis in (("x", x), ("y", y[::-1])):
                file.createDimension(name, len(axis))
                file.createVariable(name, "f8", (name,))[:] = axis
            file.createVariable("z", "f4", ("y", "x"), fill_value=np.nan)[:] = percent[::-1]
            mapping = file.createVariable("polar_stereographic", "i4")
            pole = -1.0 if south else 1.0
            mapping.setncatts(
                {
                    "grid_mapping_name": "polar_stereographic",
                    "straight_vertical_longitude_from_pole": 0.0 if south else -45.0,
                    "latitude_of_projection_origin": 90.0 * pole,
                    "standard_parallel": 70.0 * pole,
                    "false_easting": 0.0,
                    "false_northing": 0.0,
                    "semi_major_axis": 6378137.0,  # WGS 84, as since November 2018; Hughes 1980 before, on the same x and y
                    "inverse_flattening": 298.257223563,
                    "spatial_ref": "not read",
                }
            )
    else:
        crs = "EPSG:3412" if south else "EPSG:3411"
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": len(y), "width": len(x), "crs": crs}
        size = 1000 * cell_km
        transform = Affine(size, 0, x[0] - size / 2, 0, -size, y[0] + size / 2)
        with rasterio.open(path, "w", transform=transform, **profile) as dataset:
            dataset.write(np.where(np.isnan(percent), 120, np.rint(percent)).astype(np.uint8), 1)
    return path


def write_nsidc(folder: Path, cell: int = 25) -> Path:
    """AU_SI12 or AU_SI25: both poles, whole percent, 110 missing, 120 land."""
    path = folder / f"AMSR_U2_L3_SeaIce{cell}km_B04_{DAY}.he5"
    with h5py.File(path, "w") as file:
        for pole, south in (("N", False), ("S", True)):
            percent = cells({12: 12.5, 25: 25.0}[cell], south=south)[2]
            numbers = np.where(np.isnan(percent), 120, np.rint(percent)).astype(np.int32)
            numbers[0, 0] = 110
            file[f"HDFEOS/GRIDS/{pole}pPolarGrid{cell}km/Data Fields/SI_{cell}km_{pole}H_ICECON_DAY"] = numbers
    return path
