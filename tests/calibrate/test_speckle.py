"""Lee's filter against its formula, and what it does to speckle."""

import numpy as np
import pytest

from icegraph.calibrate.settings import Filter
from icegraph.calibrate.speckle import FILTERS, SIZE, despeckle, halo


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


@pytest.fixture(scope="module")
def step() -> tuple[np.ndarray, np.ndarray]:
    """Two halves 10 dB apart, with speckle of 10.7 looks and without."""
    truth = np.full((240, 240), 0.005)
    truth[:, 120:] = 0.05
    return (truth * np.random.default_rng(5).gamma(10.7, 1 / 10.7, truth.shape)).astype(np.float32), truth


@pytest.mark.parametrize("kind", FILTERS)
def test_every_filter_smooths_even_ground_and_keeps_its_mean(step: tuple[np.ndarray, np.ndarray], kind: Filter) -> None:
    noisy, truth = step
    out = despeckle(noisy, 10.7, np.zeros_like(noisy), kind)
    for part in (np.s_[10:-10, 10:110], np.s_[10:-10, 130:230]):
        assert out[part].mean() == pytest.approx(truth[part].mean(), rel=0.02)
        assert out[part].mean() ** 2 / out[part].var() > 80


def test_all_but_the_boxcar_keep_an_edge(step: tuple[np.ndarray, np.ndarray]) -> None:
    noisy, truth = step
    error = {kind: np.abs(despeckle(noisy, 10.7, np.zeros_like(noisy), kind) - truth)[10:-10, 117:123].mean() for kind in FILTERS}
    assert error["boxcar"] > 1.3 * max(error[kind] for kind in FILTERS if kind != "boxcar")
    assert error["refined-lee"] < 0.7 * error["lee"]


@pytest.mark.parametrize("kind", FILTERS)
def test_a_pixel_knows_its_neighbours_alone(step: tuple[np.ndarray, np.ndarray], kind: Filter) -> None:
    noisy = step[0].copy()
    noisy[50:53, 90:150] = np.nan
    noise = np.full_like(noisy, 1e-3)
    whole = despeckle(noisy, 10.7, noise, kind)
    part = despeckle(noisy[41:101, 83:163].copy(), 10.7, noise[41:101, 83:163].copy(), kind)
    edge = halo(kind)
    np.testing.assert_array_equal(part[edge:-edge, edge:-edge], whole[41 + edge : 101 - edge, 83 + edge : 163 - edge])
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(noisy))


def test_gamma_map_is_the_root_of_its_equation() -> None:
    z = np.random.default_rng(6).gamma(3, 0.02, (60, 60)).astype(np.float32)
    out = despeckle(z, 4.4, np.zeros_like(z), "gamma-map").astype(float)
    mean = np.array([[z[i - 3 : i + 4, j - 3 : j + 4].mean() for j in range(3, 57)] for i in range(3, 57)])
    variation = np.array([[z[i - 3 : i + 4, j - 3 : j + 4].var() for j in range(3, 57)] for i in range(3, 57)]) / mean**2
    between = (variation > 1.05 / 4.4) & (variation < 1.95 / 4.4)
    assert between.sum() > 500
    alpha = (1 + 1 / 4.4) / (variation - 1 / 4.4)
    x, given = out[3:-3, 3:-3], z[3:-3, 3:-3]
    rest = alpha * x**2 / mean + (4.4 + 1 - alpha) * x - 4.4 * given
    assert np.abs(rest / (4.4 * given))[between].max() < 2e-3


def test_non_local_means_are_those_of_their_formula() -> None:
    """With a hole, pixel by pixel; what is not known counts as even ground would."""
    rng = np.random.default_rng(7)
    z = rng.gamma(4.4, 0.02 / 4.4, (26, 30)).astype(np.float32)
    z[:, 15:] *= 6
    z[8:10, 4:9] = np.nan
    out = despeckle(z, 4.4, np.zeros_like(z), "non-local")
    variance = (10 / np.log(10)) ** 2 / 4.4
    wide = np.pad(z.astype(float), 8, constant_values=np.nan)
    level = 10 * np.log10(wide)
    for row, col in ((0, 0), (7, 5), (12, 14), (13, 20), (25, 29)):
        patch = level[row + 6 : row + 11, col + 6 : col + 11]
        total, weight = 0.0, 0.0
        for down in range(-6, 7):
            for across in range(-6, 7):
                other = level[row + 6 + down : row + 11 + down, col + 6 + across : col + 11 + across]
                square = (patch - other) ** 2
                unlike = np.where(np.isnan(square), 2 * variance, square).mean()
                share = max(1 - max(unlike - 2 * variance, 0) / (8 * 0.64 * variance), 0) ** 8 if down or across else 1.0
                value = wide[row + 8 + down, col + 8 + across]
                if np.isfinite(value):
                    total, weight = total + share * value, weight + share
        assert out[row, col] == pytest.approx(total / weight, rel=1e-4), (row, col)


def test_non_local_means_smooth_more_and_keep_edges_better_than_lee(step: tuple[np.ndarray, np.ndarray]) -> None:
    noisy, truth = step
    lee_out, out = (despeckle(noisy, 10.7, np.zeros_like(noisy), kind) for kind in ("lee", "non-local"))
    even, edge = np.s_[20:-20, 20:100], np.s_[20:-20, 118:122]
    assert out[even].std() < 0.8 * lee_out[even].std()
    assert np.abs(out - truth)[edge].mean() < 0.8 * np.abs(lee_out - truth)[edge].mean()
