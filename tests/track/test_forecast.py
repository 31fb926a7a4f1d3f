import numpy as np
import pytest
from drift import FORECAST_FIELDS, buoy_paths, floe_paths, forecast_errors

from icegraph.track import forecast

DAY = 86400.0


def test_a_floe_goes_on_for_its_velocitys_memory():
    state = forecast.start(0, np.zeros(2), 30.0, np.array([0.1, -0.05]), 0.05)
    soon, late = forecast.predict(state, 600.0), forecast.predict(state, 1000 * DAY)
    np.testing.assert_allclose(soon.mean[:2], [60.0, -30.0], rtol=2e-3)
    np.testing.assert_allclose(late.mean[:2], np.array([0.1, -0.05]) * forecast.MEMORY_S)
    np.testing.assert_allclose(late.mean[2:], 0, atol=1e-12)
    assert late.covariance[2, 2] == pytest.approx(forecast.STILL_SIGMA**2)


def test_a_long_track_outweighs_a_wrong_start():
    velocity = np.array([0.2, 0.0])
    state = forecast.start(0, np.zeros(2), 30.0, np.zeros(2), 0.05)
    errors = []
    for day in range(1, 5):
        state = forecast.update(forecast.predict(state, day * DAY), velocity * day * DAY, 30.0)
        errors.append(np.hypot(*(state.mean[2:] - velocity)))
    assert max(errors) < 0.2
    assert errors[-1] < 0.05


def test_uncertainty_is_that_of_simulated_paths():
    rng, steps, dt = np.random.default_rng(0), 400, 24 * 3600 / 400
    u, x = rng.normal(0, 0.1, 20_000), rng.normal(0, 30.0, 20_000)
    for _ in range(steps):  # Euler–Maruyama
        x = x + u * dt + rng.normal(0, np.sqrt(forecast.LOOPS * dt), x.size)
        u = u - u * dt / forecast.MEMORY_S + rng.normal(0, forecast.STILL_SIGMA * np.sqrt(2 * dt / forecast.MEMORY_S), u.size)
    then = forecast.predict(forecast.start(0, np.zeros(2), 30.0, np.zeros(2), 0.1), 24 * 3600.0)
    assert then.covariance[0, 0] == pytest.approx(x.var(), rel=0.04)
    assert then.covariance[0, 2] == pytest.approx(np.cov(x, u)[0, 1], rel=0.04)
    assert then.covariance[2, 2] == pytest.approx(u.var(), rel=0.04)
    assert then.covariance[0, 1] == 0


def test_the_shortest_steps_keep_the_covariance_positive():
    state = forecast.State(0, np.zeros(4), np.zeros((4, 4)))
    for dt in (1e-3, 1.0, 60.0):
        assert (np.linalg.eigvalsh(forecast.predict(state, dt).covariance) >= 0).all()


def test_two_steps_are_one_step():
    state = forecast.start(0, np.array([1.0, 2.0]), 30.0, np.array([0.1, 0.2]), 0.05)
    one, two = forecast.predict(state, 7200), forecast.predict(forecast.predict(state, 1000), 7200)
    np.testing.assert_allclose(two.covariance, one.covariance)
    np.testing.assert_allclose(two.mean, one.mean)


def test_update_is_the_textbook_gain():
    state = forecast.predict(forecast.start(0, np.zeros(2), 30.0, np.zeros(2), 0.1), 3600)
    after = forecast.update(state, np.array([500.0, 0.0]), 40.0)
    gain = state.covariance[0, 0] / (state.covariance[0, 0] + 1600)
    assert after.mean[0] == pytest.approx(gain * 500)
    assert after.covariance[0, 0] == pytest.approx((1 - gain) * state.covariance[0, 0])
    assert after.mean[2] == pytest.approx(state.covariance[0, 2] / (state.covariance[0, 0] + 1600) * 500)


def test_ellipse_of_a_turned_covariance():
    turn = np.radians(30)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    covariance = np.zeros((4, 4))
    covariance[:2, :2] = spin @ np.diag([400.0, 100.0]) @ spin.T
    major, minor, angle = forecast.ellipse(forecast.State(0, np.zeros(4), covariance, scale=1.0))
    assert (major, minor, angle) == pytest.approx((20, 10, 30))


def test_surroundings_are_the_weighted_mean_of_the_nearest():
    places = np.array([[0.0, 0], [100, 0], [1e6, 0]])
    velocities = np.array([[0.1, 0], [0.3, 0], [5, 5]])
    lapses = np.full(3, DAY)
    mean, sigma = forecast.surroundings(np.zeros(2), places, velocities, lapses, np.array([1.0, 3.0, 1.0]), count=2)
    np.testing.assert_allclose(mean, [0.25, 0])
    assert sigma > np.sqrt(forecast.LOOPS / DAY)
    still, sigma = forecast.surroundings(np.zeros(2), places, velocities, lapses, np.zeros(3))
    assert (*still, sigma) == (0, 0, forecast.STILL_SIGMA)


def better_than_the_last_velocity_and_in_the_ellipses(found: np.ndarray) -> None:
    ours, theirs = np.sqrt((found[:, :2] ** 2).mean(axis=0))
    assert ours < 0.93 * theirs
    assert 0.63 < np.mean(found[:, 2] < forecast.radius(0.68)) < 0.73
    assert 0.90 < np.mean(found[:, 2] < forecast.radius(0.95)) < 0.98


def test_real_buoys_are_forecast_better_than_by_their_last_velocity_and_lie_in_the_ellipses(shared_data):
    found = np.concatenate([forecast_errors(buoy_paths(file), 24) for file in sorted((shared_data / "buoys").glob("*.nc"))])
    assert len(found) > 300
    better_than_the_last_velocity_and_in_the_ellipses(found)


def test_floes_of_simulated_fields_are_forecast_as_well():
    found = np.concatenate([forecast_errors(floe_paths(seed), 24) for seed in range(FORECAST_FIELDS)])
    assert len(found) > 300
    better_than_the_last_velocity_and_in_the_ellipses(found)


def test_an_ellipse_holds_its_share_of_students_t():
    from scipy.stats import multivariate_t

    rng = np.random.default_rng(0)
    draws = multivariate_t(np.zeros(2), np.eye(2), df=forecast.DOF).rvs(100_000, random_state=rng)
    for share in (0.5, 0.68, 0.95):
        assert np.mean(np.hypot(*draws.T) < forecast.radius(share)) == pytest.approx(share, abs=0.005)


def test_restless_floes_near_by_widen_the_ellipse_and_calm_ones_narrow_it():
    rng, times = np.random.default_rng(0), np.arange(6) * DAY / 2
    widths = []
    for restless in (0.0, 0.5):
        track, seconds = np.repeat(np.arange(5), 6), np.tile(times, 5)
        velocity = 0.1 + restless * rng.normal(0, 1, (5, 6, 2))
        place = (np.cumsum(velocity, axis=1) * DAY / 2).reshape(-1, 2)
        ones = np.ones(30)
        states = forecast.walk(forecast.Sightings(track, seconds, place, 30 * ones, ones, np.zeros(30, bool)))
        widths.append(forecast.ellipse(forecast.predict(states[-1], times[-1] + DAY))[0])
    assert widths[1] > 2 * widths[0]
