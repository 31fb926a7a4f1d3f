"""Sigma nought that comes as GeoTIFF: linear or in dB, on a grid or with ground control points."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from numpy.typing import NDArray

from icegraph.calibrate.plain import PlainPixels
from icegraph.calibrate.radiometry import Floats
from icegraph.calibrate.speckle import LOOKS
from icegraph.errors import PassError
from icegraph.grid import Grid, Window
from icegraph.ingest.pixels import open_raster, sample_lines
from icegraph.scene import read_grid


class TiffImage:
    """Sigma nought of one or more GeoTIFFs of one shape. Use it in a `with` statement.

    Args:
        places: Polarisation → file and number of the band in it, from 1.
        names: Polarisation → what the band is called, which may say that it is in dB.
        mode: What is known of the product (`EW GRD`, a file name), for its number of looks.
        notes: Takes what was guessed.
        scratch: On whose disk the decoded pixels go; that of the system's temporary files by default.

    Raises:
        PassError: Files of different shapes, or of a type other than float.
    """

    def __init__(
        self, places: Mapping[str, tuple[Path, int]], names: Mapping[str, str], mode: str, notes: list[str], scratch: Path | None = None
    ) -> None:
        self._places, self._scratch = places, scratch
        self._pixels: dict[str, PlainPixels] = {}
        self.bands = list(places)
        self.halo = 0
        words = re.split("[^A-Z0-9]+", mode.upper())
        self.looks = next((looks for (name, _), looks in LOOKS.items() if name in words), 0.0)
        if not self.looks:
            self.looks = LOOKS["EW", "GRDM"]
            notes.append(f"looks: nothing tells their number; taken as {self.looks}, that of Sentinel-1 EW GRDM")
        self._datasets = {band: (open_raster(path), number) for band, (path, number) in places.items()}
        self.first, number = next(iter(self._datasets.values()))
        self.path = next(iter(places.values()))[0]
        self.shape = (self.first.height, self.first.width)
        for band, (dataset, number) in self._datasets.items():
            path = places[band][0]
            if (dataset.height, dataset.width) != self.shape:
                raise PassError(
                    path, f"has {dataset.height} × {dataset.width} pixels, {self.path.name} {self.shape}", "bring both to one grid"
                )
            if not dataset.dtypes[number - 1].startswith("float"):
                raise PassError(path, f"has {dataset.dtypes[number - 1]} pixels", "calibrate it to sigma nought as float32")
        self._decibel = {band: self._is_decibel(band, names[band], notes) for band in places}

    def _is_decibel(self, band: str, name: str, notes: list[str]) -> bool:
        dataset, number = self._datasets[band]
        if "db" in name.lower().replace("-", "_").split("_") or (dataset.units[number - 1] or "").lower() == "db":
            return True
        pixels = sample_lines(dataset, number)
        pixels = pixels[np.isfinite(pixels) & (pixels != 0)]
        negative = float((pixels < 0).mean()) if pixels.size else 0.0
        found = negative > 0.5  # after noise subtraction some linear values are negative, in dB nearly all are
        notes.append(f"{name}: taken as {'dB' if found else 'linear'}, {negative:.0%} of its values are negative")
        return found

    def _linear(self, band: str, raw: NDArray[Any]) -> Floats:
        """Sigma nought, linear, [H, W], NaN where there is nothing: NaN, nodata, 0."""
        dataset, _ = self._datasets[band]
        raw = raw.astype(np.float32)
        nothing = ~np.isfinite(raw) | (raw == 0)
        if dataset.nodata is not None:
            nothing |= raw == dataset.nodata
        linear = np.power(np.float32(10), raw / 10) if self._decibel[band] else raw
        return np.where(nothing, np.float32(np.nan), linear)

    def read_band(self, band: str, window: Window) -> tuple[Floats, Floats]:
        """Sigma nought, linear, [H, W], NaN where there is nothing, and zeros for the noise."""
        return self._pixels[band].read(window), np.zeros(window.shape, np.float32)

    def grid(self) -> Grid | None:
        """The grid that the image lies on, or None where it has control points only.

        Raises:
            PassError: It lies on a grid of degrees, or nowhere.
        """
        if self.first.crs is not None and not self.first.transform.is_identity:
            if not self.first.crs.is_projected:
                raise PassError(self.path, "is on a grid of degrees", "warp it to metres, for instance with gdalwarp -t_srs EPSG:3413")
            return read_grid(self.first)
        if self.first.gcps[1] is None:
            raise PassError(self.path, "has neither a grid nor control points", "georeference it first")
        return None

    def control_points(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Line, pixel (0 at the centre of the first; GDAL counts from its corner), longitude and latitude of the control points, [N]."""
        points, crs = self.first.gcps
        line, pixel = np.array([point.row for point in points]) - 0.5, np.array([point.col for point in points]) - 0.5
        lon, lat = rasterio.warp.transform(crs, "EPSG:4326", [point.x for point in points], [point.y for point in points])
        return line, pixel, np.array(lon), np.array(lat)

    def __enter__(self) -> "TiffImage":
        for band, (path, number) in self._places.items():
            self._pixels[band] = PlainPixels(path, number, self._scratch, partial(self._linear, band))
        return self

    def __exit__(self, *_: object) -> None:
        for dataset, _number in self._datasets.values():
            dataset.close()
        for pixels in self._pixels.values():
            pixels.close()
