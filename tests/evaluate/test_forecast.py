"""Forecast errors in closed form, and hindcasts of made-up tracks."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from icegraph.evaluate.forecast import ForecastErrors, forecast_tracks, hindcast
from icegraph.evaluate.tables import TrackTables
from icegraph.track.forecast import DOF

START = datetime(2024, 1, 1, tzinfo=UTC)


def errors(error, sigma=(10.0, 10.0), angle=0.0, velocity=None, position=None):
    error = np.array(error, float)
    ones = np.ones(len(error))
    velocity = error if velocity is None else np.array(velocity, float)
    position = error if position is None else np.array(position, float)
    return ForecastErrors(error, velocity, position, ones[:, None] * np.array(sigma), angle * ones, 24 * ones).metrics()


def test_skill_is_one_less_the_ratio_of_errors():
    figures = errors([[3.0, 4.0]], velocity=[[6.0, 8.0]], position=[[30.0, 40.0]])
    assert figures["rmse_m"] == 5
    assert figures["skill_over_velocity"] == pytest.approx(0.5)
    assert figures["skill_over_position"] == pytest.approx(0.9)


def test_coverage_of_errors_drawn_from_the_told_ellipse_is_what_the_ellipse_says():
    rng = np.random.default_rng(0)
    turn = np.radians(30)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    # Student's t in the plane: a normal of random width.
    width = np.sqrt(DOF / rng.chisquare(DOF, (20000, 1)))
    drawn = (width * rng.normal(size=(20000, 2)) * [50, 10]) @ axes
    figures = errors(drawn, sigma=(50, 10), angle=30.0)
    assert figures["coverage_68"] == pytest.approx(0.68, abs=0.01)
    assert figures["coverage_95"] == pytest.approx(0.95, abs=0.01)
    assert errors(drawn, sigma=(50, 10), angle=-30.0)["coverage_95"] < 0.9


def test_no_forecast_gives_no_figures():
    none = np.zeros((0, 2))
    assert ForecastErrors(none, none, none, none, np.zeros(0), np.zeros(0)).metrics() == {}


def tracks(velocities, passes=3, hours=24.0):
    """Tables of floes that move steadily from places 10 km apart."""
    rows = [
        {"track_id": t, "time": pd.Timestamp(START + timedelta(hours=hours * n)), "pass_id": f"p{n}", "floe_id": t, "u": u, "v": v}
        | {"sigma": 0.01, "confidence": 1.0, "x": 1e4 * t + u * 3600 * hours * n, "y": v * 3600 * hours * n}
        for t, (u, v) in enumerate(velocities, 1)
        for n in range(passes)
    ]
    return TrackTables(pd.DataFrame(rows), crs="EPSG:3413")


def run_hindcast(tables, passes=3, hours=24.0):
    known = {f"p{n}": {} for n in range(passes)}
    for row in tables.sightings.itertuples():
        known[row.pass_id][row.floe_id] = (row.x, row.y)
    identities = {p: {i: i for i in places} for p, places in known.items()}
    times = {f"p{n}": START + timedelta(hours=hours * n) for n in range(passes)}
    sigma = np.full(len(tables.sightings), 30.0)
    return hindcast(tables, known, identities, times, dict.fromkeys(known, "sar"), sigma, np.zeros(len(sigma), bool))


def test_steady_drift_is_forecast_from_the_passes_before():
    figures = run_hindcast(tracks([(0.1, -0.05)] * 6))["sar"].metrics()
    assert figures["floes"] == 6
    assert figures["horizon_h"] == 24
    assert figures["rmse_position_m"] == pytest.approx(np.hypot(0.1, 0.05) * 86400)
    assert figures["rmse_velocity_m"] == pytest.approx(0, abs=1e-6)
    assert figures["rmse_m"] < 0.4 * figures["rmse_position_m"]
    assert figures["coverage_95"] == 1


def test_the_pass_that_is_forecast_is_not_looked_at():
    straight, turned = tracks([(0.1, 0.0)] * 4), tracks([(0.1, 0.0)] * 4)
    last = turned.sightings["pass_id"] == "p2"
    turned.sightings.loc[last, "y"] += 5000.0
    turned.sightings.loc[turned.sightings["pass_id"] == "p1", ["u", "v"]] = 9.0  # velocity towards the hidden pass
    a, b = run_hindcast(straight)["sar"], run_hindcast(turned)["sar"]
    assert b.error_m - a.error_m == pytest.approx(np.array([[0, -5000.0]] * 4))


def test_two_passes_leave_nothing_to_forecast_from():
    assert run_hindcast(tracks([(0.1, 0.0)] * 4, passes=2), passes=2) == {}


def test_a_velocity_over_minutes_is_not_kept():
    assert run_hindcast(tracks([(0.1, 0.0)] * 4, hours=0.1), hours=0.1) == {}


def test_uncertainty_grows_with_the_horizon():
    sightings = tracks([(0.1, 0.0)] * 3).sightings.assign(place_sigma=30.0, cut=False)
    soon, late = (forecast_tracks(sightings, START + timedelta(hours=48 + h)) for h in (6, 48))
    assert (late["sigma_major_m"] > 3 * soon["sigma_major_m"]).all()
