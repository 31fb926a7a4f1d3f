import numpy as np
import pytest

from icegraph.track import forecast

DAY = 86400.0


def test_a_straight_track_goes_on_as_it_did():
    velocity = np.array([0.1, -0.05])
    state = forecast.start(0, np.zeros(2), 30.0, velocity, 0.05)
    for day in range(1, 6):
        state = forecast.update(forecast.predict(state, day * DAY), velocity * day * DAY, 30.0)
    for hours in forecast.HORIZONS_H:
        then = forecast.predict(state, 5 * DAY + 3600 * hours)
        np.testing.assert_allclose(then.mean[:2], velocity * (5 * DAY + 3600 * hours), atol=1e-6)


def test_a_long_track_outweighs_a_wrong_start():
    velocity = np.array([0.2, 0.0])
    state = forecast.start(0, np.zeros(2), 30.0, np.zeros(2), 0.05)
    errors = []
    for day in range(1, 5):
        state = forecast.update(forecast.predict(state, day * DAY), velocity * day * DAY, 30.0)
        errors.append(np.hypot(*(state.mean[2:] - velocity)))
    assert errors[0] > errors[-1]
    assert errors[-1] < 0.005


def test_position_variance_is_the_closed_form():
    state = forecast.State(0, np.zeros(4), np.diag([9.0, 9.0, 0.01, 0.01]))
    then = forecast.predict(state, 3600.0, acceleration=1e-7)
    assert then.covariance[0, 0] == pytest.approx(9 + 0.01 * 3600**2 + 1e-7 * 3600**3 / 3)
    assert then.covariance[0, 2] == pytest.approx(0.01 * 3600 + 1e-7 * 3600**2 / 2)
    assert then.covariance[0, 1] == 0


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
    major, minor, angle = forecast.ellipse(spin @ np.diag([400.0, 100.0]) @ spin.T)
    assert (major, minor, angle) == pytest.approx((20, 10, 30))


def test_surroundings_are_the_weighted_mean_of_the_nearest():
    places = np.array([[0.0, 0], [100, 0], [1e6, 0]])
    velocities = np.array([[0.1, 0], [0.3, 0], [5, 5]])
    mean, _ = forecast.surroundings(np.zeros(2), places, velocities, np.array([1.0, 3.0, 1.0]), count=2)
    np.testing.assert_allclose(mean, [0.25, 0])
    still, sigma = forecast.surroundings(np.zeros(2), places, velocities, np.zeros(3))
    assert (*still, sigma) == (0, 0, forecast.STILL_SIGMA)
