"""Steps between sub-swaths on images whose noise is known, and known to be wrong."""

import numpy as np
import pytest

from icegraph.calibrate.balance import Level, fit_factors, fit_offsets, levels, measure_seams
from icegraph.calibrate.radiometry import SwathBlock
from icegraph.grid import Window

BLOCKS = [SwathBlock("EW1", 0, 1999, 0, 799), SwathBlock("EW2", 0, 1999, 800, 1699), SwathBlock("EW3", 0, 1999, 1700, 2499)]
FACTORS = {"EW1": 1.06, "EW2": 1.0, "EW3": 0.95}


class Image:
    """Even ice, darker with incidence, under speckle and a noise that is higher towards the edges of each sub-swath."""

    def __init__(self, factors: dict[str, float]) -> None:
        pixel = np.arange(2500)
        self.truth = (3e-3 * 10 ** (-0.16 * pixel / 2500)).astype(np.float32)
        self.noise = np.empty(2500, np.float32)
        real = np.empty(2500)
        for block in BLOCKS:
            part = slice(block.first_pixel, block.last_pixel + 1)
            u = np.linspace(0, 1, block.last_pixel - block.first_pixel + 1)
            self.noise[part] = 2e-3 * 10 ** (1.2 * (u - 0.5) ** 2)
            real[part] = self.noise[part] * factors[block.swath]
        power = (self.truth + real) * np.random.default_rng(0).gamma(10.7, 1 / 10.7, (2000, 2500))
        self.sigma = (power - self.noise).astype(np.float32)
        self.levels: list[Level] = []

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        sigma, noise = self.sigma[window.slices].copy(), np.tile(self.noise[window.slices[1]], (window.height, 1))
        for level in self.levels:
            level.apply(sigma, noise, window)
        return sigma, noise


def test_true_noise_leaves_no_step_and_needs_no_factor() -> None:
    image = Image(dict.fromkeys(FACTORS, 1.0))
    seams = measure_seams(image.read, BLOCKS)
    assert [seam.swaths for seam in seams] == [("EW1", "EW2"), ("EW2", "EW3")]
    assert max(abs(seam.after_db) for seam in seams) < 0.05
    assert list(fit_factors(image.read, BLOCKS).values()) == pytest.approx([1, 1, 1], abs=0.02)


def test_wrong_noise_is_found_and_levelled() -> None:
    image = Image(FACTORS)
    assert max(abs(seam.after_db) for seam in measure_seams(image.read, BLOCKS)) > 0.3
    factors = fit_factors(image.read, BLOCKS)
    assert factors == pytest.approx(FACTORS, abs=0.02)
    image.levels = levels(BLOCKS, factors, {})
    image.levels = levels(BLOCKS, factors, fit_offsets(measure_seams(image.read, BLOCKS), BLOCKS))
    assert max(abs(seam.after_db) for seam in measure_seams(image.read, BLOCKS)) < 0.03
    sigma, _ = image.read(Window(0, 0, 2000, 2500))
    assert 10 * np.log10(sigma.mean(axis=0) / image.truth).mean() == pytest.approx(0, abs=0.05)


def test_a_step_in_the_ice_of_a_few_lines_is_not_one_of_the_instrument() -> None:
    image = Image(dict.fromkeys(FACTORS, 1.0))
    image.sigma[300:700, 800:] += 5e-3  # a floe that ends at the seam
    assert abs(measure_seams(image.read, BLOCKS)[0].after_db) < 0.1


def test_offsets_leave_the_mean() -> None:
    image = Image(FACTORS)
    offsets = fit_offsets(measure_seams(image.read, BLOCKS), BLOCKS)
    assert sum(offsets[name] * width for name, width in (("EW1", 800), ("EW2", 900), ("EW3", 800))) == pytest.approx(0, abs=1e-9)
