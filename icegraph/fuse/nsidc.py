"""Read NSIDC's daily ice concentration from AMSR2: AU_SI12 and AU_SI25, HDF-EOS5.

Names and flags: Markus, Comiso & Meier, AMSR-E/AMSR2 Unified L3 Daily 12.5 km (doi 10.5067/RA1MIJOYPK3P) and 25 km
(doi 10.5067/TRUIAL3WPAUP) Brightness Temperatures & Sea Ice Concentration Polar Grids, user guides; rows run from the top, as in the grids'
definition. A file holds a grid for each pole.
"""

from pathlib import Path
from typing import Final

import h5py
import numpy as np

from icegraph.errors import PassError
from icegraph.fuse.day_map import DayMap, noon, percent_of, polar_grid, require_size
from icegraph.fuse.own import require_own_hdf5

LICENCE: Final = "NASA, free and open; cite AU_SI12 or AU_SI25, NSIDC DAAC"
_MEND: Final = "download it again from NSIDC (AMSR_U2_L3_SeaIce12km_… or …25km_… .he5), or leave it out"
_FIELD: Final = "HDFEOS/GRIDS/{pole}pPolarGrid{cell}km/Data Fields/SI_{cell}km_{pole}H_ICECON_DAY"
_FLAGS: Final = (110, 120)  # missing, land


def read_nsidc(path: Path, *, south: bool) -> DayMap:
    """Read the map of one pole.

    Raises:
        PassError: It is damaged, or is no AU_SI12 or AU_SI25.
    """
    time = noon(path, _MEND)
    names = [_FIELD.format(pole="S" if south else "N", cell=cell) for cell in (12, 25)]
    try:
        with h5py.File(path, "r") as file:
            name = next((name for name in names if isinstance(file.get(name), h5py.Dataset)), None)
            if name is None:
                raise PassError(path, f"it has no dataset “{names[0]}”, nor that of 25 km", _MEND)
            dataset = file[name]
            require_own_hdf5(path, name, dataset, _MEND)
            require_size(path, dataset.shape, _MEND)
            values = np.asarray(dataset)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise PassError(path, f"not readable as HDF5 ({error})", _MEND) from error
    grid = polar_grid(values.shape, south=south)
    if grid is None:
        raise PassError(path, f"has a grid of {values.shape[0]} × {values.shape[1]} cells, which is not NSIDC's", _MEND)
    return DayMap(grid, percent_of(path, values, _FLAGS, _MEND), time)
