"""Read the University of Bremen's daily ASI ice concentration from AMSR2, as HDF4, GeoTIFF or NetCDF.

Names, shapes and flags: ASI Version 5 Sea Ice Concentration User Guide (Melsheimer 2019, University of Bremen). The HDF4 files hold nothing
but the array; that they and GeoTIFFs cover the whole of the polar grid is told by its shape. NetCDF and GeoTIFF name their ellipsoid, which
changed in November 2018 (Hughes 1980 to WGS 84, on the same x and y: 150 m at most).
"""

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from rasterio.errors import RasterioError

from icegraph.errors import PassError
from icegraph.fuse.day_map import DayMap, noon, percent_of, polar_grid, require_size
from icegraph.fuse.own import require_own_hdf4, require_own_hdf5
from icegraph.grid import Grid
from icegraph.scene import read_grid

LICENCE: Final = "free for scientific use, University of Bremen; cite Spreen et al. 2008 (doi 10.1029/2005JC003384)"
_MEND: Final = "download it again from data.seaice.uni-bremen.de (asi-AMSR2-…-v5.4), or leave it out"
_HDF4: Final = b"\x0e\x03\x13\x01"
_SDS: Final = "ASI Ice Concentration"
_TIFF_FLAGS: Final = (110, 119, 120)  # land and missing values
# Seas (longitude, latitude) whose mirror image, where rows run the other way, is land: Greenland Sea and Taymyr, Baffin Bay and Yakutia,
# Laptev Sea and northern Greenland; Ross Sea and Queen Maud Land, Weddell Sea and Marie Byrd Land.
_SEAS: Final = {"EPSG:3411": ((-5.0, 75.0), (-68.0, 74.0), (125.0, 75.0)), "EPSG:3412": ((-175.0, -76.0), (-40.0, -72.0))}


def read_bremen(path: Path) -> DayMap:
    """Read a map; the suffix tells its form.

    Raises:
        PassError: It is damaged, or not as Bremen writes it.
    """
    reader = {".hdf": _read_hdf4, ".nc": _read_netcdf}.get(path.suffix.lower(), _read_geotiff)
    time = noon(path, _MEND)
    grid, percent = reader(path)
    return DayMap(grid, percent, time)


def _read_hdf4(path: Path) -> tuple[Grid, NDArray[np.float32]]:
    from pyhdf.error import HDF4Error
    from pyhdf.SD import SD

    with path.open("rb") as stream:
        if stream.read(4) != _HDF4:
            raise PassError(path, "is not HDF4", _MEND)
    require_own_hdf4(path, _MEND)
    try:
        file = SD(str(path))
        try:
            if _SDS not in file.datasets():
                raise PassError(path, f"it has no dataset “{_SDS}”", _MEND)
            shape = file.datasets()[_SDS][1]
            require_size(path, shape, _MEND)
            values = np.asarray(file.select(_SDS).get())
        finally:
            file.end()
    except (HDF4Error, ValueError) as error:
        raise PassError(path, f"not readable as HDF4 ({error})", _MEND) from error
    grid = polar_grid(values.shape, south=False) or polar_grid(values.shape, south=True)
    if grid is None:
        raise PassError(path, f"is a map of {values.shape[0]} × {values.shape[1]} cells, not the whole Arctic or Antarctic", _MEND)
    percent = percent_of(path, values, (), _MEND)
    return grid, percent[::-1] if _upside_down(path, grid, percent) else percent


def _upside_down(path: Path, grid: Grid, percent: NDArray[np.float32]) -> bool:
    """Whether the first row is the southernmost in the grid's y: told by seas and lands, as the file does not say it."""
    lon, lat = np.array(_SEAS[grid.crs]).T
    x, y = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform(lon, lat)
    row, col = (np.rint(index).astype(int) for index in grid.rowcol(x, y))
    as_is, mirrored = np.isfinite(percent[row, col]).sum(), np.isfinite(percent[::-1][row, col]).sum()
    if as_is == mirrored:
        raise PassError(path, "does not show by its seas and lands which way its rows run", "take the NetCDF or GeoTIFF of the same day")
    return bool(mirrored > as_is)


def _read_netcdf(path: Path) -> tuple[Grid, NDArray[np.float32]]:
    from netCDF4 import Dataset

    try:
        _require_own(path)
        with Dataset(path) as file:
            missing = [name for name in ("x", "y", "z", "polar_stereographic") if name not in file.variables]
            if missing:
                raise PassError(path, f"it has no variable “{missing[0]}”", _MEND)
            x, y, z = (file.variables[name] for name in "xyz")
            require_size(path, z.shape, _MEND)
            if z.shape != (y.size, x.size):
                raise PassError(path, f"“z” is {z.shape} where “y” and “x” have {y.size} and {x.size} values", _MEND)
            mapping = file.variables["polar_stereographic"]
            told = {name: mapping.getncattr(name) for name in mapping.ncattrs() if name not in ("spatial_ref", "crs_wkt")}
            crs = CRS.from_cf({"grid_mapping_name": "polar_stereographic"} | told)
            transform = _transform(path, _plain(x), _plain(y))
            percent = percent_of(path, _plain(z), (), _MEND)
    except (OSError, RuntimeError, ValueError, KeyError, CRSError) as error:
        raise PassError(path, f"not readable as NetCDF with a polar stereographic grid ({error})", _MEND) from error
    return Grid(crs.to_wkt(), transform, *percent.shape), percent


def _require_own(path: Path) -> None:
    if not h5py.is_hdf5(path):  # NetCDF 3 holds all that it names
        return
    with h5py.File(path, "r") as file:
        for name in "xyz":
            if isinstance(file.get(name), h5py.Dataset):
                require_own_hdf5(path, name, file[name], _MEND)


def _plain(variable: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.ma.filled(np.ma.asarray(variable[:], np.float64), np.nan)
    return values


def _transform(path: Path, x: NDArray[np.float64], y: NDArray[np.float64]) -> Affine:
    """From the evenly spaced middles of columns and rows, which may run either way."""
    steps = [np.diff(axis) for axis in (x, y)]
    if any(not step.size or not np.isfinite(step).all() or np.ptp(step) > 1 or abs(step[0]) < 1 for step in steps):
        raise PassError(path, "has columns or rows that are not evenly spaced", _MEND)
    dx, dy = (float(step.mean()) for step in steps)
    return Affine(dx, 0, float(x[0]) - dx / 2, 0, dy, float(y[0]) - dy / 2)


def _read_geotiff(path: Path) -> tuple[Grid, NDArray[np.float32]]:
    try:
        with rasterio.open(path, driver="GTiff") as dataset:
            require_size(path, dataset.shape, _MEND)
            if dataset.crs is None or not dataset.crs.is_projected:
                raise PassError(path, "is on no grid of metres", _MEND)
            grid, values = read_grid(dataset), dataset.read(1)
    except RasterioError as error:
        raise PassError(path, f"not readable as GeoTIFF ({error})", _MEND) from error
    return grid, percent_of(path, values, _TIFF_FLAGS, _MEND)
