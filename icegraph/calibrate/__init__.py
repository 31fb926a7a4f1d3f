"""Calibration: from raw products to scenes, in units that mean something, on a polar grid, with their masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioIOError

from icegraph.bounds import Bounds
from icegraph.calibrate.settings import REFERENCE_DEG, SLOPES, Radar, RadarSettings
from icegraph.errors import PassError
from icegraph.grid import FloatArray, Grid, Window, polar_crs
from icegraph.ingest.geotiff import FALSE_BANDS, companions
from icegraph.ingest.manifest import Pass
from icegraph.ingest.stac import Item, read_item
from icegraph.ingest.stac import polarisation as radar_band
from icegraph.ingest.tiff import check_tiff
from icegraph.scene import Scene, write_item
from icegraph.store import atomic_dir, lineage

if TYPE_CHECKING:
    from icegraph.calibrate.geocode import Forward

__all__ = ["Radar", "RadarSettings", "calibrate"]


@dataclass
class _Result:
    """What one kind of calibration gives: sensor, grid, name → file, and what there is to tell."""

    sensor: str
    grid: Grid
    rasters: dict[str, str]
    samples: dict[str, NDArray[np.float32]] | None = None
    properties: dict[str, Any] = field(default_factory=dict)


def calibrate(entry: Pass, out: Path, radar: RadarSettings | None = None) -> Scene:
    """Calibrate one pass and write it as a scene's folder, whole or not at all.

    Sentinel-1 products and other radar become sigma nought in dB without thermal noise and with less speckle; optical imagery becomes
    reflectance. What is not yet on a map comes onto EPSG:3413 or EPSG:3976; what is stays on its grid.

    Args:
        entry: The pass, from the manifest.
        out: The scene's folder.
        radar: What to make of a Sentinel-1 product; passes of other kinds know but one way, and the size of their pixels.

    Raises:
        PassError: The product cannot be read or does not fit its kind, or has nothing in the area asked for.
    """
    notes, settings = list(entry.notes), radar or RadarSettings()
    for file in entry.files:
        if file.path.suffix.lower() in (".tif", ".tiff"):
            check_tiff(file.path)
    with atomic_dir(out) as folder:
        try:
            if entry.kind == "sentinel1":
                result = _sentinel1(entry, folder, settings, notes)
            else:
                result = _KINDS[entry.kind](entry, folder, settings.pixel_m, notes)
        except RasterioIOError as error:
            raise PassError(entry.href, f"its pixels cannot be read ({error})", "download or write the file again") from error
        properties = {
            "platform": entry.platform,
            "license": entry.licence,
            "icegraph:kind": entry.kind,
            "icegraph:notes": notes,
            **lineage((file.path.name, file.sha256) for file in entry.files),
            **result.properties,
        }
        write_item(
            folder,
            pass_id=entry.id,
            time=entry.time,
            sensor=result.sensor,
            grid=result.grid,
            rasters=result.rasters,
            properties=properties,
            samples=result.samples,
        )
    return Scene.open(out)


def _optical(entry: Pass, folder: Path, pixel_m: float | None, notes: list[str]) -> _Result:
    from icegraph.calibrate.optical import Mask, Picture, calibrate_optical

    item = _item(entry)
    if item is None:
        known = {file.path for file in entry.files}
        false, beside = (path if path in known else None for path in companions(entry.href))
        land = Mask(beside) if beside else None
        own = tuple(entry.bands[:3]) if false else tuple(entry.bands)
        pictures = [Picture(entry.href, own)] + ([Picture(false, FALSE_BANDS)] if false else [])
    else:
        pictures = [Picture(asset.path, asset.bands) for asset in item.assets if asset.bands]
        land = next((Mask(asset.path, water=asset.mask == "water") for asset in item.assets if asset.mask), None)
    grid, rasters = calibrate_optical(pictures, land, folder, notes)
    _tell_pixel_kept(grid, pixel_m, notes)
    return _Result("optical", grid, rasters)


def _sentinel1(entry: Pass, folder: Path, settings: RadarSettings, notes: list[str]) -> _Result:
    from icegraph.calibrate.geocode import TieValues, fit_forward, output_grid
    from icegraph.calibrate.quality import radar_quality
    from icegraph.calibrate.radar import write_geocoded
    from icegraph.calibrate.safe import SafeImage

    with SafeImage.read(entry.href, notes, folder, settings.quantity) as image:
        ties, spacing = image.annotation.ties, image.annotation.spacing_m
        crs = polar_crs(ties.lat)
        x, y = _metres(crs, ties.lon.ravel(), ties.lat.ravel())
        line, pixel = (values.ravel() for values in np.meshgrid(ties.line, ties.pixel, indexing="ij"))
        forward, _ = fit_forward(image.shape, line, pixel, x, y, subject=str(entry.href))
        grid = output_grid(forward, crs, settings.pixel_m or spacing, subject=str(entry.href))
        if settings.area:
            grid = _part_about(grid, settings.area, str(entry.href))
        if settings.balance:
            image.balance()
        suffix = "" if settings.quantity == "sigma" else f"_{settings.quantity}"
        incidence = TieValues(ties.line, ties.pixel, ties.incidence)
        slopes = _slopes(settings, image.bands)
        rasters = write_geocoded(
            image,
            forward,
            grid,
            folder,
            incidence,
            spacing_m=spacing,
            kind=settings.speckle,
            suffix=suffix,
            nesz=settings.nesz,
            slopes=slopes,
        )
        properties = {
            "icegraph:ipf": f"{image.product.ipf[0]}.{image.product.ipf[1]:02d}",
            "icegraph:looks": image.looks,
            "icegraph:quality": radar_quality(image, rasters.samples, settings.speckle),
            "sar:instrument_mode": image.annotation.mode,
            "sar:frequency_band": "C",
            "sar:center_frequency": 5.405,  # GHz; S1-RS-MDA-52-7440
            "sar:polarizations": [band.upper() for band in image.bands],
            "sar:product_type": "GRD",
            "sar:pixel_spacing_range": spacing,
            "sar:looks_equivalent_number": image.looks,
            "sar:observation_direction": "right",
        }
        if slopes:
            told = {f"{band}_db": slope for band, slope in slopes.items()}
            properties["icegraph:normalised"] = {"surface": settings.normalise, "reference_deg": REFERENCE_DEG, "slopes_db_per_deg": told}
    return _Result("sar", grid, rasters.files, rasters.samples, properties)


def _slopes(settings: RadarSettings, bands: Sequence[str]) -> dict[str, float]:
    """Polarisation → dB per degree to take out; nothing where the incidence angle stays in."""
    if settings.normalise == "none":
        return {}
    same, across = SLOPES[settings.normalise]
    return {band: same if band[0] == band[1] else across for band in bands}


def _part_about(grid: Grid, area: Bounds, subject: str) -> Grid:
    """The part of a grid about an area of longitude and latitude: its pixels are the whole grid's."""
    west, south, east, north = area
    lon, lat = (np.linspace(low, high, 65) for low, high in ((west, east + 360 * (east < west)), (south, north)))
    edge = [*((lon, np.full(65, side)) for side in (south, north)), *((np.full(65, side), lat) for side in (west, east))]
    row, col = grid.rowcol(*_metres(grid.crs, np.concatenate([a for a, _ in edge]), np.concatenate([b for _, b in edge])))
    top, left = max(int(np.floor(row.min())), 0), max(int(np.floor(col.min())), 0)
    bottom, right = min(int(np.ceil(row.max())) + 1, grid.height), min(int(np.ceil(col.max())) + 1, grid.width)
    if bottom <= top or right <= left:
        raise PassError(subject, f"has nothing in the area {west:g}, {south:g}, {east:g}, {north:g}", "ask for an area that the pass saw")
    return grid.part(Window(top, left, bottom - top, right - left))


def _sar_geotiff(entry: Pass, folder: Path, pixel_m: float | None, notes: list[str]) -> _Result:
    from icegraph.calibrate.geocode import fit_forward, output_grid
    from icegraph.calibrate.geotiff import TiffImage
    from icegraph.calibrate.radar import write_filtered, write_geocoded

    item = _item(entry)
    if item is None:
        named = [(name, entry.href, number) for number, name in enumerate(entry.bands, 1)]
    else:
        named = [(name, asset.path, number) for asset in item.assets for number, name in enumerate(asset.bands, 1)]
    found = {polarisation: (name, path, number) for name, path, number in named if (polarisation := radar_band(name))}
    if not found:
        raise PassError(entry.href, "has no band of HH, HV, VV or VH", "name its bands, such as sigma0_hv")
    places = {band: (path, number) for band, (_, path, number) in found.items()}
    names = {band: name if item else band for band, (name, _, _) in found.items()}
    with TiffImage(places, names, f"{item.mode if item else ''} {entry.id}", notes, folder) as image:
        grid = image.grid()
        if grid is not None:
            _tell_pixel_kept(grid, pixel_m, notes)
            rasters = write_filtered(image, grid, folder)
            return _Result("sar", grid, rasters.files, rasters.samples, {"icegraph:looks": image.looks})
        line, pixel, lon, lat = image.control_points()
        crs = polar_crs(lat)
        forward, residual = fit_forward(image.shape, line, pixel, *_metres(crs, lon, lat), subject=str(image.path))
        notes.append(f"place: from {len(line)} control points, whose smooth fit leaves {residual:.2f} pixels")
        spacing = _spacing(forward, item.gsd if item else None, notes)
        grid = output_grid(forward, crs, pixel_m or spacing, subject=str(entry.href))
        rasters = write_geocoded(image, forward, grid, folder, None, spacing_m=spacing)
    return _Result("sar", grid, rasters.files, rasters.samples, {"icegraph:looks": image.looks})


def _metres(crs: str, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    return np.asarray(x, float), np.asarray(y, float)


def _spacing(forward: "Forward", told_m: float | None, notes: list[str]) -> float:
    """Pixel size, metres: the one told where the middle pixel confirms it within a factor of 2, else that pixel's side to two digits."""
    a, b, c, d = forward.jacobian(np.array(forward.shape[0] / 2), np.array(forward.shape[1] / 2))
    side = float(f"{float(np.sqrt(abs(a * d - b * c))):.2g}")
    if told_m and side / 2 <= told_m <= side * 2:
        return told_m
    notes.append(f"pixel size: {side:g} m, measured from the control points" + (f"; the item's {told_m:g} m is not used" if told_m else ""))
    return side


def _refuse_amsr2(entry: Pass, folder: Path, pixel_m: float | None, notes: list[str]) -> _Result:  # noqa: ARG001
    raise PassError(entry.href, "is an AMSR2 swath, a partner for fuse and no scene of its own", "calibrate a radar or optical pass")


def _item(entry: Pass) -> Item | None:
    return read_item(entry.href) if entry.href.suffix == ".json" else None


def _tell_pixel_kept(grid: Grid, pixel_m: float | None, notes: list[str]) -> None:
    if pixel_m is not None and abs(pixel_m - grid.pixel_m) > 1e-6:
        notes.append(f"already on a map: its grid of {grid.pixel_m:g} m is kept, not {pixel_m:g} m")


_KINDS: dict[str, Callable[[Pass, Path, float | None, list[str]], _Result]] = {
    "sar-geotiff": _sar_geotiff,
    "optical": _optical,
    "amsr2": _refuse_amsr2,
}
