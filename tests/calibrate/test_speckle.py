"""Lee's filter against its formula, and what it does to speckle."""

import numpy as np
import pytest

from icegraph.calibrate.speckle import SIZE, despeckle


def lee(z: np.ndarray, looks: float, noise: float = 0.0) -> np.ndarray:
    return despeckle(z, looks, np.full_like(z, noise))


def directly(z: np.ndarray, looks: float, noise: float) -> np.ndarray:
    """The formula, pixel by pixel."""
    half, out = SIZE // 2, np.full_like(z, np.nan)
    for row, col in zip(*np.nonzero(np.isfinite(z)), strict=True):
        box = z[max(row - half, 0) : row + half + 1, max(col - half, 0) : col + half + 1]
        box = box[np.isfinite(box)]
        m, v = box.mean(), box.var()
        var_x = (v - (m + noise) ** 2 / looks) / (1 + 1 / looks)
        k = min(max(var_x / v, 0), 1) if v > 0 else 0
        out[row, col] = m + k * (z[row, col] - m)
    return out


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_it_is_the_formula_of_1980_with_holes_and_edges(noise: float) -> None:
    rng = np.random.default_rng(3)
    z = rng.gamma(4.4, 0.1 / 4.4, (40, 50))
    z[:, 25:] *= 12
    z[10:14, 5:30] = np.nan
    z[0, 0] = np.nan
    np.testing.assert_allclose(lee(z.astype(np.float32), 4.4, noise), directly(z, 4.4, noise), rtol=2e-4, atol=1e-6)


def test_over_even_ground_the_mean_stays_and_the_looks_rise() -> None:
    z = np.random.default_rng(1).gamma(10.7, 0.05 / 10.7, (400, 400)).astype(np.float32)
    out = lee(z, 10.7)
    assert out.mean() == pytest.approx(z.mean(), rel=2e-3)
    assert z.mean() ** 2 / z.var() == pytest.approx(10.7, rel=0.02)
    assert out.mean() ** 2 / out.var() > 150


def test_an_edge_between_floe_and_water_keeps_its_place() -> None:
    rng = np.random.default_rng(2)
    z = rng.gamma(10.7, 1 / 10.7, (200, 200)).astype(np.float32) * 0.01
    z[:, 100:] *= 20
    out = lee(z, 10.7)
    profile = 10 * np.log10(out.mean(axis=0))
    assert profile[97] < -17.5 and profile[102] > -8.5
    assert int(np.argmin(np.abs(profile - (profile[80] + profile[120]) / 2))) in (98, 99, 100, 101)


def test_what_thermal_noise_leaves_of_dark_water_is_smoothed_as_speckle_of_all_power() -> None:
    rng = np.random.default_rng(4)
    noise = 2e-3
    z = ((1e-4 + noise) * rng.gamma(10.7, 1 / 10.7, (200, 200)) - noise).astype(np.float32)
    assert (z < 0).mean() > 0.3
    assert lee(z, 10.7, noise).std() < 0.4 * lee(z, 10.7).std()
    assert lee(z, 10.7, noise).mean() == pytest.approx(1e-4, abs=2e-5)
