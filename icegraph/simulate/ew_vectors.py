"""Calibration and noise vectors of a simulated Sentinel-1 product, as its annotation will write them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icegraph.simulate.ew_geometry import Direction, Float, ImageGeometry
from icegraph.simulate.field import Drawn
from icegraph.simulate.kind import Kind

_BETA_NOUGHT: Final = 474.0  # calibration constant in DN, the same at every pixel
_BURST_LINES: Final = 500  # 3 s
_EXTRA_DB: Final = 0.3  # of noise in the cross-polarised image


@dataclass(frozen=True)
class Noise:
    """Thermal noise vectors of one polarisation, rounded as they are written.

    Args:
        range_lines: Lines of the range vectors, [V].
        range_pixels: Their pixels, [P]; seams between sub-swaths have a knot on each side.
        range_lut: DN², [V, P]; zero at knots that lie in the empty far border.
        azimuth_lines: Lines of each sub-swath's azimuth vector, one array a sub-swath.
        azimuth_lut: Their factors.
    """

    range_lines: NDArray[np.int64]
    range_pixels: NDArray[np.int64]
    range_lut: Float
    azimuth_lines: list[NDArray[np.int64]]
    azimuth_lut: list[Float]

    def power(self, geometry: ImageGeometry, lines: slice) -> NDArray[np.float32]:
        """Noise power in DN² of some lines, [lines, samples]: bilinear between knots, the last vector held to the end of the image."""
        line = np.arange(geometry.lines, dtype=float)[lines]
        pixel = np.arange(geometry.samples, dtype=float)
        swath = geometry.swath_of(np.arange(geometry.samples))
        across = np.stack([np.interp(pixel, self.range_pixels, lut) for lut in self.range_lut])
        position = np.interp(line, self.range_lines, np.arange(len(self.range_lines)))
        first = np.minimum(position.astype(int), len(self.range_lines) - 1)
        second = np.minimum(first + 1, len(self.range_lines) - 1)
        share = (position - first)[:, None]
        ranged = across[first] * (1 - share) + across[second] * share
        along = np.stack([np.interp(line, *pair) for pair in zip(self.azimuth_lines, self.azimuth_lut, strict=True)], axis=1)
        return np.asarray(ranged * along[:, swath], np.float32)


@dataclass(frozen=True)
class Calibration:
    """Calibration vectors, rounded as they are written.

    Args:
        lines: Lines of the vectors, [V]; the last may lie past the image.
        pixels: Their pixels, [P].
        sigma_nought: The factor A of each pixel, [P]; the same in every vector.
        beta_nought: Its like for beta nought, a constant.
        gamma: Its like for gamma, [P].
    """

    lines: NDArray[np.int64]
    pixels: NDArray[np.int64]
    sigma_nought: Float
    beta_nought: float
    gamma: Float

    def factor(self, geometry: ImageGeometry) -> Float:
        """A of every sample, [samples]."""
        return np.asarray(np.interp(np.arange(geometry.samples, dtype=float), self.pixels, self.sigma_nought))


@dataclass(frozen=True)
class Product:
    """All that a SAFE folder says beside its pixels.

    Args:
        geometry: Where the image lies.
        start: Azimuth time of line 0, UTC.
        direction: Of the orbit.
        calibration: The same for both polarisations.
        noise: By polarisation.
        kind: Platform, mode, polarisations and processor.
    """

    geometry: ImageGeometry
    start: datetime
    direction: Direction
    calibration: Calibration
    noise: dict[str, Noise]
    kind: Kind

    def time(self, line: float) -> datetime:
        """Azimuth time of a line, UTC."""
        return self.start + timedelta(seconds=float(self.geometry.seconds(np.array(line))))


def plan_product(view: Drawn, direction: Direction = "DESCENDING", tilt_deg: float = 5.0, kind: Kind | None = None) -> Product:
    """Geometry, times, calibration and noise of the product that `write_safe` makes of a view."""
    kind = kind or Kind()
    geometry = ImageGeometry.inside(view.grid, direction, tilt_deg, kind.mode)
    start = view.time - timedelta(seconds=float(geometry.seconds(np.array((geometry.lines - 1) / 2))))
    calibration = _calibration(geometry)
    noise = {name: _noise(geometry, calibration, _EXTRA_DB if name[0] != name[1] else 0.0, kind) for name in kind.polarisations}
    return Product(geometry, start, direction, calibration, noise, kind)


def _step(samples: int) -> int:
    """Spacing of vector knots: 40 pixels as in real products, less in images so small that their sub-swaths would have none."""
    return max(4, min(40, samples // 50))


def _calibration(geometry: ImageGeometry) -> Calibration:
    lines_a_second = 1 / geometry.line_time_s
    lines = np.round(np.arange(geometry.lines / lines_a_second + 1) * lines_a_second).astype(np.int64)
    pixels = _knots(0, geometry.samples - 1, _step(geometry.samples))
    incidence = np.radians(geometry.incidence_deg(pixels.astype(float)))
    return Calibration(
        lines,
        pixels,
        _written(_BETA_NOUGHT / np.sqrt(np.sin(incidence))),
        _BETA_NOUGHT,
        _written(_BETA_NOUGHT / np.sqrt(np.tan(incidence))),
    )


def _noise(geometry: ImageGeometry, calibration: Calibration, extra_db: float, kind: Kind) -> Noise:
    swaths = kind.mode.swaths
    last_data = int(geometry.data_samples[1].max())
    pixels = np.concatenate(
        [
            _knots(first, (last_data if name == swaths[-1] else end - 1), _step(geometry.samples))
            for name, first, end in zip(swaths, geometry.swath_first, geometry.swath_first[1:], strict=False)
        ]
        # As in real products, the last two knots are zero: they lie past the data.
        + [np.array([geometry.samples - 2, geometry.samples - 1])]
    )
    swath = geometry.swath_of(pixels)
    start, end = np.array(geometry.swath_first[:-1])[swath], np.array(geometry.swath_first[1:])[swath]
    floor, lowest, curve = np.array(kind.mode.nesz)[swath].T
    nesz_db = floor + curve * ((pixels - start) / (end - 1 - start) - lowest) ** 2 + extra_db
    power = 10 ** (nesz_db / 10) * calibration.factor(geometry)[pixels] ** 2
    power[-2:] = 0.0
    lines = calibration.lines[calibration.lines < geometry.lines]
    drift = 1 + 0.015 * np.sin(np.arange(len(lines)) / 3.0)  # the instrument warms and cools
    azimuth = [_scalloping(geometry.lines, number, kind) for number in range(len(swaths))]
    return Noise(lines, pixels, _written(drift[:, None] * power), [pair[0] for pair in azimuth], [pair[1] for pair in azimuth])


def _scalloping(lines: int, swath: int, kind: Kind) -> tuple[NDArray[np.int64], Float]:
    """Azimuth noise of one sub-swath: up at burst edges, where two knots stand side by side; 1 where the processor does not tell it."""
    if not kind.has_azimuth_noise:
        return np.array([0, lines - 1]), np.ones(2)
    burst = max(16, min(_BURST_LINES, lines // 3))
    shift = burst * swath // len(kind.mode.swaths)  # the sub-swaths take turns
    edges = np.arange(burst - shift if shift else burst, lines, burst)
    knots = np.unique(np.concatenate([np.arange(0, lines, 10), edges - 1, edges, [lines - 1]]))
    number, place = np.divmod(knots + shift, burst)
    depth = kind.mode.scallop[swath] * np.where(number % 2 == 0, 1.0, 0.92)
    return knots.astype(np.int64), _written(1 + depth * (2 * place / (burst - 1) - 1) ** 2)


def _knots(first: int, last: int, step: int) -> NDArray[np.int64]:
    """Every `step` from `first`, and `last`."""
    return np.unique(np.append(np.arange(first, last, step), last)).astype(np.int64)


def _written(values: Float) -> Float:
    """Values as their text in the XML says them: seven digits."""
    return np.array([float(f"{value:.6e}") for value in values.ravel()]).reshape(values.shape)
