"""The weather's motion: how strong it is, how long it is remembered, and that it hangs on the seed and the time alone."""

import numpy as np
import pytest

from icegraph.simulate.weather import Weather

DAY_S = 86400.0


def daily_velocities(days: int) -> np.ndarray:
    """Mean velocities of each day, m/s [seed, day, 2], where the velocity's standard deviation is 1."""
    return np.array([np.diff(Weather(seed, 1.0).path(days * DAY_S)[::24], axis=0) / DAY_S for seed in range(300)])


def test_a_days_drift_is_as_strong_and_as_lasting_as_a_process_of_two_days_memory_that_is_shaken() -> None:
    found, memory = daily_velocities(4), 2.0
    gone = 1 - np.exp(-1 / memory)
    shaken = 2 / 24  # two hours of the velocity's variance, a day
    variance = 2 * memory**2 * (1 / memory - gone) + shaken
    assert found.var() == pytest.approx(variance, rel=0.1)
    assert found.mean() == pytest.approx(0, abs=0.1)
    for lag in (1, 2, 3):
        expected = memory**2 * gone**2 * np.exp(-(lag - 1) / memory) / variance
        assert (found[:, lag:] * found[:, :-lag]).mean() / found.var() == pytest.approx(expected, abs=0.08)


def test_parts_of_a_way_make_the_whole() -> None:
    weather = Weather(3, 0.2)
    whole = weather.path(5 * DAY_S)
    assert np.array_equal(weather.path(2 * DAY_S), whole[:49])
    parts = [weather.shift(a, b) for a, b in ((0, 1234.5), (1234.5, 2 * DAY_S), (2 * DAY_S, 5 * DAY_S))]
    assert np.allclose(sum(parts), whole[-1])
    assert np.linalg.norm(weather.shift(0, DAY_S) - Weather(4, 0.2).shift(0, DAY_S)) > 1000
    assert len(weather.path(0)) == 1
