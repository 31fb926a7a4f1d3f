"""Random fields against their own definition."""

import itertools

import numpy as np
import pytest

from icegraph.simulate.noise import Waves, power_law_noise, sample_tile


def test_noise_has_unit_variance_and_the_slope_asked_for() -> None:
    noise = power_law_noise((256, 256), 1.5, np.random.default_rng(0))
    assert abs(float(noise.mean())) < 1e-6
    assert float(noise.std()) == pytest.approx(1)
    power = np.abs(np.fft.fft2(noise)) ** 2
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    rings = np.geomspace(0.02, 0.4, 10)
    level = [power[(k >= a) & (k < b)].mean() for a, b in itertools.pairwise(rings)]
    slope = np.polyfit(np.log(np.sqrt(rings[1:] * rings[:-1])), np.log(level), 1)[0]
    assert slope == pytest.approx(-3.0, abs=0.15)


def test_waves_have_unit_variance_and_their_curl_no_divergence() -> None:
    waves = Waves.random(50.0, 200.0, np.random.default_rng(1), slope=0.5)
    place = np.random.default_rng(2).uniform(-1e5, 1e5, (20000, 2))
    assert float(waves(place).std()) == pytest.approx(1, abs=0.03)
    step, at = 0.01, place[:50]
    along_x, along_y = np.array([step, 0]), np.array([0, step])
    east = (waves.curl(at + along_x) - waves.curl(at - along_x))[:, 0]
    north = (waves.curl(at + along_y) - waves.curl(at - along_y))[:, 1]
    assert np.abs(east + north).max() < 1e-6
    assert np.abs(east).max() > 1e-4


def test_a_tile_repeats() -> None:
    tile = np.arange(12, dtype=np.float32).reshape(3, 4)
    row, col = np.array([1.0, 4.0, -2.0]), np.array([2.0, 6.0, -2.0])
    assert sample_tile(tile, row, col).tolist() == [6.0, 6.0, 6.0]
