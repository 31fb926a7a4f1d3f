"""Read AMSR2 Level 1R granules: JAXA's HDF5 of brightness temperatures brought to common footprints.

Dataset names, the 0.01 K scale, the widths (243 points an arc, 486 at 89 GHz), the land flags and the overlap scans are those of the AMSR2
Level 1 product format (JAXA). The low-frequency points lie on every second 89 GHz A point, counted from the second. Each frequency is
taken at the finest footprint that L1R has it at, its own but for those it shares:

    res06  35 × 62 km  6.9, 7.3 GHz        res23     14 × 22 km  18.7, 23.8 GHz        original  3 × 5 km  89 GHz, horns A and B
    res10  24 × 42 km  10.7 GHz            res36      7 × 12 km  36.5 GHz
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from icegraph.bounds import lonlat_bounds
from icegraph.errors import PassError
from icegraph.fuse.own import require_own_hdf5
from icegraph.fuse.points import PLATFORM, Bools, Float, Partner, Points
from icegraph.tai93 import from_tai93


class _Footprint(NamedTuple):
    """A footprint of L1R, and the frequencies (GHz) that are taken at it."""

    name: str
    frequencies: tuple[str, ...]
    land_layer: int
    sigma_m: float


# The points lie 10 km apart. A fifth of a wide footprint (its half-power width) blurs it by a tenth, and quietens the noise.
_LOW: Final = (
    _Footprint("res06", ("6.9", "7.3"), 0, 9_000.0),
    _Footprint("res10", ("10.7",), 1, 6_500.0),
    _Footprint("res23", ("18.7", "23.8"), 2, 5_000.0),
    _Footprint("res36", ("36.5",), 3, 5_000.0),
)
_HIGH_SIGMA_M: Final = 3_000.0  # 5 km × 4 km apart
_DATASET: Final = "Brightness Temperature ({footprint},{frequency}GHz{horn},{polarisation})"
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


def _band(frequency: str, polarisation: str) -> str:
    return f"tb_{int(float(frequency)):02}{polarisation.lower()}_k"


TB_BANDS: Final = tuple(_band(frequency, pol) for frequency in [f for foot in _LOW for f in foot.frequencies] + ["89"] for pol in "HV")


@dataclass(frozen=True)
class Swath:
    """The channels of one granule.

    Args:
        channels: Brightness temperatures (`tb_06h_k` …), K, over the sea: points of one footprint together.
        ground: All places where 89 GHz was measured: `land_percent` of the footprint, and `tai93_s`, when.
        tells_land: Whether the granule tells land from sea.
    """

    channels: list[Points]
    ground: Points
    tells_land: bool


def describe_swath(path: Path) -> Partner:
    """Describe a granule from its attributes and its geolocation.

    Raises:
        PassError: The file is damaged or is not an AMSR2 L1R granule.
    """
    with _opened(path) as file:
        product = _attribute(file, "ProductName")
        if product is not None and "L1R" not in product:
            raise PassError(path, f"an AMSR2 product of kind {product}, not L1R", _MEND)
        for name in [name for foot in _LOW for name in _names(foot.name, foot.frequencies)] + _names("original", ["89"], "-A"):
            _require(file, path, name)
        kept = _kept_scans(file, path)
        lon, lat = _places(file, path, "A", kept)
        seconds = _read(file, path, _TIME, kept)
        good, timed = np.isfinite(lon) & np.isfinite(lat), seconds[seconds > 0]
        if not good.any() or not timed.size:
            raise PassError(path, "no scan has a position and a time", _MEND)
        simulated = "simulat" in (_attribute(file, "ProcessingCenter") or "").lower()
        licence = "simulated" if simulated else "JAXA G-Portal terms of use"
        platform = _attribute(file, "PlatformShortName") or PLATFORM
        return Partner(from_tai93(float(np.median(timed))), lonlat_bounds(lon[good], lat[good]), platform, licence)


def read_swath(path: Path) -> Swath:
    """Read the channels of a granule, without its overlap scans, its missing points, and those whose footprint holds land.

    Raises:
        PassError: The file is damaged or lacks a dataset.
    """
    with _opened(path) as file:
        kept = _kept_scans(file, path)
        seconds = _read(file, path, _TIME, kept)
        lon, lat = _places(file, path, "A", kept)
        channels = [_low(file, path, footprint, kept, seconds, lon, lat) for footprint in _LOW]
        horns = [horn for horn in "AB" if _LATITUDE.format(horn=horn) in file or horn == "A"]
        parts = [_high(file, path, horn, kept, seconds) for horn in horns]
        high, ground = (_together(points) for points in zip(*parts, strict=True))
        return Swath([*channels, high], ground, _tells_land(file))


def _names(footprint: str, frequencies: Sequence[str], horn: str = "") -> list[str]:
    return [
        _DATASET.format(footprint=footprint, frequency=frequency, horn=horn, polarisation=polarisation)
        for frequency in frequencies
        for polarisation in "HV"
    ]


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
    require_own_hdf5(path, name, dataset, _MEND)
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


def _land_percent(file: h5py.File, path: Path, name: str, layer: int, kept: slice, shape: tuple[int, ...]) -> Float:
    """Share of land in the footprints of a layer, %, [scans, points]; none where the granule does not tell."""
    if not _tells_land(file):
        return np.zeros(shape)
    dataset = _require(file, path, name)
    if dataset.ndim != 3 or dataset.shape[0] <= layer or dataset.shape[1] < kept.stop or dataset.shape[2] != shape[1]:
        raise PassError(path, f"dataset “{name}” has the shape {dataset.shape}, which does not fit its positions", _MEND)
    return np.asarray(dataset[layer, kept], np.float64)


def _low(file: h5py.File, path: Path, footprint: _Footprint, kept: slice, seconds: Float, lon: Float, lat: Float) -> Points:
    """The frequencies of a footprint over the sea; `lon` and `lat` are those of the 89 GHz A points, [scans, 486]."""
    kelvin = np.stack([_kelvin(file, path, name, kept) for name in _names(footprint.name, footprint.frequencies)], axis=-1)
    if lon.shape != (kelvin.shape[0], 2 * kelvin.shape[1]):
        raise PassError(path, f"positions are {lon.shape} where brightness temperatures are {kelvin.shape[:2]}", _MEND)
    land = _land_percent(file, path, _LAND_LOW, footprint.land_layer, kept, kelvin.shape[:2])
    bands = tuple(_band(frequency, polarisation) for frequency in footprint.frequencies for polarisation in "HV")
    points = Points(lon[:, 1::2].ravel(), lat[:, 1::2].ravel(), kelvin.reshape(-1, len(bands)), bands, footprint.sigma_m)
    return points.only(_known(points) & (land <= _LAND_MOST).ravel() & _timed(seconds, land))


def _high(file: h5py.File, path: Path, horn: str, kept: slice, seconds: Float) -> tuple[Points, Points]:
    """89 GHz of a horn over the sea, and its ground."""
    lon, lat = _places(file, path, horn, kept)
    kelvin = np.stack([_kelvin(file, path, name, kept) for name in _names("original", ["89"], f"-{horn}")], axis=-1)
    if kelvin.shape[:2] != lon.shape:
        raise PassError(path, f"89 GHz positions are {lon.shape} where brightness temperatures are {kelvin.shape[:2]}", _MEND)
    land = _land_percent(file, path, _LAND_HIGH, "AB".index(horn), kept, lon.shape)
    points = Points(lon.ravel(), lat.ravel(), kelvin.reshape(-1, 2), (_band("89", "H"), _band("89", "V")), _HIGH_SIGMA_M)
    about = np.stack([land, np.broadcast_to(seconds[:, None], land.shape)], axis=-1).reshape(-1, 2)
    ground = Points(points.lon, points.lat, about, ("land_percent", "tai93_s"), _HIGH_SIGMA_M)
    good = _known(points) & _timed(seconds, land)
    return points.only(good & (land <= _LAND_MOST).ravel()), ground.only(good)


def _known(points: Points) -> Bools:
    """Where every channel and the place are known, [N]."""
    return np.isfinite(points.lon) & np.isfinite(points.lat) & np.isfinite(points.values).all(axis=-1)


def _timed(seconds: Float, like: Float) -> Bools:
    """Which of the points [scans · points] belong to a scan with a time."""
    return np.broadcast_to((seconds > 0)[:, None], like.shape).ravel()


def _together(parts: Sequence[Points]) -> Points:
    lon, lat, values = (np.concatenate([getattr(part, name) for part in parts]) for name in ("lon", "lat", "values"))
    return Points(lon, lat, values, parts[0].bands, parts[0].sigma_m)
