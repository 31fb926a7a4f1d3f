"""A GeoTIFF without a STAC item: its bands, time and platform are guessed from what the file says, and every guess is told."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
import rasterio.warp
from rasterio.enums import ColorInterp

from icegraph.bounds import Bounds, lonlat_bounds, raster_bounds
from icegraph.errors import PassError
from icegraph.ingest.pixels import open_raster, sample_lines
from icegraph.ingest.stac import parse_time, polarisation
from icegraph.ingest.tiff import check_tiff

HV_BELOW_DB = -17.5  # one unnamed band: level ice has -17…-14 dB at HH; old ice at HV reaches -16, and would be taken for HH
_LOCAL_SOLAR_H = {"terra": 10.5, "aqua": 13.5}  # nominal crossing times of the two MODIS
OPTICAL = ("red", "green", "blue", "nir", "swir22")
_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class Guess:
    """What a GeoTIFF is taken for; its bands in the file's order, without a gap."""

    id: str
    radar: bool
    bands: list[str]
    time: datetime
    platform: str
    bounds: Bounds
    notes: list[str]


def guess(path: Path) -> Guess:
    """Tell what a GeoTIFF is from its tags, band descriptions, colours, types and name.

    Raises:
        PassError: Cut off, oversized, without place, time or bands that could be guessed, or of a type that is no pass.
    """
    check_tiff(path)
    notes: list[str] = []
    with open_raster(path) as dataset:
        bounds = raster_lonlat(dataset, path)
        tags = dataset.tags()
        radar, bands = _bands(dataset, path, tags, notes)
    platform = _platform(path, tags)
    time, where = _time(path, tags, platform, bounds, notes)
    identity = path.stem if where != "folder" else f"{path.parent.name}-{path.stem}"
    return Guess(folder_name(identity), radar, bands, time, platform, bounds, notes)


FALSE_BANDS = ("swir22", "nir", "red")
_TRUE = re.compile(r"true[-_ ]?colou?r", re.IGNORECASE)
_FALSE = re.compile(r"false[-_ ]?colou?r", re.IGNORECASE)


def true_colour_of(path: Path) -> Path | None:
    """The true-colour picture beside a false-colour one whose name differs in that word alone."""
    beside = (path.with_name(_FALSE.sub(word, path.name)) for word in ("truecolor", "true_color", "true-color"))
    return next((other for other in beside if _FALSE.search(path.name) and other.is_file()), None)


def companions(path: Path) -> tuple[Path | None, Path | None]:
    """The false-colour picture (bands 7-2-1) and the land mask that lie beside a true-colour one, by their names."""
    if not _TRUE.search(path.name):
        return None, None
    false = (path.with_name(_TRUE.sub(word, path.name)) for word in ("falsecolor", "false_color", "false-color"))
    land = (path.with_name(name) for name in (_TRUE.sub("landmask", path.name), "landmask.tif"))
    return next((other for other in false if other.is_file()), None), next((other for other in land if other.is_file()), None)


def folder_name(text: str) -> str:
    """A pass id of a file's name: what cannot stand in a folder's name becomes `_`."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", text).lstrip("_.+-") or "pass"


def raster_lonlat(dataset: rasterio.io.DatasetReader, path: Path) -> Bounds:
    """Bounds in degrees of an open raster, by its grid or its ground control points.

    Raises:
        PassError: It has neither, or no coordinate system.
    """
    gcps, gcp_crs = dataset.gcps
    try:
        if dataset.crs is not None and not dataset.transform.is_identity:
            return raster_bounds(dataset.crs, *dataset.bounds)
        if len(gcps) >= 4 and gcp_crs is not None:
            x, y = np.array([point.x for point in gcps]), np.array([point.y for point in gcps])
            lon, lat = rasterio.warp.transform(gcp_crs, "EPSG:4326", x, y)
            return lonlat_bounds(lon, lat)
    except ValueError as error:
        raise PassError(path, f"its place cannot be used ({error})", "georeference it again") from error
    raise PassError(path, "says nowhere where it lies (no coordinate system with a grid or control points)", "georeference it first")


def _bands(dataset: rasterio.io.DatasetReader, path: Path, tags: Mapping[str, str], notes: list[str]) -> tuple[bool, list[str]]:
    kind, count, names = dataset.dtypes[0], dataset.count, [text or "" for text in dataset.descriptions]
    told = f"{path.name} {' '.join(names)} {' '.join(tags.values())}".lower()
    if kind.startswith("float") and (any(map(polarisation, names)) or re.search(r"\bs1[a-d]_|sentinel-?1|\bsar\b|radar|sigma", told)):
        return True, _radar_bands(dataset, path, names, notes)
    if any(names) and all(name in OPTICAL for name in names[: min(count, 3)]) and kind in ("uint8", "float32", "float64"):
        last = max(number for number, name in enumerate(names) if name in OPTICAL)
        return False, [name or f"band_{number}" for number, name in enumerate(names[: last + 1], 1)]
    if kind == "uint8" and (count in (3, 4) or dataset.colorinterp[:3] == _COLOURS):
        false = re.search(r"false[-_ ]?colou?r|7[-_]?2[-_]?1(?!\d)", path.name.lower())
        bands = ["swir22", "nir", "red"] if false else ["red", "green", "blue"]
        notes.append(f"bands: {', '.join(bands)} guessed from {'its name' if false else 'three colours of 8 bits'}")
        notes.append("pixels: taken for NASA Worldview's 8-bit stretch of reflectance")
        return False, bands
    raise PassError(
        path,
        f"has {count} band{'s' * (count > 1)} of {kind} without names, which is no kind of pass known here",
        "expected sigma nought as float32, or RGB imagery as uint8; or describe it with a STAC item",
    )


def _radar_bands(dataset: rasterio.io.DatasetReader, path: Path, names: list[str], notes: list[str]) -> list[str]:
    if any(map(polarisation, names)):
        return [name.lower() or f"band_{number}" for number, name in enumerate(names, 1)]
    dual = re.search(r"_1S(D|S)(H|V)", path.name)
    if dual and dual[1] == "D" and dataset.count == 2:
        bands = [f"sigma0_{pol}" for pol in (("hh", "hv") if dual[2] == "H" else ("vv", "vh"))]
        notes.append(f"bands: {', '.join(bands)} guessed from the product's name")
    elif dataset.count == 1 and polarisation(path.stem.replace("_", " ")):
        bands = [f"sigma0_{polarisation(path.stem.replace('_', ' '))}"]
        notes.append(f"band: {bands[0]} guessed from the file's name")
    elif dataset.count == 1:
        level = _level_db(dataset)
        like, cross = ("vv", "vh") if dual and dual[2] == "V" else ("hh", "hv")
        bands = [f"sigma0_{cross if level < HV_BELOW_DB else like}"]
        notes.append(f"band: {bands[0]} guessed from its median of {level:.1f} dB (cross-polarised below {HV_BELOW_DB:g} dB)")
    else:
        raise PassError(path, f"has {dataset.count} radar bands without names", "name them (sigma0_hh, sigma0_hv) in their descriptions")
    return bands


def _level_db(dataset: rasterio.io.DatasetReader) -> float:
    pixels = sample_lines(dataset, 1, 64)
    pixels = pixels[np.isfinite(pixels) & (pixels != 0)]
    if not pixels.size:
        return 0.0
    median = float(np.median(pixels))
    return median if median < 0 else 10 * float(np.log10(median))


def _platform(path: Path, tags: Mapping[str, str]) -> str:
    told = f"{path.name} {path.parent.name} {' '.join(tags.values())}".lower()
    satellite = re.search(r"sentinel-?1 ?([a-d])\b", told) or re.search(r"\bs1([a-d])_", told)
    if satellite:
        return f"Sentinel-1{satellite[1].upper()}"
    return next((name.title() for name in _LOCAL_SOLAR_H if re.search(rf"(?<![a-z]){name}(?![a-z])", told)), "unknown")


def _time(path: Path, tags: Mapping[str, str], platform: str, bounds: Bounds, notes: list[str]) -> tuple[datetime, str]:
    """The time, and where it was found (`tag`, `name`, `folder`)."""
    for tag in ("time_coverage_start", "ACQUISITIONDATETIME", "ACQUISITION_TIME", "datetime"):
        if tag in tags and (time := _parse(tags[tag])):
            notes.append(f"time: from the file's tag {tag}")
            return time, "tag"
    for place, text in (("name", path.stem), ("folder", path.parent.name)):
        if time := _time_in(text, platform, bounds, notes, place):
            return time, place
    if "TIFFTAG_DATETIME" in tags and (time := _parse(tags["TIFFTAG_DATETIME"])):
        notes.append("time: guessed from TIFFTAG_DATETIME, which may tell when the file was written")
        return time, "tag"
    raise PassError(path, "tells no time in its tags or its name", "put it into the name, such as 20200123T120618, or into a STAC item")


def _time_in(text: str, platform: str, bounds: Bounds, notes: list[str], place: str) -> datetime | None:
    whole = re.search(r"(?<!\d)(\d{8})[T_-]?(\d{6})(?!\d)", text)
    if whole and (time := _parse(f"{whole[1]}T{whole[2]}")):
        notes.append(f"time: guessed from its {place}")
        return time
    day = re.search(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)", text)
    if not day or not (midnight := _parse(f"{day[1]}{day[2]}{day[3]}")):
        return None
    solar = _LOCAL_SOLAR_H.get(platform.lower())
    if solar is None:
        notes.append(f"time: its {place} tells only the day; taken as 12:00 UTC")
        return midnight + timedelta(hours=12)
    notes.append(f"time: its {place} tells only the day; taken as {platform}'s nominal crossing of {solar:g} h local solar time")
    return nominal_crossing(midnight, platform, bounds)


def nominal_crossing(midnight: datetime, platform: str, bounds: Bounds) -> datetime:
    """When Terra or Aqua crosses the middle of `bounds` by its nominal local solar time, on the day that starts at `midnight` UTC there."""
    west, _, east, _ = bounds
    lon = (west + ((east - west) % 360) / 2 + 180) % 360 - 180
    return midnight + timedelta(minutes=round((_LOCAL_SOLAR_H[platform.lower()] - lon / 15) * 60))


def _parse(text: str) -> datetime | None:
    try:
        time = parse_time(re.sub(r"^(\d{4}):(\d{2}):(\d{2})", r"\1-\2-\3", text))
    except ValueError:
        return None
    return time if datetime(1978, 1, 1, tzinfo=UTC) <= time else None
