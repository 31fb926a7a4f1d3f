"""A Sentinel-1 GRD product as an image of sigma nought: annotation, calibration and noise read from SAFE, folder or zip.

After "Sentinel-1 Product Specification", S1-RS-MDA-52-7441, release 3/9: product, calibration and noise annotation.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from icegraph.calibrate.balance import Level, Seam, fit_factors, fit_offsets, levels, measure_seams
from icegraph.calibrate.border import HALO, border, line_limits
from icegraph.calibrate.plain import PlainPixels
from icegraph.calibrate.radiometry import AzimuthVector, CalibrationTable, Floats, NoiseTable, SwathBlock, Vector, sigma_nought
from icegraph.calibrate.settings import Quantity
from icegraph.calibrate.speckle import LOOKS
from icegraph.errors import PassError
from icegraph.grid import Window
from icegraph.ingest.container import Container, child_text
from icegraph.ingest.sentinel1 import Polarisation, Product, read_product

LOOKS_SHARE = 0.89  # equivalent over nominal looks of the standard products: 10.7 / 12 and 4.4 / 5
SPACING_M = (1.0, 200.0)  # GRD pixels: 3.5 m (SM, full resolution) to 50 m
IPF_AZIMUTH = (2, 90)  # from here on noise has an azimuth part, and borders are zero
IPF_NOISE = (2, 44)  # before, the noise vectors are unusable
IPF_DOUBTFUL = (2, 53)
EARLY_SCALE = 56_065.87  # noise vectors of before July 2015 are below 1 and want this times dn
_AGAIN = "download the product again, whole"
_BOUNDS = ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
_VECTORS: dict[Quantity, str] = {"sigma": "sigmaNought", "beta": "betaNought", "gamma": "gamma"}  # S1-RS-MDA-52-7441, calibrationVector
_T = TypeVar("_T")


@dataclass(frozen=True)
class TiePoints:
    """The geolocation grid: lines [L], pixels [P], and longitude, latitude, incidence in degrees, each [L, P]."""

    line: NDArray[np.float64]
    pixel: NDArray[np.float64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    incidence: NDArray[np.float64]


@dataclass(frozen=True)
class Annotation:
    """What the product annotation of one polarisation tells.

    Args:
        shape: Lines and pixels.
        spacing_m: Of pixels in ground range.
        mode: `EW`, `IW`, …
        nominal_looks: Range × azimuth.
        noise_removed: Whether the processor subtracted thermal noise already.
        ties: The geolocation grid.
        blocks: The merged sub-swaths.
    """

    shape: tuple[int, int]
    spacing_m: float
    mode: str
    nominal_looks: float
    noise_removed: bool
    ties: TiePoints
    blocks: tuple[SwathBlock, ...]


class SafeImage:
    """Sigma nought (or beta, or gamma nought) of a product, by windows. Use it in a `with` statement.

    Args:
        product: From `read_product`.
        notes: Takes what is particular about the product.
        scratch: On whose disk the decoded pixels go; that of the system's temporary files by default.
        quantity: Which of the three.
    """

    def __init__(self, product: Product, notes: list[str], scratch: Path | None = None, quantity: Quantity = "sigma") -> None:
        self.product, self.notes, self._scratch, self.quantity = product, notes, scratch, quantity
        self.levels: dict[str, Sequence[Level]] = {}
        self._limits: dict[str, NDArray[np.int64]] = {}
        self.bands = [polarisation.name for polarisation in product.polarisations]
        self.annotation = read_annotation(product.container, product.polarisations[0].annotation)
        self.shape = self.annotation.shape
        self.halo = HALO
        self._pixels: dict[str, PlainPixels] = {}

    @classmethod
    def read(cls, place: Path, notes: list[str], scratch: Path | None = None, quantity: Quantity = "sigma") -> "SafeImage":
        """Read a SAFE folder or zip, with all its checks. Raises PassError."""
        return cls(read_product(place), notes, scratch, quantity)

    @cached_property
    def looks(self) -> float:
        """Equivalent number of looks."""
        kind = next((part for part in self.product.id.split("_") if part.startswith("GRD")), "")
        known = LOOKS.get((self.annotation.mode, kind))
        if known is None:
            self.notes.append(f"looks of {self.annotation.mode} {kind or 'GRD'} taken as {LOOKS_SHARE} of the nominal ones")
        return known or max(1.0, LOOKS_SHARE * self.annotation.nominal_looks)

    @cached_property
    def _tables(self) -> dict[str, tuple[CalibrationTable, NoiseTable | None]]:
        tables = {}
        for polarisation in self.product.polarisations:
            calibration = read_calibration(self.product.container, polarisation.calibration, self.quantity)
            tables[polarisation.name] = calibration, self._noise(polarisation)
        return tables

    def _noise(self, polarisation: Polarisation) -> NoiseTable | None:
        if self.annotation.noise_removed:
            self._note("thermal noise was subtracted by the processor")
            return None
        ipf = self.product.ipf
        version = f"IPF {ipf[0]}.{ipf[1]:02d}"
        if ipf < IPF_NOISE:
            self._note(f"thermal noise stays in: the noise vectors of {version} are unusable")
            return None
        if ipf < IPF_DOUBTFUL:
            self._note(f"thermal noise is doubtful: the noise vectors of {version} are")
        if ipf < IPF_AZIMUTH:
            self._note(f"{version}: noise without an azimuth part; borders may hold small values, which are masked")
        container = self.product.container
        table = read_noise(container, polarisation.noise, self.shape, self.annotation.blocks)
        largest = max(float(vector.values.max()) for vector in table.vectors)
        if largest >= 1:
            return table
        self._note(f"noise vectors below 1, as before July 2015: scaled by {EARLY_SCALE:g} dn")
        subject = f"{container.place}/{polarisation.calibration}"
        told = child_text(container.read_xml(polarisation.calibration), ".//calibrationVector/dn", subject)
        dn = _numbers(subject, lambda: float(told.split()[0]))
        return NoiseTable(table.shape, table.vectors, table.blocks, table.azimuth, EARLY_SCALE * dn)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def read_band(self, band: str, window: Window) -> tuple[Floats, Floats]:
        """The quantity and the noise taken off it, linear, each [H, W]; NaN in the border.

        What lies within `halo` of a window's inner edge is not to be trusted: read it wider.
        """
        dn = self._pixels[band].read(window)
        calibration, noise = self._tables[band]
        sigma, removed = sigma_nought(dn, calibration.at(window), noise.power(window) if noise else None)
        for level in self.levels.get(band, ()):
            level.apply(sigma, removed, window)
        if band in self._limits:
            first, last = self._limits[band][window.slices[0], :, None].swapaxes(0, 1)
            pixel = np.arange(window.col, window.col + window.width)
            sigma[(pixel < first) | (pixel > last)] = np.nan
        sigma[border(dn)] = np.nan
        return sigma, removed

    def seams(self, band: str) -> list[Seam]:
        """The steps between sub-swaths, with noise and without."""
        return measure_seams(partial(self.read_band, band), self.annotation.blocks)

    def balance(self) -> None:
        """Rescale noise in each sub-swath from here on, so that no steps are left between them."""
        blocks = self.annotation.blocks
        for band in self.bands:
            self.levels[band] = ()
            factors = fit_factors(partial(self.read_band, band), blocks)
            self.levels[band] = levels(blocks, factors, {})
            self.levels[band] = levels(blocks, factors, fit_offsets(self.seams(band), blocks))

    def _find_limits(self, band: str) -> NDArray[np.int64]:
        """First and last pixel with data of every line, [L, 2]."""
        _, noise = self._tables[band]
        strips = [Window(row, 0, min(256, self.shape[0] - row), self.shape[1]) for row in range(0, self.shape[0], 256)]
        found = [
            line_limits(self._pixels[band].read(strip), noise.power(strip) if noise else np.zeros(strip.shape, np.float32))
            for strip in strips
        ]
        return np.concatenate(found)

    def __enter__(self) -> "SafeImage":
        container = self.product.container
        places = {polarisation.name: container.raster(polarisation.measurement) for polarisation in self.product.polarisations}
        with ThreadPoolExecutor(len(places)) as pool:
            decoding = {name: pool.submit(PlainPixels, place, 1, self._scratch) for name, place in places.items()}
            _ = self._tables
            self._pixels = {name: pixels.result() for name, pixels in decoding.items()}
        if self.product.ipf < IPF_AZIMUTH:
            self._limits = {name: self._find_limits(name) for name in self.bands}
        return self

    def __exit__(self, *_: object) -> None:
        for pixels in self._pixels.values():
            pixels.close()


def read_annotation(container: Container, name: str) -> Annotation:
    """Read a product annotation. Raises PassError where something is missing or no number."""
    return _numbers(f"{container.place}/{name}", lambda: _annotation(container.read_xml(name), f"{container.place}/{name}"))


def _annotation(root: Element, subject: str) -> Annotation:
    def text(path: str) -> str:
        return child_text(root, path, subject)

    blocks = tuple(
        SwathBlock(child_text(merge, "swath", subject), *(int(child_text(bounds, name, subject)) for name in _BOUNDS))
        for merge in root.iter("swathMerge")
        for bounds in merge.iter("swathBounds")
    )
    shape = int(text(".//numberOfLines")), int(text(".//numberOfSamples"))
    for block in blocks:
        if not (0 <= block.first_line <= block.last_line < shape[0] and 0 <= block.first_pixel <= block.last_pixel < shape[1]):
            raise PassError(subject, f"its sub-swath {block.swath} reaches out of the image", _AGAIN)
    spacing = float(text(".//rangePixelSpacing"))
    if not SPACING_M[0] <= spacing <= SPACING_M[1]:
        raise PassError(subject, f"has pixels of {spacing:g} m, where {SPACING_M[0]:g} to {SPACING_M[1]:g} m are expected", _AGAIN)
    looks = [float(child_text(root, f".//swathProcParams/{axis}Processing/numberOfLooks", subject)) for axis in ("range", "azimuth")]
    return Annotation(
        shape=shape,
        spacing_m=spacing,
        mode=text("adsHeader/mode"),
        nominal_looks=looks[0] * looks[1],
        noise_removed=(root.findtext(".//thermalNoiseCorrectionPerformed") or "false").strip() == "true",
        ties=_ties(root, subject),
        blocks=blocks,
    )


def _ties(root: Element, subject: str) -> TiePoints:
    names = ("line", "pixel", "longitude", "latitude", "incidenceAngle")
    points = [[float(child_text(point, name, subject)) for name in names] for point in root.iter("geolocationGridPoint")]
    table = np.array(points, float).reshape(-1, len(names))
    table = table[np.unique(table[:, :2], axis=0, return_index=True)[1]]  # a point given twice, as at the end of short images, counts once
    lines, pixels = np.unique(table[:, 0]), np.unique(table[:, 1])
    order = np.lexsort((table[:, 1], table[:, 0]))
    if len(table) < 4 or len(lines) * len(pixels) != len(table) or not np.isfinite(table).all():
        raise PassError(subject, f"its {len(table)} geolocation points make no full grid of lines and pixels", _AGAIN)
    lon, lat, incidence = (table[order, column].reshape(len(lines), len(pixels)) for column in (2, 3, 4))
    return TiePoints(lines, pixels, lon, lat, incidence)


def read_calibration(container: Container, name: str, quantity: Quantity = "sigma") -> CalibrationTable:
    """Read the vectors of a calibration annotation for one quantity. Raises PassError."""
    subject = f"{container.place}/{name}"
    root = container.read_xml(name)
    return CalibrationTable(_numbers(subject, lambda: _vectors(root, "calibrationVector", _VECTORS[quantity], subject)))


def read_noise(container: Container, name: str, shape: tuple[int, int], blocks: tuple[SwathBlock, ...]) -> NoiseTable:
    """Read a noise annotation, of IPF 2.9 and later (range and azimuth) or earlier (range). Raises PassError."""
    subject = f"{container.place}/{name}"
    root = container.read_xml(name)
    new = root.find(".//noiseRangeVector") is not None
    tags = ("noiseRangeVector", "noiseRangeLut") if new else ("noiseVector", "noiseLut")
    vectors = _numbers(subject, lambda: _vectors(root, *tags, subject))
    azimuth = _numbers(subject, lambda: tuple(_azimuth_vector(vector, shape, subject) for vector in root.iter("noiseAzimuthVector")))
    return NoiseTable(shape, vectors, blocks, azimuth)


def _vectors(root: Element, tag: str, values: str, subject: str) -> tuple[Vector, ...]:
    found = []
    for element in root.iter(tag):
        pixels = np.array(child_text(element, "pixel", subject).split(), np.int64)
        numbers = np.array(child_text(element, values, subject).split(), float)
        if len(pixels) != len(numbers) or np.any(np.diff(pixels) <= 0) or not np.isfinite(numbers).all():
            raise PassError(subject, f"a <{tag}> has {len(pixels)} pixels for {len(numbers)} values, or pixels out of order", _AGAIN)
        found.append(Vector(int(child_text(element, "line", subject)), pixels, numbers))
    found.sort(key=lambda vector: vector.line)
    lines = [vector.line for vector in found]
    if not found or len(set(lines)) < len(lines):
        raise PassError(subject, f"has {len(lines)} <{tag}> on {len(set(lines))} lines", _AGAIN)
    return tuple(found)


def _azimuth_vector(element: Element, shape: tuple[int, int], subject: str) -> AzimuthVector:
    lines = np.array(child_text(element, "line", subject).split(), np.int64)
    values = np.array(child_text(element, "noiseAzimuthLut", subject).split(), float)
    if len(lines) != len(values) or np.any(np.diff(lines) < 0) or not np.isfinite(values).all():
        raise PassError(subject, f"a <noiseAzimuthVector> has {len(lines)} lines for {len(values)} values, or lines out of order", _AGAIN)
    limits = (0, shape[0] - 1, 0, shape[1] - 1)
    told = [element.findtext(name) for name in _BOUNDS]
    first_line, last_line, first_pixel, last_pixel = (int(text) if text else limit for text, limit in zip(told, limits, strict=True))
    block = SwathBlock((element.findtext("swath") or "").strip(), first_line, last_line, first_pixel, last_pixel)
    return AzimuthVector(block, lines, values)


def _numbers(subject: str, read: Callable[[], _T]) -> _T:
    """What `read` gives; text where a number belongs becomes a PassError that names the file."""
    try:
        return read()
    except (ValueError, OverflowError) as error:
        raise PassError(subject, f"holds text where a number belongs ({error})", _AGAIN) from error
