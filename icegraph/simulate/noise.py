"""Smooth random fields, on a raster and as functions of place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.ndimage import map_coordinates

Float = NDArray[np.float64]


def power_law_noise(shape: tuple[int, int], slope: float, rng: np.random.Generator, *, cutoff_px: float = 0.0) -> NDArray[np.float32]:
    """Periodic noise [H, W] of zero mean and unit variance, whose amplitude falls with wavenumber as k^-slope.

    Waves longer than `cutoff_px` pixels (where given) are no stronger than those of that length.
    """
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    k = np.hypot(ky, kx)
    k = np.maximum(k, 1 / cutoff_px if cutoff_px else 1 / max(shape))
    gain = k**-slope
    gain[0, 0] = 0
    noise = irfft2(rfft2(rng.standard_normal(shape, np.float32)) * gain, shape)
    return np.asarray(noise / noise.std(), np.float32)


@dataclass(frozen=True)
class Waves:
    """A random function of place: a sum of plane waves, smooth, with unit variance.

    Args:
        vector: Wave vectors [M, 2], radians a metre.
        phase: Phases [M].
        amplitude: Amplitudes [M].
    """

    vector: Float
    phase: Float
    amplitude: Float

    @classmethod
    def random(cls, shortest_m: float, longest_m: float, rng: np.random.Generator, number: int = 12, slope: float = 0.0) -> "Waves":
        """Waves of random directions, their lengths spread between the two, their amplitudes as length^slope."""
        length = np.exp(rng.uniform(np.log(shortest_m), np.log(longest_m), number))
        angle = rng.uniform(0, 2 * np.pi, number)
        amplitude = length**slope
        vector = 2 * np.pi / length[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
        return cls(vector, rng.uniform(0, 2 * np.pi, number), amplitude * np.sqrt(2 / np.sum(amplitude**2)))

    def __call__(self, place: Float) -> Float:
        """Value [N] at places [N, 2] in metres."""
        out = np.zeros(len(place))
        x, y = np.ascontiguousarray(place.T)
        for (kx, ky), phase, amplitude in zip(self.vector, self.phase, self.amplitude, strict=True):
            wave = kx * x
            wave += ky * y
            wave += phase
            np.cos(wave, out=wave)
            wave *= amplitude
            out += wave
        return out

    def curl(self, place: Float) -> Float:
        """The divergence-free vector [N, 2] of unit variance that has this function as its stream function."""
        out = np.zeros((len(place), 2))
        for vector, phase, amplitude in zip(self.vector, self.phase, self.amplitude, strict=True):
            across = np.array([-vector[1], vector[0]]) / np.linalg.norm(vector)
            out += amplitude * np.sin(place @ vector + phase)[:, None] * across
        return out


def sample_grid(tile: NDArray[np.float32], row: Float, col: Float) -> NDArray[np.float32]:
    """Bilinear values [H, W] of a periodic tile where fractional rows [H] and columns [W] cross."""
    (above, down), (before, along) = (np.divmod(at, 1.0) for at in (row, col))
    r, c = above.astype(np.int64), before.astype(np.int64)
    down, along = down.astype(np.float32)[:, None], along.astype(np.float32)
    lines = tile[r % tile.shape[0]] * (1 - down) + tile[(r + 1) % tile.shape[0]] * down
    return np.asarray(lines[:, c % tile.shape[1]] * (1 - along) + lines[:, (c + 1) % tile.shape[1]] * along, np.float32)


def sample_tile(tile: NDArray[np.float32], row: Float, col: Float) -> NDArray[np.float32]:
    """Bilinear values of a periodic tile at fractional pixels."""
    return np.asarray(map_coordinates(tile, [row % tile.shape[0], col % tile.shape[1]], order=1, mode="grid-wrap"), np.float32)
