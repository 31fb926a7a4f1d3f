"""Which reader a file of AMSR2 data needs: told by its suffix, and for forms that hold many things by its name."""

from pathlib import Path
from typing import Final

from icegraph.fuse.bremen import LICENCE as BREMEN
from icegraph.fuse.bremen import read_bremen
from icegraph.fuse.day_map import DayMap
from icegraph.fuse.l1r import describe_swath
from icegraph.fuse.nsidc import LICENCE as NSIDC
from icegraph.fuse.nsidc import read_nsidc
from icegraph.fuse.points import PLATFORM, Partner

_BREMEN: Final = "asi-amsr2-"  # its GeoTIFFs are told from others by their name
_EVERYWHERE: Final = (-180.0, -90.0, 180.0, 90.0)


def is_day_map(path: Path) -> bool:
    """Whether a file is to be a day's map of concentration, and not a swath."""
    return path.suffix.lower() in (".he5", ".hdf", ".nc") or path.name.lower().startswith(_BREMEN)


def describe_partner(path: Path) -> Partner:
    """Describe a swath or a map.

    Raises:
        PassError: It is damaged, or not what its suffix says.
    """
    if not is_day_map(path):
        return describe_swath(path)
    if path.suffix.lower() == ".he5":
        return Partner(read_nsidc(path, south=False).time, _EVERYWHERE, PLATFORM, NSIDC)
    day = read_bremen(path)
    return Partner(day.time, day.bounds, PLATFORM, BREMEN)


def read_day_map(path: Path, *, south: bool) -> DayMap:
    """Read a map; of a file that holds both poles, that of one.

    Raises:
        PassError: It is damaged, or not what its suffix says.
    """
    return read_nsidc(path, south=south) if path.suffix.lower() == ".he5" else read_bremen(path)
