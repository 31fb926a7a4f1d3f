"""A piece of an AMSR2 swath over a simulated ice field, as JAXA's Level 1R HDF5.

The scan is a cone: arcs about the point below the satellite, 10 km apart along the track.

      ╭───────────────────╮  scan i + 1        486 points of 89 GHz (A horn) an arc; the other channels have every second
     ╱╭─────────────────╮ ╲ scan i             of them, counted from the second (0-based 1, 3, 5 …). The B horn's arc
    ╱╱                   ╲ ╲                   runs 5 km, and one scan, behind

Names, scales and shapes follow real L1R granules: `Brightness Temperature (res23,18.7GHz,H)` is the 18.7 GHz channel brought to the
footprint of 23 GHz, in 0.01 K. Tie points of the surfaces: Ivanova et al. 2015 (doi 10.5194/tc-9-1797-2015), 89 GHz approximate.
Footprints, which are ellipses, are taken as circles of the same area.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from scipy import ndimage

from icegraph.grid import tiles
from icegraph.simulate.field import BRASH, FLOE, LAND, MULTIYEAR, Drawn, Snapshot
from icegraph.store import atomic_path
from icegraph.tai93 import to_tai93

Float = NDArray[np.float64]

HIGH_WIDTH: Final = 486
SCALE: Final = 0.01
OVERLAP: Final = 20  # scans at either end that the neighbouring granules hold too
_SCAN_KM: Final = 10.0
_SCAN_S: Final = 1.5
_RADIUS_KM: Final = 820.0  # from the point below the satellite to a scan, at 55 degrees incidence
_HALF_DEG: Final = 61.0
_B_BEHIND_KM: Final = 15.0
_MARGIN_KM: Final = 120.0
_CELL_KM: Final = 1.0
_TILE: Final = 512  # pixels, a side, brought to cells at a time
_FILES_A_CYCLE: Final = 233

# Noise of a sample by frequency, K.
_NOISE_K: Final = {
    "6.9": 0.34,
    "7.3": 0.43,
    "10.7": 0.70,
    "18.7": 0.70,
    "23.8": 0.60,
    "36.5": 0.70,
    "89.0": 1.20,
}
# Diameter of equal area, km.
_FOOTPRINT_KM: Final = {
    "res06": math.sqrt(35 * 62),
    "res10": math.sqrt(24 * 42),
    "res23": math.sqrt(14 * 22),
    "res36": math.sqrt(7 * 12),
    "original": math.sqrt(3 * 5),
}
_RESAMPLED: Final = {
    "res06": ("6.9", "7.3", "10.7", "18.7", "23.8", "36.5", "89.0"),
    "res10": ("10.7", "18.7", "23.8", "36.5", "89.0"),
    "res23": ("18.7", "23.8", "36.5", "89.0"),
    "res36": ("36.5", "89.0"),
}
# Open water, first-year ice, multiyear ice, land; K.
TIE_POINTS: Final = {
    ("6.9", "V"): (161.0, 252.0, 243.0, 266.0),
    ("6.9", "H"): (82.0, 232.0, 219.0, 252.0),
    ("7.3", "V"): (162.0, 252.0, 242.0, 266.0),
    ("7.3", "H"): (83.0, 232.0, 218.0, 252.0),
    ("10.7", "V"): (167.0, 251.0, 235.0, 265.0),
    ("10.7", "H"): (88.0, 234.0, 212.0, 252.0),
    ("18.7", "V"): (184.0, 252.0, 220.0, 263.0),
    ("18.7", "H"): (108.0, 237.0, 202.0, 252.0),
    ("23.8", "V"): (196.0, 250.0, 209.0, 262.0),
    ("23.8", "H"): (128.0, 236.0, 192.0, 252.0),
    ("36.5", "V"): (210.0, 246.0, 187.0, 260.0),
    ("36.5", "H"): (145.0, 235.0, 176.0, 252.0),
    ("89.0", "V"): (243.0, 230.0, 178.0, 258.0),
    ("89.0", "H"): (197.0, 221.0, 170.0, 252.0),
}
# Over water: K for each m/s of wind above 5, and K for each 0.1 kg/m² of cloud liquid.
_WIND_K: Final = {"V": 0.25, "H": 0.9}
_CLOUD_K: Final = {"6.9": 0.2, "7.3": 0.3, "10.7": 0.6, "18.7": 2.0, "23.8": 3.0, "36.5": 6.0, "89.0": 9.0}
_CLOUD_V_SHARE: Final = 0.45
_CLOUD_SCALE_KM: Final = 40.0


@dataclass(frozen=True)
class Swath:
    """Where a swath's scans lie.

    Args:
        lon_a: Longitude of the 89 GHz A points, degrees, [scans, 486].
        lat_a: Their latitude.
        lon_b: Longitude of the B points.
        lat_b: Their latitude.
        azimuth: Azimuth of the view at the low-frequency points, degrees from north, [scans, 243].
        seconds: Time of each scan from the swath's middle, [scans].
    """

    lon_a: Float
    lat_a: Float
    lon_b: Float
    lat_b: Float
    azimuth: Float
    seconds: Float


def write_amsr2(view: Drawn, folder: Path, *, rng: np.random.Generator) -> Path:
    """Write a piece of an AMSR2 L1R granule that sees a view; its middle scan's time is the view's.

    Outside the view the field goes on as its mirror image for `_MARGIN_KM`, then as its mean.

    Args:
        view: The field.
        folder: Where the file is to lie.
        rng: The track's place, cloud liquid and noise are drawn from it.

    Returns:
        The file, `GW1AM2_<time>_<path>_L1SGRTBR_2220220.h5`.
    """
    surface = _Surface(view, rng)
    swath = _swath(view, rng)
    path = folder / _name(view)
    with atomic_path(path) as fresh, h5py.File(fresh, "w") as file:
        _write_attributes(file, view, swath, path.stem)
        _write_geometry(file, view, swath, surface)
        for name, frequency, kelvin in _channels(swath, surface):
            noisy = kelvin + rng.normal(0, _NOISE_K[frequency], kelvin.shape)
            _dataset(file, name, np.clip(np.round(noisy / SCALE), 0, 65000).astype(np.uint16), SCALE, "K")
    return path


def smooth_truth(snapshot: Snapshot, frequency: str, polarisation: str, resolution: str) -> Float:
    """Brightness temperature, K, [H, W] on the snapshot's grid, that a footprint sees: no wind, cloud or noise.

    Args:
        snapshot: The field.
        frequency: As in dataset names: `18.7`.
        polarisation: `H` or `V`.
        resolution: `res06`, `res10`, `res23`, `res36` or `original`.
    """
    sigma = _FOOTPRINT_KM[resolution] / 2.355 * 1000 / snapshot.grid.pixel_m
    shares = [ndimage.gaussian_filter(part, sigma, mode="mirror") for part in _shares(snapshot)]
    return np.asarray(sum(share * kelvin for share, kelvin in zip(shares, TIE_POINTS[frequency, polarisation], strict=True)))


class _Surface:
    """The field on cells of about 1 km, with its margin, as shares of the four surfaces and what lies over the water."""

    def __init__(self, view: Drawn, rng: np.random.Generator) -> None:
        self._grid = view.grid
        self._step = max(1, round(_CELL_KM * 1000 / view.grid.pixel_m))
        self.cell_km = self._step * view.grid.pixel_m / 1000
        self._margin = math.ceil(_MARGIN_KM / self.cell_km)
        self._to_plane = Transformer.from_crs("EPSG:4326", view.grid.crs, always_xy=True)
        rows, cols = (math.ceil(size / self._step) for size in view.grid.shape)
        layers = np.empty((5, rows, cols))
        cells_a_tile = max(1, _TILE // self._step)
        for cells, window in zip(tiles((rows, cols), cells_a_tile), tiles(view.grid.shape, cells_a_tile * self._step), strict=True):
            part = view.part(window)
            shares = _shares(part)
            layers[:, *cells.slices] = [self._coarse(layer) for layer in (*shares, part.wind_m_s * shares[0])]
        self.layers = [np.pad(layer, self._margin, mode="symmetric") for layer in layers]
        cloud = ndimage.gaussian_filter(rng.standard_normal(self.layers[0].shape), _CLOUD_SCALE_KM / self.cell_km)
        self._cloud = np.clip(cloud / cloud.std() - 0.5, 0, None)  # 0.1 kg/m², clear in most places

    def kelvin(self, frequency: str, polarisation: str, resolution: str, lon: Float, lat: Float) -> Float:
        """Brightness temperature without noise at points, K."""
        water, wind = self.layers[0], self.layers[4]
        cloud_k = _CLOUD_K[frequency] * (1.0 if polarisation == "H" else _CLOUD_V_SHARE)
        ground = sum(tie * layer for tie, layer in zip(TIE_POINTS[frequency, polarisation], self.layers[:4], strict=True))
        field = ground + _WIND_K[polarisation] * (wind - 5.0 * water) * (wind > 5.0 * water) + cloud_k * self._cloud * water
        return self._at(np.asarray(field), resolution, lon, lat)

    def land_percent(self, resolution: str, lon: Float, lat: Float) -> Float:
        """Share of land in the footprint at points, %."""
        return self._at(100 * self.layers[3], resolution, lon, lat)

    def _at(self, field: Float, resolution: str, lon: Float, lat: Float) -> Float:
        smooth = ndimage.gaussian_filter(field, _FOOTPRINT_KM[resolution] / 2.355 / self.cell_km, mode="nearest")
        row, col = self._grid.rowcol(*self._to_plane.transform(lon, lat))
        places = [(index + 0.5) / self._step - 0.5 + self._margin for index in (row, col)]
        return np.asarray(ndimage.map_coordinates(smooth, places, order=1, mode="constant", cval=float(field.mean())))

    def _coarse(self, values: NDArray[Any]) -> Float:
        """Means of blocks; the blocks at the far edges may be short."""
        padded = np.pad(values.astype(float), [(0, -size % self._step) for size in values.shape], mode="edge")
        rows, cols = (size // self._step for size in padded.shape)
        return np.asarray(padded.reshape(rows, self._step, cols, self._step).mean(axis=(1, 3)))


def _shares(snapshot: Snapshot) -> list[Float]:
    """Open water, first-year ice with slush, multiyear ice and land, [H, W] each."""
    land = snapshot.classes == LAND
    if snapshot.ice_fraction is not None and snapshot.slush is not None:
        solid, slush = np.where(land, 0, snapshot.ice_fraction), np.where(land, 0, snapshot.slush)
    else:
        solid, slush = np.asarray((snapshot.classes == FLOE) | (snapshot.classes == BRASH), float), np.zeros(land.shape)
    old = np.where(snapshot.ice_type == MULTIYEAR, solid, 0.0)
    water = np.where(land, 0.0, (1 - solid) * (1 - slush))
    return [water, 1 - water - old - land, old, land.astype(float)]


def _swath(view: Drawn, rng: np.random.Generator) -> Swath:
    """A track that passes within 300 km of the field, in an equidistant plane about the field's middle."""
    left, bottom, right, top = view.grid.bounds
    lon, lat = view.grid.lonlat(np.array((left + right) / 2), np.array((bottom + top) / 2))
    plane = Transformer.from_crs(f"+proj=aeqd +lon_0={lon} +lat_0={lat} +ellps=WGS84 +units=km", "EPSG:4326", always_xy=True)
    heading, aside = rng.uniform(0, 2 * math.pi), rng.uniform(-300, 300)
    across_km = math.hypot(right - left, top - bottom) / 1000
    scans = max(60, 2 * math.ceil((across_km / 2 + _MARGIN_KM) / _SCAN_KM + 4)) + 2 * OVERLAP
    theta = np.radians(np.linspace(-_HALF_DEG, _HALF_DEG, HIGH_WIDTH))
    number = np.arange(scans) - (scans - 1) / 2
    middle_km = math.sqrt(_RADIUS_KM**2 - aside**2)  # the arc's height where it meets the field

    def points(behind_km: float) -> tuple[Float, Float]:
        x = np.broadcast_to(_RADIUS_KM * np.sin(theta) - aside, (scans, HIGH_WIDTH))
        y = _RADIUS_KM * np.cos(theta) - middle_km + (number * _SCAN_KM)[:, None] - behind_km
        cos, sin = math.cos(heading), math.sin(heading)
        east, north = plane.transform(cos * x + sin * y, -sin * x + cos * y)
        return np.asarray(east), np.asarray(north)

    (lon_a, lat_a), (lon_b, lat_b) = points(0.0), points(_B_BEHIND_KM)
    azimuth = np.broadcast_to((np.degrees(heading + theta[1::2]) + 180) % 360 - 180, (scans, HIGH_WIDTH // 2))
    return Swath(lon_a, lat_a, lon_b, lat_b, np.asarray(azimuth, np.float64), np.asarray(number * _SCAN_S, np.float64))


def _channels(swath: Swath, surface: _Surface) -> Iterator[tuple[str, str, Float]]:
    """Dataset name, frequency and brightness temperature (K) of every channel."""
    lon, lat = swath.lon_a[:, 1::2], swath.lat_a[:, 1::2]
    for resolution, frequencies in _RESAMPLED.items():
        for frequency in frequencies:
            for polarisation in "HV":
                name = f"Brightness Temperature ({resolution},{frequency}GHz,{polarisation})"
                yield name, frequency, surface.kelvin(frequency, polarisation, resolution, lon, lat)
    for horn, lon, lat in (("A", swath.lon_a, swath.lat_a), ("B", swath.lon_b, swath.lat_b)):
        for polarisation in "HV":
            name = f"Brightness Temperature (original,89GHz-{horn},{polarisation})"
            yield name, "89.0", surface.kelvin("89.0", polarisation, "original", lon, lat)


def _name(view: Drawn) -> str:
    orbit = int(view.time.timestamp() // 5933)  # 98.9 minutes
    return f"GW1AM2_{view.time:%Y%m%d%H%M}_{orbit % _FILES_A_CYCLE + 1:03d}{'DA'[orbit % 2]}_L1SGRTBR_2220220.h5"


def _write_attributes(file: h5py.File, view: Drawn, swath: Swath, granule: str) -> None:
    scans = len(swath.seconds)
    begin, end = (view.time + timedelta(seconds=float(swath.seconds[at])) for at in (OVERLAP, scans - 1 - OVERLAP))
    for name, text in {
        "ProductName": "AMSR2-L1R",
        "GranuleID": granule,
        "PlatformShortName": "GCOM-W1",
        "SensorShortName": "AMSR2",
        "ObservationStartDateTime": f"{begin:%Y-%m-%dT%H:%M:%S}.{begin.microsecond // 1000:03d}Z",
        "ObservationEndDateTime": f"{end:%Y-%m-%dT%H:%M:%S}.{end.microsecond // 1000:03d}Z",
        "OrbitDirection": "Descending" if "D_L1" in granule else "Ascending",
        "NumberOfScans": str(scans - 2 * OVERLAP),
        "OverlapScans": str(OVERLAP),
        "ProcessingCenter": "IceGraph simulator",
    }.items():
        file.attrs.create(name, [text], dtype=h5py.string_dtype())


def _write_geometry(file: h5py.File, view: Drawn, swath: Swath, surface: _Surface) -> None:
    for horn, lon, lat in (("A", swath.lon_a, swath.lat_a), ("B", swath.lon_b, swath.lat_b)):
        _dataset(file, f"Latitude of Observation Point for 89{horn}", lat.astype(np.float32), 1.0, "deg")
        _dataset(file, f"Longitude of Observation Point for 89{horn}", lon.astype(np.float32), 1.0, "deg")
    _dataset(file, "Scan Time", to_tai93(view.time) + swath.seconds, 1.0, "s")
    _dataset(file, "Earth Incidence", np.full(swath.azimuth.shape, 5500, np.int16), SCALE, "deg")
    _dataset(file, "Earth Azimuth", np.round(swath.azimuth / SCALE).astype(np.int16), SCALE, "deg")
    lon, lat = swath.lon_a[:, 1::2], swath.lat_a[:, 1::2]
    low = [surface.land_percent(resolution, lon, lat) for resolution in ("res06", "res10", "res23", "res36")]
    _dataset(file, "Land_Ocean Flag 6 to 36", np.round(low).astype(np.uint8), 1.0, "%")
    high = [surface.land_percent("original", *place) for place in ((swath.lon_a, swath.lat_a), (swath.lon_b, swath.lat_b))]
    _dataset(file, "Land_Ocean Flag 89", np.round(high).astype(np.uint8), 1.0, "%")


def _dataset(file: h5py.File, name: str, values: NDArray[Any], scale: float, unit: str) -> None:
    dataset = file.create_dataset(name, data=values, compression="gzip", compression_opts=4, shuffle=True)
    dataset.attrs.create("SCALE FACTOR", [scale], dtype=np.float32)
    dataset.attrs.create("UNIT", [unit], dtype=h5py.string_dtype())
