"""Optical passes: reflectance from Worldview imagery, with masks of land and cloud, on the imagery's own grid.

NASA Worldview's corrected reflectance is a picture: Rayleigh-corrected reflectance from -0.01 to 1.1 put linearly on 0…255, and that
through a polyline that lifts the dark parts (after L. Gumley et al., "Creating reprojected true color MODIS images", 2010, and the
layer descriptions of nasa-gibs/worldview). Inverting both gives reflectance to about ±0.005; it is not science quality.

Cloud: in MODIS band 7 (2.1 µm) ice and snow absorb nearly all light and water cloud does not (Hall & Riggs 2007,
doi:10.1002/hyp.6715, use the same contrast at 1.6 µm). On hand-drawn floes of four seas the 99.5th percentile of reflectance there is
0.054; on hand-drawn cloud that hides the surface the first percentile is 0.12.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from icegraph.errors import PassError
from icegraph.grid import Grid, Window
from icegraph.scene import read_grid, valid_windows, write_band

BANDS = ("red", "green", "blue", "nir", "swir22")
CLOUD_SWIR = 0.10  # reflectance at 2.1 µm, between the two percentiles above
SPECK = 5  # pixels: a cloud pixel counts where more than half of the SPECK × SPECK pixels around it are cloud
_FLOOR, _CEILING = -0.01, 1.1
_SHOWN = np.array([0.0, 110.0, 160.0, 210.0, 240.0, 255.0])
_LINEAR = np.array([0.0, 30.0, 60.0, 120.0, 190.0, 255.0])
_HALO = SPECK // 2

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """One raster of an optical pass.

    Args:
        path: A GeoTIFF, uint8 (Worldview's stretch) or float (reflectance).
        bands: What its first bands are, in its order; names other than `BANDS` are not used.
    """

    path: Path
    bands: tuple[str, ...]


@dataclass(frozen=True)
class Mask:
    """A picture on the grid of a pass that is not black over land, or where `water` is true, over water."""

    path: Path
    water: bool = False


def reflectance(shown: NDArray[np.uint8]) -> Floats:
    """Reflectance, 0 to 1, of Worldview's 8-bit values (what the stretch puts below 0 or above 1 is cut)."""
    return np.asarray(_TABLE[shown])


_TABLE: Floats = np.clip(np.interp(np.arange(256), _SHOWN, _LINEAR) / 255 * (_CEILING - _FLOOR) + _FLOOR, 0, 1).astype(np.float32)


def cloud_mask(swir22: Floats) -> Bools:
    """Cloud, [H, W], from reflectance at 2.1 µm, [H, W] (NaN where there is nothing); specks are left out, pinholes filled."""
    share = uniform_filter((np.nan_to_num(swir22) > CLOUD_SWIR).astype(np.float32), SPECK, mode="nearest")
    return np.asarray(share > 0.5)


def land_mask(pixels: NDArray[np.uint8]) -> Bools:
    """Land, [H, W], of a mask picture [B, H, W]: any colour but black is land, alpha aside."""
    return np.asarray((pixels[:3] if len(pixels) >= 3 else pixels[:1]).any(axis=0))


def calibrate_optical(pictures: Sequence[Picture], land: Mask | None, folder: Path, notes: list[str]) -> tuple[Grid, dict[str, str]]:
    """Write reflectance and masks of an optical pass into `folder`; gives the grid and name → file.

    Args:
        pictures: The rasters, all on one grid; a band found twice is taken from the first.
        land: What tells land, if anything.
        folder: Where `<band>.tif` go.
        notes: Takes what was left out.

    Raises:
        PassError: Rasters on different grids, of a type that is not understood, or without any of `BANDS`.
    """
    sources = _sources(pictures)
    with ExitStack() as stack:
        opened = {path: stack.enter_context(rasterio.open(path, driver="GTiff")) for path in [*sources, *([land.path] if land else [])]}
        grid = _one_grid(opened)
        names = [name for name in BANDS if any(name in found for found in sources.values())]
        masks = ["valid", *(["land"] if land else []), *(["cloud"] if "swir22" in names else [])]
        if "swir22" not in names:
            notes.append("no band at 2.1 µm: cloud cannot be told from ice and is not masked")
        if not land:
            notes.append("no land mask was given: land is not masked")
        writers = {name: stack.enter_context(write_band(folder / f"{name}.tif", grid, "float32", unit="1")).write for name in names}
        writers |= {name: stack.enter_context(write_band(folder / f"{name}.tif", grid, "uint8")).write for name in masks}
        for window in valid_windows(grid):
            _write_window(window, grid, opened, sources, land, writers)
    return grid, {name: f"{name}.tif" for name in writers}


def _write_window(
    window: Window,
    grid: Grid,
    opened: Mapping[Path, rasterio.io.DatasetReader],
    sources: Mapping[Path, Mapping[str, int]],
    land: Mask | None,
    writers: Mapping[str, Callable[[Window, NDArray[Any]], None]],
) -> None:
    wide = window.padded(_HALO, grid.shape)
    inside = window.within(wide).slices
    bands: dict[str, Floats] = {}
    seen = np.ones(wide.shape, bool)
    for path, indexes in sources.items():
        found, present = _read(opened[path], indexes, wide)
        bands |= found
        seen &= present
    masks = {"valid": seen[inside]}
    if land:
        masks["land"] = land_mask(opened[land.path].read(window=window.rasterio())) != land.water
        masks["valid"] = masks["valid"] & ~masks["land"]
    if "swir22" in bands:
        masks["cloud"] = cloud_mask(np.where(seen, bands["swir22"], np.nan).astype(np.float32))[inside] & seen[inside]
        masks["valid"] = masks["valid"] & ~masks["cloud"]
    for name, pixels in bands.items():
        writers[name](window, np.where(seen, pixels, np.nan).astype(np.float32)[inside])
    for name, mask in masks.items():
        writers[name](window, mask.astype(np.uint8))


def _read(dataset: rasterio.io.DatasetReader, indexes: Mapping[str, int], window: Window) -> tuple[dict[str, Floats], Bools]:
    """Reflectances of a window and where there is data: alpha not 0, not all black, not nodata."""
    raw = dataset.read(list(indexes.values()), window=window.rasterio())
    mask = dataset.dataset_mask(window=window.rasterio()) > 0
    if raw.dtype == np.uint8:
        # Only where true colour is black in all three bands is there no data: dark water is black in 7-2-1 too.
        if {"red", "green", "blue"} <= set(indexes):
            mask &= raw.any(axis=0)
        values = reflectance(raw)
    else:
        mask &= np.isfinite(raw).all(axis=0)
        values = np.clip(raw, 0, 1).astype(np.float32)
    return dict(zip(indexes, values, strict=True)), np.asarray(mask)


def _sources(pictures: Sequence[Picture]) -> dict[Path, dict[str, int]]:
    """File → band name → its number in the file, each name once."""
    sources: dict[Path, dict[str, int]] = {}
    taken: set[str] = set()
    for picture in pictures:
        indexes = {name: number for number, name in enumerate(picture.bands, 1) if name in BANDS and name not in taken}
        if indexes:
            sources[picture.path] = indexes
            taken |= set(indexes)
    if not sources:
        named = ", ".join(name for picture in pictures for name in picture.bands) or "none"
        raise PassError(pictures[0].path, f"has no band of {', '.join(BANDS)} (found: {named})", "name its bands in a STAC item")
    return sources


def _one_grid(opened: Mapping[Path, rasterio.io.DatasetReader]) -> Grid:
    grids = {}
    for path, dataset in opened.items():
        if dataset.crs is None or not dataset.crs.is_projected:
            raise PassError(path, "is not on a projected grid", "warp it first, for instance with gdalwarp -t_srs EPSG:3413")
        if dataset.dtypes[0] not in ("uint8", "float32", "float64") or len(set(dataset.dtypes)) > 1:
            raise PassError(
                path, f"has {dataset.dtypes[0]} pixels where uint8 or float is expected", "convert it to reflectance as float32"
            )
        grids[path] = read_grid(dataset)
    (first, grid), *others = grids.items()
    for path, other in others:
        if other != grid:
            raise PassError(path, f"lies on another grid than {first.name}", "warp all rasters of a pass to one grid")
    return grid
