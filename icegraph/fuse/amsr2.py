"""Read AMSR2 Level 1R granules: JAXA's HDF5 of brightness temperatures brought to common footprints.

Dataset names, the 0.01 K scale, the widths (243 points an arc, 486 at 89 GHz) and the overlap scans are those of the AMSR2 Level 1 product
format (JAXA). The low-frequency points lie on every second 89 GHz A point, counted from the second.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from icegraph.bounds import Bounds, lonlat_bounds
from icegraph.errors import PassError
from icegraph.tai93 import from_tai93

PLATFORM: Final = "GCOM-W1"
# Our band → JAXA's dataset: each frequency at the finest footprint that L1R has it at.
LOW: Final = {
    "tb_18h_k": "Brightness Temperature (res23,18.7GHz,H)",
    "tb_18v_k": "Brightness Temperature (res23,18.7GHz,V)",
    "tb_23v_k": "Brightness Temperature (res23,23.8GHz,V)",
    "tb_36h_k": "Brightness Temperature (res36,36.5GHz,H)",
    "tb_36v_k": "Brightness Temperature (res36,36.5GHz,V)",
}
HIGH: Final = {
    "tb_89h_k": "Brightness Temperature (original,89GHz-{horn},H)",
    "tb_89v_k": "Brightness Temperature (original,89GHz-{horn},V)",
}
_LATITUDE: Final = "Latitude of Observation Point for 89{horn}"
_LONGITUDE: Final = "Longitude of Observation Point for 89{horn}"
_TIME: Final = "Scan Time"
_LAND_LOW: Final = "Land_Ocean Flag 6 to 36"  # %, [4, scans, 243], of the footprints res06, res10, res23 and res36
_LAND_HIGH: Final = "Land_Ocean Flag 89"  # %, [2, scans, 486], of the horns A and B
_LAND_MOST: Final = 5  # % of a footprint: land is as warm as ice and as little polarised
_SCALE: Final = 0.01  # K, where the dataset does not say
_BAD: Final = 65534  # and 65535: missing
_KELVIN: Final = (50.0, 350.0)  # what the Earth can show
_LARGEST: Final = 20_000_000  # values; a dataset of a real granule has 2 million
_MEND: Final = "download it again as AMSR2 L1R HDF5 (…_L1SGRTBR_….h5), or leave it out"

Float = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Points:
    """Measurements of some channels at the same places.

    Args:
        lon: Longitude, degrees, [N].
        lat: Latitude, degrees, [N].
        time_s: TAI93 seconds of each, [N].
        kelvin: Brightness temperature, K, [N, C].
        bands: Names of the C channels.
    """

    lon: Float
    lat: Float
    time_s: Float
    kelvin: Float
    bands: list[str]


@dataclass(frozen=True)
class Swath:
    """The channels of one granule that a scene is given.

    Args:
        low: 18.7, 23.8 and 36.5 GHz, over the sea.
        high: 89 GHz, both horns, over the sea.
        land: 89 GHz over land; None where the granule does not tell land from sea.
    """

    low: Points
    high: Points
    land: Points | None


class Granule(NamedTuple):
    """What a granule tells of itself: its middle time (UTC), where its points lie, its platform, and whether it was simulated."""

    time: datetime
    bounds: Bounds
    platform: str
    simulated: bool


def describe_swath(path: Path) -> Granule:
    """Describe a granule from its attributes and its geolocation.

    Raises:
        PassError: The file is damaged or is not an AMSR2 L1R granule.
    """
    with _opened(path) as file:
        product = _attribute(file, "ProductName")
        if product is not None and "L1R" not in product:
            raise PassError(path, f"an AMSR2 product of kind {product}, not L1R", _MEND)
        for name in [*LOW.values(), *(name.format(horn="A") for name in HIGH.values())]:
            _require(file, path, name)
        kept = _kept_scans(file, path)
        lon, lat = _places(file, path, "A", kept)
        seconds = _read(file, path, _TIME, kept)
        good, timed = np.isfinite(lon) & np.isfinite(lat), seconds[seconds > 0]
        if not good.any() or not timed.size:
            raise PassError(path, "no scan has a position and a time", _MEND)
        simulated = "simulat" in (_attribute(file, "ProcessingCenter") or "").lower()
        platform = _attribute(file, "PlatformShortName") or PLATFORM
        return Granule(from_tai93(float(np.median(timed))), lonlat_bounds(lon[good], lat[good]), platform, simulated)


def read_swath(path: Path) -> Swath:
    """Read the channels of a granule, without its overlap scans and its missing points, land apart.

    Raises:
        PassError: The file is damaged or lacks a dataset.
    """
    with _opened(path) as file:
        kept = _kept_scans(file, path)
        seconds = _read(file, path, _TIME, kept)
        horns = [horn for horn in "AB" if _LATITUDE.format(horn=horn) in file or horn == "A"]
        parts = [_points(file, path, horn, kept, seconds) for horn in horns]
        lon, lat = _places(file, path, "A", kept)
        kelvin = np.stack([_kelvin(file, path, name, kept) for name in LOW.values()], axis=-1)
        width = kelvin.shape[1]
        if lon.shape != (kelvin.shape[0], 2 * width):
            raise PassError(path, f"positions are {lon.shape} where brightness temperatures are {kelvin.shape[:2]}", _MEND)
        land = _land(file, path, _LAND_LOW, [2, 3], kept, kelvin.shape[:2])
        low = _good(lon[:, 1::2], lat[:, 1::2], seconds, kelvin, list(LOW), ~land)
        told = _tells_land(file)
    return Swath(low, _together([sea for sea, _ in parts]), _together([land for _, land in parts]) if told else None)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The open file; whatever h5py says of a damaged one becomes a PassError."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise PassError(path, f"not readable as HDF5 ({error})", _MEND) from error


def _require(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    """A dataset of numbers that lies in this file itself and is no larger than a granule's can be."""
    dataset = file.get(name) if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset):
        raise PassError(path, f"it has no dataset “{name}”", _MEND)
    if dataset.is_virtual or dataset.external:
        raise PassError(path, f"dataset “{name}” lies in another file", _MEND)
    if dataset.ndim == 0 or dataset.dtype.kind not in "iuf" or dataset.size > _LARGEST:
        raise PassError(path, f"dataset “{name}” is {dataset.dtype} of shape {dataset.shape}, which no granule has", _MEND)
    return dataset


def _attribute(file: h5py.File, name: str) -> str | None:
    value = np.ravel(file.attrs.get(name, []))
    if not len(value):
        return None
    return value[0].decode("utf-8", "replace") if isinstance(value[0], bytes) else str(value[0])


def _kept_scans(file: h5py.File, path: Path) -> slice:
    """All scans but those that the neighbouring granules hold too."""
    scans = _require(file, path, _TIME).shape[0]
    text = _attribute(file, "OverlapScans") or "0"
    overlap = int(text) if text.strip().isdigit() else 0
    if scans <= 2 * overlap:
        raise PassError(path, f"{scans} scans, of which {2 * overlap} are overlap: nothing is left", _MEND)
    return slice(overlap, scans - overlap)


def _read(file: h5py.File, path: Path, name: str, kept: slice) -> NDArray[Any]:
    dataset = _require(file, path, name)
    if dataset.shape[0] < kept.stop:
        raise PassError(path, f"dataset “{name}” has {dataset.shape[0]} scans, at least {kept.stop} expected", _MEND)
    return np.asarray(dataset[kept])


def _places(file: h5py.File, path: Path, horn: str, kept: slice) -> tuple[Float, Float]:
    """Longitude and latitude [scans, 486], NaN where they are no place on Earth."""
    lon, lat = (_read(file, path, name.format(horn=horn), kept).astype(np.float64) for name in (_LONGITUDE, _LATITUDE))
    if lon.ndim != 2 or lon.shape != lat.shape:
        raise PassError(path, f"longitudes are {lon.shape}, latitudes {lat.shape}: both should be scans × 486", _MEND)
    wrong = (np.abs(lat) > 90) | (np.abs(lon) > 360)
    lon[wrong], lat[wrong] = np.nan, np.nan
    return (lon + 180) % 360 - 180, lat


def _kelvin(file: h5py.File, path: Path, name: str, kept: slice) -> Float:
    numbers = _read(file, path, name, kept)
    scale = np.ravel(file[name].attrs.get("SCALE FACTOR", []))
    kelvin = numbers * (float(scale[0]) if scale.size else _SCALE)
    kelvin[(numbers >= _BAD) | (kelvin < _KELVIN[0]) | (kelvin > _KELVIN[1])] = np.nan
    return np.asarray(kelvin)


def _tells_land(file: h5py.File) -> bool:
    return _LAND_LOW in file and _LAND_HIGH in file


def _land(file: h5py.File, path: Path, name: str, layers: list[int], kept: slice, shape: tuple[int, ...]) -> Bools:
    """Where a footprint of one of the layers holds land, [scans, points]; nowhere where the granule does not tell."""
    if not _tells_land(file):
        return np.zeros(shape, bool)
    dataset = _require(file, path, name)
    if dataset.ndim != 3 or dataset.shape[0] <= max(layers) or dataset.shape[1] < kept.stop or dataset.shape[2] != shape[1]:
        raise PassError(path, f"dataset “{name}” has the shape {dataset.shape}, which does not fit its positions", _MEND)
    return np.asarray((dataset[layers, kept] > _LAND_MOST).any(axis=0))


def _points(file: h5py.File, path: Path, horn: str, kept: slice, seconds: Float) -> tuple[Points, Points]:
    """The 89 GHz points of a horn, over the sea and over land."""
    lon, lat = _places(file, path, horn, kept)
    kelvin = np.stack([_kelvin(file, path, name.format(horn=horn), kept) for name in HIGH.values()], axis=-1)
    if kelvin.shape[:2] != lon.shape:
        raise PassError(path, f"89 GHz positions are {lon.shape} where brightness temperatures are {kelvin.shape[:2]}", _MEND)
    land = _land(file, path, _LAND_HIGH, ["AB".index(horn)], kept, lon.shape)
    return _good(lon, lat, seconds, kelvin, list(HIGH), ~land), _good(lon, lat, seconds, kelvin, list(HIGH), land)


def _good(lon: Float, lat: Float, seconds: Float, kelvin: Float, bands: list[str], chosen: Bools) -> Points:
    """The chosen points [N] where every channel and the place are known."""
    time_s = np.broadcast_to(seconds[:, None], lon.shape)
    good = chosen & np.isfinite(lon) & np.isfinite(lat) & np.isfinite(kelvin).all(axis=-1) & (time_s > 0)
    return Points(lon[good], lat[good], time_s[good], kelvin[good], bands)


def _together(parts: Sequence[Points]) -> Points:
    lon, lat, time_s, kelvin = (np.concatenate([getattr(part, name) for part in parts]) for name in ("lon", "lat", "time_s", "kelvin"))
    return Points(lon, lat, time_s, kelvin, parts[0].bands)
