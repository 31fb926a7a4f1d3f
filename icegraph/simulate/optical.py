"""The field as MODIS corrected reflectance shows it: a STAC item with 8-bit true (1-4-3) and false (7-2-1) colour images.

The images are what NASA Worldview serves: reflectances from -0.01 to 1.1 on a scale of 0..255, stretched by the broken line of
`_STRETCH` (Gumley, Descloitres & Schmaltz 2010, "Creating Reprojected True Color MODIS Images"). Reflectances of ice, water and
cloud are drawn anew for each field, over the ranges met in scenes from spring to summer, so that what learns from many fields
learns none of them by heart.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from scipy.ndimage import gaussian_filter, shift

from icegraph.bounds import lonlat_bounds, split_outline
from icegraph.grid import Grid, Window
from icegraph.scene import footprint
from icegraph.simulate.field import FLOE, LAND, Drawn, Snapshot
from icegraph.simulate.noise import power_law_noise
from icegraph.store import atomic_path

F32 = NDArray[np.float32]
_STRETCH = ((0.0, 30.0, 60.0, 120.0, 190.0, 255.0), (0.0, 110.0, 160.0, 210.0, 240.0, 255.0))
_LOWEST, _HIGHEST = -0.01, 1.1  # reflectances at 0 and 255 before the stretch
_LAND_GREY = 75  # in the land mask


@dataclass(frozen=True)
class Look:
    """What surfaces and sensor are like over one field; reflectances in red unless said otherwise.

    Args:
        ice: Reflectance of a middling floe.
        floe_spread: Standard deviation between floes, as a share of `ice`.
        texture: Standard deviation within a floe, as a share of `ice`.
        specks: What the darkest spots of a floe (ponds, short cracks) lose of their reflectance.
        dark_share: Share of floes darkened by melt.
        dark: What melt leaves of their reflectance.
        fragment: Reflectance of fragments, as a share of `ice`.
        fragment_spread: Standard deviation between fragments, as a share of `ice`.
        slush: Reflectance of the brightest slush, as a share of `ice`.
        water: Reflectance of open water.
        blueness: What blue reflects more than red: over water, over ice.
        psf_px: Standard deviation of the point spread, pixels.
        sharpening: Overshoot at edges, as a share of the step.
        noise: Standard deviation of what resampling and the unseen small relief add, in reflectance of the brightest ice.
        unevenness: Standard deviation of broad brightness differences, as a share.
        false_gain: Reflectance of the false colour's red over that of the true colour's.
        nir: Reflectance of ice in the near infrared over that of the false colour's red.
        swir: Reflectance of ice at 2.1 µm.
        cloud: Reflectance of thick cloud in red, and at 2.1 µm.
    """

    ice: float
    floe_spread: float
    texture: float
    specks: float
    dark_share: float
    dark: float
    fragment: float
    fragment_spread: float
    slush: float
    water: float
    blueness: tuple[float, float]
    psf_px: float
    sharpening: float
    noise: float
    unevenness: float
    false_gain: float
    nir: float
    swir: float
    cloud: tuple[float, float]

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Look":
        """Draw one."""
        melt = rng.random() < 0.3
        return cls(
            ice=float(rng.uniform(0.34, 0.7)),
            floe_spread=float(rng.uniform(0.01, 0.1)),
            texture=float(rng.uniform(0.006, 0.035)) * (1.7 if melt else 1.0),
            specks=float(rng.uniform(0, 0.25)),
            dark_share=float(rng.uniform(0, 0.3)) if melt else float(rng.uniform(0, 0.05)),
            dark=float(rng.uniform(0.6, 0.9)),
            fragment=float(rng.uniform(0.68, 0.97)),
            fragment_spread=float(rng.uniform(0.03, 0.13)),
            slush=float(rng.uniform(0.35, 0.88)),
            water=float(rng.uniform(-0.002, 0.05)),
            blueness=(float(rng.uniform(0.01, 0.05)), float(rng.uniform(-0.005, 0.065))),
            psf_px=float(rng.uniform(0.5, 1.0)),
            sharpening=float(rng.uniform(0, 0.5)),
            noise=float(np.exp(rng.uniform(np.log(0.014), np.log(0.055)))),
            unevenness=float(rng.uniform(0.005, 0.05)),
            false_gain=float(rng.uniform(1.05, 1.45)),
            nir=float(rng.uniform(0.62, 1.0)),
            swir=float(rng.uniform(-0.012, 0.012)),
            cloud=(float(rng.uniform(0.42, 0.8)), float(rng.uniform(0.06, 0.4))),
        )


def write_optical(view: Drawn, folder: Path, *, rng: np.random.Generator, platform: str = "terra", look: Look | None = None) -> str:
    """Write a pass as `<id>.json`, `<id>.truecolor.tif`, `<id>.falsecolor.tif` and `<id>.landmask.tif`.

    Args:
        view: The field; all of it is held in memory.
        folder: Where to write.
        rng: Draws noise, and the look where none is given.
        platform: `terra` or `aqua`.
        look: Surfaces and sensor.

    Returns:
        The id of the STAC item: place (hundredths of a degree north and east), time and platform.
    """
    look = look or Look.random(rng)
    snapshot = view.part(Window(0, 0, *view.grid.shape))
    pass_id = _pass_id(snapshot, platform)
    red, green, blue, nir, swir = reflectances(snapshot, look, rng)
    gain = look.false_gain
    _write_image(folder / f"{pass_id}.truecolor.tif", snapshot.grid, [stretched(band) for band in (red, green, blue)])
    _write_image(folder / f"{pass_id}.falsecolor.tif", snapshot.grid, [stretched(band) for band in (swir, nir, gain * red - 0.02)])
    land = snapshot.classes == LAND
    colour = np.where(land, _LAND_GREY, 0).astype(np.uint8)
    _write_image(folder / f"{pass_id}.landmask.tif", snapshot.grid, [colour] * 3, alpha=np.where(land, 255, 0).astype(np.uint8))
    with atomic_path(folder / f"{pass_id}.json") as path:
        path.write_text(json.dumps(_item(snapshot, pass_id, platform), indent=1) + "\n")
    return pass_id


def _pass_id(snapshot: Snapshot, platform: str) -> str:
    grid = snapshot.grid
    lon, lat = grid.lonlat(*grid.xy(np.array([grid.height / 2]), np.array([grid.width / 2])))
    return f"simulated-n{100 * lat[0]:04.0f}e{100 * (lon[0] % 360):05.0f}-{snapshot.time:%Y%m%dT%H%M%S}-{platform}"


def reflectances(snapshot: Snapshot, look: Look, rng: np.random.Generator) -> tuple[F32, F32, F32, F32, F32]:
    """Reflectance [H, W] in red, green, blue, near infrared (0.86 µm) and short-wave infrared (2.1 µm)."""
    shape = snapshot.grid.shape
    ice, gap, bright = _surface(snapshot, look)
    uneven = 1 + look.unevenness * power_law_noise(shape, 2.0, rng)
    whiteness = np.clip((ice * bright + (1 - ice) * gap - look.water) / max(look.ice - look.water, 0.1), 0, 1)
    red = _seen(np.clip(ice * bright * uneven + (1 - ice) * gap, -0.01, 1.05), look)
    soft = _seen(whiteness, look)
    over_water, over_ice = look.blueness[0] * (1 - soft), look.blueness[1] * soft
    green, blue = red + 0.45 * over_water + 0.8 * over_ice, red + over_water + over_ice
    nir = look.false_gain * look.nir * red - 0.02 - 0.03 * (1 - soft)
    bands = np.stack([red, green, blue, nir, look.swir - 0.01 * (1 - soft)])
    land = snapshot.classes == LAND
    if land.any():
        bands = np.where(land, _ground(snapshot.grid), bands)
    bands = _clouded(bands, snapshot.cloud, look, rng)
    grain = gaussian_filter(rng.standard_normal(shape, np.float32), 0.6)
    grain = grain / grain.std() + 0.25 * rng.standard_normal(bands.shape, np.float32)
    red, green, blue, nir, swir = (bands + look.noise * grain * (0.15 + np.clip(bands, 0, 1))).astype(np.float32)
    return red, green, blue, nir, swir


def _surface(snapshot: Snapshot, look: Look) -> tuple[F32, F32, F32]:
    """Share of solid ice, reflectance of the gaps, reflectance of the ice, each [H, W]."""
    floe = snapshot.classes == FLOE
    ice = snapshot.ice_fraction if snapshot.ice_fraction is not None else (snapshot.ice_type > 0).astype(np.float32)
    slush = snapshot.slush if snapshot.slush is not None else np.zeros_like(ice)
    shade = snapshot.shade if snapshot.shade is not None else np.zeros_like(ice)
    gap = look.water + (look.slush * look.ice - look.water) * slush
    spread = np.where(floe, look.floe_spread, look.fragment_spread)
    bright = look.ice * np.where(floe, 1.0, look.fragment) * (1 + spread * np.clip(shade, -2.5, 2.5) + look.texture * snapshot.texture)
    bright = bright * (1 - look.specks * np.clip((-2.2 - snapshot.texture) / 0.5, 0, 1))
    melted = floe & (np.modf(np.abs(shade) * 977.0)[0] < look.dark_share)
    bright = np.where(melted, bright * look.dark, bright)
    return ice, gap.astype(np.float32), bright.astype(np.float32)


def _seen(band: NDArray[Any], look: Look) -> F32:
    blurred = gaussian_filter(band, look.psf_px)
    return np.asarray(blurred + look.sharpening * (blurred - gaussian_filter(blurred, 1.0)), np.float32)


def _clouded(bands: NDArray[Any], opacity: F32, look: Look, rng: np.random.Generator) -> NDArray[Any]:
    """Bands [5, H, W] under cloud, which also throws a shadow to one side."""
    if not opacity.any():
        return bands
    billows = 1 + 0.06 * power_law_noise(opacity.shape, 1.3, rng)
    shadow = 1 - 0.35 * shift(np.maximum(opacity - 0.5, 0), rng.uniform(-8, 8, 2), order=1, mode="nearest")
    white, swir = look.cloud
    own = np.array([white, white, 0.01 + white, 0.9 * look.false_gain * white, swir])[:, None, None]
    return np.asarray((1 - opacity) * bands * shadow + opacity * own * billows)


def _ground(grid: Grid) -> NDArray[Any]:
    """Reflectances [5, H, W] of snow-patched bare ground: the same in every pass over the place."""
    rng = np.random.default_rng([round(abs(edge)) for edge in grid.bounds])
    relief = power_law_noise(grid.shape, 1.4, rng)
    snow = 1 / (1 + np.exp(-4 * (relief - rng.uniform(-1.5, 1.5))))
    bare, white = np.array([(0.09, 0.08, 0.07, 0.16, 0.12), (0.65, 0.66, 0.68, 0.6, 0.03)])[:, :, None, None]
    relit = 1 + 0.15 * power_law_noise(grid.shape, 0.9, rng)
    return np.asarray((bare + (white - bare) * snow) * relit)


def stretched(reflectance: F32) -> NDArray[np.uint8]:
    """The 8-bit value [H, W] of a reflectance."""
    linear = (reflectance - _LOWEST) / (_HIGHEST - _LOWEST) * 255
    return np.asarray(np.round(np.interp(linear, *_STRETCH)), np.uint8)


def _write_image(path: Path, grid: Grid, bands: list[NDArray[np.uint8]], alpha: NDArray[np.uint8] | None = None) -> None:
    alpha = np.full(grid.shape, 255, np.uint8) if alpha is None else alpha
    profile = {"driver": "GTiff", "height": grid.height, "width": grid.width, "count": 4, "dtype": "uint8", "compress": "deflate"}
    with atomic_path(path) as beside, rasterio.open(beside, "w", crs=grid.crs, transform=grid.transform, **profile) as dataset:
        dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        dataset.write(np.stack([*bands, alpha]))


def _item(snapshot: Snapshot, pass_id: str, platform: str) -> dict[str, Any]:
    lon, lat = np.array(footprint(snapshot.grid)["coordinates"][0]).T
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": pass_id,
        "geometry": split_outline(lon, lat),
        "bbox": list(lonlat_bounds(lon, lat)),
        "properties": {
            "datetime": f"{snapshot.time:%Y-%m-%dT%H:%M:%SZ}",
            "platform": platform,
            "instruments": ["modis"],
            "gsd": round(snapshot.grid.pixel_m),
            "proj:epsg": 3413,
            "proj:shape": list(snapshot.grid.shape),
            "proj:transform": list(snapshot.grid.transform)[:6],
        },
        "links": [],
        "assets": {
            "truecolor": _asset(f"{pass_id}.truecolor.tif", "data", ("red", "green", "blue")),
            "falsecolor": _asset(f"{pass_id}.falsecolor.tif", "data", ("swir22", "nir", "red")),
            "landmask": _asset(f"{pass_id}.landmask.tif", "water-mask"),
        },
    }


def _asset(name: str, role: str, bands: tuple[str, ...] = ()) -> dict[str, Any]:
    asset: dict[str, Any] = {"href": f"./{name}", "type": "image/tiff; application=geotiff", "roles": [role]}
    return asset | ({"eo:bands": [{"name": band} for band in bands]} if bands else {})
