"""HDF files that name other files to read from."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from ice_maps import cells, write_bremen, write_nsidc
from netCDF4 import Dataset
from pyhdf.SD import SD, SDC

from icegraph.errors import PassError
from icegraph.fuse.own import require_own_hdf4
from icegraph.fuse.partners import read_day_map


def elsewhere(path: Path, name: str, how: str) -> None:
    """Have a dataset's values lie in another file."""
    with h5py.File(path, "a") as file:
        values = np.asarray(file[name])
        scales = [file[name].dims[axis].keys() and file[name].dims[axis][0] for axis in range(values.ndim)]
        del file[name]
        other = path.with_suffix(".other")
        if how == "raw":
            values.tofile(other)
            fresh = file.create_dataset(name, values.shape, values.dtype, external=[(str(other), 0, values.nbytes)])
        else:
            with h5py.File(other, "w") as beside:
                beside["x"] = values
            if how == "link":
                file[name] = h5py.ExternalLink(str(other), "x")
                return
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource(str(other), "x", shape=values.shape)
            fresh = file.create_virtual_dataset(name, layout)
        for axis, scale in enumerate(scales):
            if scale:
                fresh.dims[axis].attach_scale(scale)


@pytest.mark.parametrize("how", ["raw", "virtual"])
def test_netcdf_whose_values_lie_in_another_file_is_refused(how: str, tmp_path: Path) -> None:
    path = write_bremen(tmp_path, "nc")
    elsewhere(path, "z", how)
    with Dataset(path) as file:
        assert np.nanmax(file["z"][:]) > 50, "the library follows it"
    with pytest.raises(PassError, match="“z” lies in another file"):
        read_day_map(path, south=False)


@pytest.mark.parametrize("how", ["raw", "virtual", "link"])
def test_hdf_eos5_whose_values_lie_in_another_file_is_refused(how: str, tmp_path: Path) -> None:
    path = write_nsidc(tmp_path)
    elsewhere(path, "HDFEOS/GRIDS/NpPolarGrid25km/Data Fields/SI_25km_NH_ICECON_DAY", how)
    with pytest.raises(PassError, match="lies in another file"):
        read_day_map(path, south=False)


def test_hdf4_whose_values_lie_in_another_file_is_refused(tmp_path: Path) -> None:
    path = write_bremen(tmp_path, "hdf")
    require_own_hdf4(path, "leave it out")
    _, _, percent = cells(25.0)
    file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
    data = file.create("ASI Ice Concentration", SDC.FLOAT32, percent.shape)
    data.setexternalfile(str(tmp_path / "other"))
    data[:] = percent
    data.endaccess()
    file.end()
    assert np.nanmax(SD(str(path)).select("ASI Ice Concentration").get()) > 50, "the library follows it"
    with pytest.raises(PassError, match="has values that lie in another file"):
        read_day_map(path, south=False)


def test_a_cut_list_of_elements_is_refused(tmp_path: Path) -> None:
    path = write_bremen(tmp_path, "hdf")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(PassError, match="is cut off within its list of elements"):
        read_day_map(path, south=False)
