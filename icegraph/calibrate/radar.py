"""A radar image made a scene: speckle filtered in image geometry, then resampled to the map, by windows throughout.

    image ──strips with halos──▶ filtered, linear, a plain file ──tiles of the map──▶ dB on the grid

Two passes, because a tile of the map needs a slanted part of the image: filtering that again for each tile would cost twice the work, and
backward seeks in a zip. Peak memory follows the strip and the tile, not the scene.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import rasterio
from scipy.ndimage import convolve1d

from icegraph.calibrate import speckle
from icegraph.calibrate.geocode import Backward, Forward, TieValues, bilinear, source_window
from icegraph.calibrate.radiometry import Floats
from icegraph.calibrate.speckle import lee
from icegraph.grid import Grid, Window, tiles
from icegraph.ingest.pixels import open_raster
from icegraph.scene import write_band, write_tiles

FLOOR_DB = -40.0  # below every noise floor of Sentinel-1 (-22 to -32 dB): what noise subtraction left at or below zero is put here
STRIP_PIXELS = 2_000_000
TILE = 1024


class RadarImage(Protocol):
    """An image of sigma nought in its own geometry."""

    shape: tuple[int, int]
    bands: list[str]
    halo: int

    @property
    def looks(self) -> float:
        """Equivalent number of looks."""
        ...

    def read_band(self, band: str, window: Window) -> tuple[Floats, Floats]:
        """Sigma nought and the noise taken off it, linear, each [H, W]; NaN where there is nothing."""
        ...


def write_geocoded(
    image: RadarImage, forward: Forward, grid: Grid, folder: Path, incidence: TieValues | None, *, spacing_m: float
) -> dict[str, str]:
    """Write `<band>_db`, `valid` and, where known, `incidence_deg` on `grid` into `folder`; gives name → file."""
    coarser = max(1, round(grid.pixel_m / spacing_m))
    filtered = {band: folder / f".{band}.tif" for band in image.bands}
    for band, path in filtered.items():
        _write_filtered(image, band, path, average=coarser)
    names = [f"{band}_db" for band in image.bands] + (["incidence_deg"] if incidence else [])
    backward = Backward(forward, grid)
    with ExitStack() as stack:
        sources = [stack.enter_context(open_raster(path)) for path in filtered.values()]
        units = {name: "dB" if name.endswith("_db") else "degree" for name in names}
        writers = [stack.enter_context(write_band(folder / f"{name}.tif", grid, "float32", unit=units[name])) for name in names]
        valid = stack.enter_context(write_band(folder / "valid.tif", grid, "uint8"))
        for window in tiles(grid.shape, max(128, TILE // coarser // 128 * 128)):
            bands = _tile(sources, backward, incidence, window)
            for writer, pixels in zip(writers, bands, strict=True):
                writer.write(window, pixels)
            valid.write(window, np.isfinite(bands[0]).astype(np.uint8))
    for path in filtered.values():
        path.unlink()
    return {name: f"{name}.tif" for name in [*names, "valid"]}


def write_filtered(image: RadarImage, grid: Grid, folder: Path) -> dict[str, str]:
    """The same for an image that lies on a map already: its grid stays."""
    names = {f"{band}_db": band for band in image.bands}
    with ExitStack() as stack:
        writers = {name: stack.enter_context(write_band(folder / f"{name}.tif", grid, "float32", unit="dB")) for name in names}
        valid = stack.enter_context(write_band(folder / "valid.tif", grid, "uint8"))
        for window in _strips(image.shape):
            bands = {name: decibel(_filter(image, band, window)) for name, band in names.items()}
            seen = np.logical_and.reduce([np.isfinite(pixels) for pixels in bands.values()])
            for name, pixels in bands.items():
                writers[name].write(window, np.where(seen, pixels, np.nan).astype(np.float32))
            valid.write(window, seen.astype(np.uint8))
    return {name: f"{name}.tif" for name in [*names, "valid"]}


def decibel(linear: Floats) -> Floats:
    """Decibels, held at FLOOR_DB where the linear value is lower, zero or negative."""
    return (10 * np.log10(np.maximum(linear, np.float32(10 ** (FLOOR_DB / 10))))).astype(np.float32)


def _strips(shape: tuple[int, int]) -> list[Window]:
    rows = max(64, STRIP_PIXELS // shape[1] // 64 * 64)
    return [Window(row, 0, min(rows, shape[0] - row), shape[1]) for row in range(0, shape[0], rows)]


def _filter(image: RadarImage, band: str, window: Window, average: int = 1) -> Floats:
    """A window without speckle, linear; with `average` > 1, the mean of a square of that side about each pixel's centre."""
    wide = window.padded(image.halo + speckle.HALO + average, image.shape)
    sigma, noise = image.read_band(band, wide)
    out = lee(sigma, image.looks, noise)
    if average > 1:
        known = np.isfinite(out)
        weight = _centred_mean(known.astype(np.float32), average)
        with np.errstate(invalid="ignore", divide="ignore"):
            out = np.where(known, _centred_mean(np.where(known, out, 0), average) / weight, np.nan).astype(np.float32)
    return out[window.within(wide).slices]


def _centred_mean(pixels: Floats, side: int) -> Floats:
    """The mean of side × side pixels about each; of an even side, the pixels at the rim count half."""
    kernel = np.ones(side + 1 - side % 2) / side
    if side % 2 == 0:
        kernel[[0, -1]] /= 2
    return np.asarray(convolve1d(convolve1d(pixels, kernel, axis=0, mode="nearest"), kernel, axis=1, mode="nearest"))


def _write_filtered(image: RadarImage, band: str, path: Path, *, average: int) -> None:
    height, width = image.shape
    place = rasterio.Affine.translation(1, 0)  # any but the identity, of which rasterio warns
    with write_tiles(path, 256, height=height, width=width, count=1, dtype="float32", transform=place) as writer:
        for window in _strips(image.shape):
            writer.write(window, _filter(image, band, window, average))


def _tile(sources: list[rasterio.io.DatasetReader], backward: Backward, incidence: TieValues | None, window: Window) -> list[Floats]:
    line, pixel = backward.linepixel(window)
    part = source_window(line, pixel, backward.forward.shape)
    if part is None:
        return [np.full(window.shape, np.nan, np.float32)] * (len(sources) + (incidence is not None))
    bands = [bilinear(source.read(1, window=part.rasterio()), part, line, pixel) for source in sources]
    seen = np.logical_and.reduce([np.isfinite(band) for band in bands])
    out = [np.where(seen, decibel(band), np.nan).astype(np.float32) for band in bands]
    if incidence is not None:
        out.append(np.where(seen, incidence.at(line, pixel), np.nan).astype(np.float32))
    return out
