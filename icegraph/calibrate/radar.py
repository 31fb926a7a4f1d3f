"""A radar image made a scene: speckle filtered in image geometry, then resampled to the map.

    block of the map ──▶ the slanted part of the image that it needs, with a halo ──▶ sigma nought ──▶ filtered, linear
                     ◀── tiles, overviews ◀── dB ◀── resampled to the map ◀──────────────────────────────────┘

Each block is made on its own, one in each thread, and written in order. The parts of two blocks overlap, and what they share is
calibrated and filtered twice: that takes less time than keeping it. Peak memory follows the block and the threads, not the scene.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from icegraph.ahead import map_ahead
from icegraph.calibrate.cog import CogWriter, Encoded, blocks
from icegraph.calibrate.geocode import Backward, Forward, TieValues
from icegraph.calibrate.radiometry import Floats
from icegraph.calibrate.settings import REFERENCE_DEG, Filter
from icegraph.calibrate.speckle import despeckle, halo
from icegraph.compiled import compiled
from icegraph.grid import Grid, Window, tiles
from icegraph.scene import thinning

STEPS = 512  # a dB and a degree are kept to: 0.001 dB is far below any speckle, and the zeros behind it halve the file
FLOOR = 5e-5  # -43 dB, below every noise floor of Sentinel-1 (-22 to -32 dB)
SOURCE_SIDE = 2048  # pixels of the image that a block is made of at a time, about


class RadarImage(Protocol):
    """An image of sigma nought in its own geometry. Any thread may read it."""

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


@dataclass(frozen=True)
class Rasters:
    """What was written.

    Args:
        files: Name of each band or mask → its file in the folder.
        samples: Name → every `thinning`th row and column of it.
    """

    files: dict[str, str]
    samples: dict[str, NDArray[np.float32]]


def write_geocoded(
    image: RadarImage,
    forward: Forward,
    grid: Grid,
    folder: Path,
    incidence: TieValues | None,
    *,
    spacing_m: float,
    kind: Filter = "lee",
    suffix: str = "",
    nesz: bool = False,
    slopes: Mapping[str, float] | None = None,
) -> Rasters:
    """Write `<band><suffix>_db`, `valid` and, where known, `incidence_deg` on `grid` into `folder`.

    With `nesz`, also `<band>_nesz_db`, the noise that was taken off. `slopes`, in dB per degree for each band, take the incidence angle
    out of it, which must be known: the band is as at REFERENCE_DEG.
    """
    coarser = max(1, round(grid.pixel_m / spacing_m))
    side = max(64, SOURCE_SIDE // 2 // coarser)
    backward = Backward(forward, grid)
    names = [f"{band}{suffix}_db" for band in image.bands] + ([f"{band}_nesz_db" for band in image.bands] if nesz else [])
    radar = len(names)
    names += ["incidence_deg"] if incidence else []

    def make(window: Window) -> Floats:
        out = np.full((len(names), *window.shape), np.nan, np.float32)
        for part in tiles(window.shape, side):
            lattice = backward.lattice(Window(window.row + part.row, window.col + part.col, *part.shape))
            source = lattice.source(image.shape)
            if source is None:
                continue
            filtered, noise = zip(*(_filtered(image, band, source, kind, coarser) for band in image.bands), strict=True)
            bands = lattice.sample(np.stack([*filtered, *(noise if nesz else ())]), source)
            seen = np.isfinite(bands[0])
            decibels = decibel(bands)
            if incidence is not None:
                degrees = incidence.at(lattice.spread(lattice.line), lattice.spread(lattice.pixel))
                for number, slope in enumerate((slopes or {}).values()):
                    decibels[number] = _kept(decibels[number] - np.float32(slope) * (degrees - np.float32(REFERENCE_DEG)))
                out[-1][part.slices] = np.where(seen, _kept(degrees), np.float32(np.nan))
            out[:radar, *part.slices] = decibels
        return out

    return _write(names, grid, folder, make)


def write_filtered(image: RadarImage, grid: Grid, folder: Path, kind: Filter = "lee") -> Rasters:
    """The same for an image that lies on a map already: its grid stays."""

    def make(window: Window) -> Floats:
        linear = np.stack([_filtered(image, band, window, kind)[0] for band in image.bands])
        linear[:, ~np.isfinite(linear).all(axis=0)] = np.nan
        return decibel(linear)

    return _write([f"{band}_db" for band in image.bands], grid, folder, make)


def _kept(values: Floats) -> Floats:
    """To 1 / STEPS."""
    return np.asarray(np.round(values * np.float32(STEPS)) / np.float32(STEPS), np.float32)


def decibel(linear: Floats) -> Floats:
    """Decibels, to 1 / STEPS, of linear values x of any sign.

    Where noise was subtracted, dark water scatters about zero, which has no decibels. Cut at a floor, all of it would become one number;
    (x + √(x² + 4 FLOOR²)) / 2 goes on falling instead: it is FLOOR at zero, FLOOR² / |x| far below, and 0.01 dB above x at -30 dB.
    """
    flat = np.ascontiguousarray(linear).reshape(-1)
    out = np.empty_like(flat)
    _decibel(flat, np.empty(flat.size, np.int32), out)
    return out.reshape(linear.shape)


@compiled
def _decibel(linear: Floats, bits: NDArray[np.int32], out: Floats) -> None:
    """The logarithm by its series in (m - 1) / (m + 1), m from √½ to √2: to 1e-6, and of many pixels at once, as the library's is not."""
    floor = np.float32(FLOOR)
    one, half = np.float32(1), np.float32(0.5)
    positive = out.view(np.int32)
    for i in range(linear.size):
        x = linear[i]
        root = np.sqrt(x * x + np.float32(4) * floor * floor)
        out[i] = half * (x + root) if x > np.float32(0) else np.float32(2) * floor * floor / (root - x)
    for i in range(linear.size):
        exponent = (positive[i] - np.int32(0x3F3504F3)) >> np.int32(23)
        bits[i] = positive[i] - (exponent << np.int32(23))
    mantissa = bits.view(np.float32)
    for i in range(linear.size):
        exponent = np.float32((positive[i] - bits[i]) >> np.int32(23))
        m = mantissa[i]
        s = (m - one) / (m + one)
        q = s * s
        log = (
            np.float32(2) * s * (one + q * (np.float32(1 / 3) + q * (np.float32(1 / 5) + q * (np.float32(1 / 7) + q * np.float32(1 / 9)))))
        )
        decibels = np.float32(10 * np.log10(2)) * exponent + np.float32(10 / np.log(10)) * log
        out[i] = np.rint(decibels * np.float32(STEPS)) * np.float32(1 / STEPS) if linear[i] == linear[i] else np.float32(np.nan)


def _filtered(image: RadarImage, band: str, window: Window, kind: Filter, average: int = 1) -> tuple[Floats, Floats]:
    """A window without speckle, linear, and the noise; with `average` > 1, means of a square of that side about each pixel's centre."""
    wide = window.padded(image.halo + halo(kind) + (average if average > 1 else 0), image.shape)
    sigma, noise = image.read_band(band, wide)
    out = despeckle(sigma, image.looks, noise, kind)
    if average > 1:
        known = np.isfinite(out)
        weight = _centred_mean(known.astype(np.float32), average)
        with np.errstate(invalid="ignore", divide="ignore"):
            out = np.where(known, _centred_mean(np.where(known, out, 0), average) / weight, np.nan).astype(np.float32)
    inside = window.within(wide).slices
    return out[inside], noise[inside]


def _centred_mean(pixels: Floats, side: int) -> Floats:
    """The mean of side × side pixels about each; of an even side, the pixels at the rim count half."""
    kernel = np.ones(side + 1 - side % 2) / side
    if side % 2 == 0:
        kernel[[0, -1]] /= 2
    return np.asarray(convolve1d(convolve1d(pixels, kernel, axis=0, mode="nearest"), kernel, axis=1, mode="nearest"))


def _write(names: list[str], grid: Grid, folder: Path, make: Callable[[Window], Floats]) -> Rasters:
    """Write what `make` gives for each block, [len(names), H, W], and `valid`, where the first of them is known."""
    files = {name: f"{name}.tif" for name in [*names, "valid"]}
    step = thinning(grid)
    samples = {name: np.zeros([-(-side // step) for side in grid.shape], np.float32) for name in files}
    with ExitStack() as stack:
        units = {"db": "dB", "deg": "degree"}
        writers = [
            stack.enter_context(CogWriter(folder / files[name], grid, "float32", unit=units[name.rsplit("_", 1)[-1]])) for name in names
        ]
        writers.append(stack.enter_context(CogWriter(folder / files["valid"], grid, "uint8")))

        def encode(window: Window) -> list[Encoded]:
            bands: list[NDArray[np.float32] | NDArray[np.uint8]] = list(make(window))
            bands.append(np.isfinite(bands[0]).astype(np.uint8))
            places = tuple(slice(-(-start // step), None) for start in (window.row, window.col))
            for sample, pixels in zip(samples.values(), bands, strict=True):
                thin = pixels[-window.row % step :: step, -window.col % step :: step]
                sample[places][: thin.shape[0], : thin.shape[1]] = thin
            return [writer.encode(window, pixels) for writer, pixels in zip(writers, bands, strict=True)]

        for encoded in map_ahead(encode, blocks(grid), ahead=2):
            for writer, block in zip(writers, encoded, strict=True):
                writer.append(block)
    return Rasters(files, samples)
