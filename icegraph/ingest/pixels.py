"""A thin sample of a raster's pixels: a few hundred lines, whatever its size; enough to see that it is empty, flat or absurd."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from icegraph.errors import PassError

LINES = 256


@dataclass(frozen=True)
class Sample:
    """Statistics of a band's sample.

    Args:
        pass_id: Of the pass.
        band: Name of the band.
        pixels: How many were read.
        nodata_share: Share of those that say nothing: NaN, nodata, alpha 0, DN 0 in radar.
        outside_share: Share of the others that lie outside what the band's unit allows.
        distinct: Different values among the others.
        minimum: Least of the others (NaN where there are none).
        maximum: Greatest of them.
    """

    pass_id: str
    band: str
    pixels: int
    nodata_share: float
    outside_share: float
    distinct: int
    minimum: float
    maximum: float


def open_raster(place: str | Path) -> rasterio.io.DatasetReader:
    """Open a raster, without GDAL's word about one that lies on no grid (radar images, which have tie points instead).

    Raises:
        PassError: GDAL cannot open it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(place, driver="GTiff")
    except rasterio.errors.RasterioError as error:
        raise PassError(place, f"cannot be opened as a raster ({error})", "download or write the file again") from error


def sample_lines(dataset: rasterio.io.DatasetReader, band: int, lines: int = LINES) -> NDArray[Any]:
    """About `lines` evenly spaced lines of a band, each thinned alike, [lines, columns]."""
    step_down, step_across = max(1, dataset.height // lines), max(1, dataset.width // (4 * lines))
    rows = range(step_down // 2, dataset.height, step_down)
    return np.stack([dataset.read(band, window=Window(0, row, dataset.width, 1))[0, ::step_across] for row in rows])


def sample(place: str, band: int, pass_id: str, name: str, *, allowed: tuple[float, float], zero_is_nothing: bool) -> Sample:
    """Sample one band of a raster.

    Raises:
        PassError: Its pixels cannot be decoded.
    """
    try:
        with open_raster(place) as dataset:
            pixels = sample_lines(dataset, band).astype(np.float64)
            nodata = dataset.nodata
            alpha = dataset.colorinterp.index(ColorInterp.alpha) + 1 if _has_alpha(dataset) else None
            seen = np.isfinite(pixels) if alpha is None else sample_lines(dataset, alpha) > 0
    except rasterio.errors.RasterioError as error:
        raise PassError(place, f"its pixels cannot be decoded ({error})", "download or write the file again") from error
    if nodata is not None:
        seen &= pixels != nodata
    if zero_is_nothing:
        seen &= pixels != 0
    values = pixels[seen]
    outside = (values < allowed[0]) | (values > allowed[1])
    return Sample(
        pass_id=pass_id,
        band=name,
        pixels=pixels.size,
        nodata_share=round(1 - values.size / pixels.size, 6),
        outside_share=round(float(outside.mean()), 6) if values.size else 0.0,
        distinct=len(np.unique(values)),
        minimum=float(values.min()) if values.size else float("nan"),
        maximum=float(values.max()) if values.size else float("nan"),
    )


def _has_alpha(dataset: rasterio.io.DatasetReader) -> bool:
    return ColorInterp.alpha in dataset.colorinterp
