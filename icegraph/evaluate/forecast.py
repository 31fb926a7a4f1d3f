"""How well places were forecast: each track is cut before a pass, forecast to that pass's time, and held against the known place there.

The same forecast is made by keeping the last velocity and by keeping the last place: a forecast that does not beat these is worth nothing.
An ellipse of probability p is the set of Mahalanobis distance below `track.forecast.radius(p)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icegraph.evaluate.tables import TrackTables
from icegraph.track import forecast
from icegraph.track.drift import LEAST_S

Point = tuple[float, float]


@dataclass(frozen=True)
class ForecastErrors:
    """Errors of forecast places, forecast minus known, metres along x and y.

    Args:
        error_m: Of the forecast, [N, 2].
        velocity_error_m: Of keeping the last velocity, [N, 2].
        position_error_m: Of keeping the last place, [N, 2].
        sigma_m: Semi-axes told along the major and the minor axis, [N, 2].
        angle_deg: Direction of the major axis from x towards y, [N].
        horizon_h: [N].
    """

    error_m: NDArray[np.float64]
    velocity_error_m: NDArray[np.float64]
    position_error_m: NDArray[np.float64]
    sigma_m: NDArray[np.float64]
    angle_deg: NDArray[np.float64]
    horizon_h: NDArray[np.float64]

    def metrics(self) -> dict[str, float]:
        """Root mean square errors, skill and the shares of known places inside the ellipses; empty without a forecast.

        `floes`, `horizon_h` (mean), `rmse_m`, `median_m`, the same of keeping the last velocity (`rmse_velocity_m`, `median_velocity_m`)
        and of staying put (`rmse_position_m`, `median_position_m`), `skill_over_velocity` and
        `skill_over_position` (1 − rmse / rmse of the other), `coverage_68`, `coverage_95`.
        """
        if not len(self.error_m):
            return {}
        rmse, velocity, position = map(_rmse, (self.error_m, self.velocity_error_m, self.position_error_m))
        squared = self._mahalanobis_squared()
        out = {
            "floes": len(self.error_m),
            "horizon_h": float(self.horizon_h.mean()),
            "rmse_m": rmse,
            "median_m": float(np.median(np.hypot(*self.error_m.T))),
            "rmse_velocity_m": velocity,
            "median_velocity_m": float(np.median(np.hypot(*self.velocity_error_m.T))),
            "rmse_position_m": position,
            "median_position_m": float(np.median(np.hypot(*self.position_error_m.T))),
            "coverage_68": float(np.mean(squared <= forecast.radius(0.68) ** 2)),
            "coverage_95": float(np.mean(squared <= forecast.radius(0.95) ** 2)),
        }
        if velocity > 0:
            out["skill_over_velocity"] = 1 - rmse / velocity
        if position > 0:
            out["skill_over_position"] = 1 - rmse / position
        return out

    def _mahalanobis_squared(self) -> NDArray[np.float64]:
        angle = np.radians(self.angle_deg)
        major = self.error_m[:, 0] * np.cos(angle) + self.error_m[:, 1] * np.sin(angle)
        minor = self.error_m[:, 1] * np.cos(angle) - self.error_m[:, 0] * np.sin(angle)
        return np.asarray((major / self.sigma_m[:, 0]) ** 2 + (minor / self.sigma_m[:, 1]) ** 2)


def hindcast(
    tables: TrackTables,
    known: Mapping[str, Mapping[int, Point]],
    identities: Mapping[str, Mapping[int, int]],
    times: Mapping[str, datetime],
    sensor_of: Mapping[str, str],
    place_sigma: NDArray[np.float64],
    cut: NDArray[np.bool_],
) -> dict[str, ForecastErrors]:
    """Forecast each pass from the tracks before it, for floes seen at least twice by then.

    Args:
        tables: The tracks.
        known: Pass id → identity → known (x, y), metres in the projection of the tracks.
        identities: Pass id → floe id → identity; a track is what its latest sighting is.
        times: Pass id → time.
        sensor_of: Pass id → sensor.
        place_sigma: Standard deviation of each coordinate of each of the tracks' sightings, metres.
        cut: Whether each of these floes touches the edge of what is seen.

    Returns:
        Sensor of the forecast pass → errors.
    """
    rows: dict[str, list[list[float]]] = {}
    sightings = tables.sightings.assign(place_sigma=place_sigma, cut=cut)
    for pass_id, truth in known.items():
        before = sightings[sightings["time"] < pd.Timestamp(times[pass_id])]
        last = _last_two(before)
        if not len(last):
            continue
        made = forecast_tracks(before, times[pass_id])
        for row in last.merge(made, on="track_id", suffixes=("", "_forecast")).itertuples(index=False):
            place = truth.get(identities.get(row.pass_id, {}).get(row.floe_id, 0))
            if place is None:
                continue
            seconds = (times[pass_id] - row.time.to_pydatetime()).total_seconds()
            kept = (row.x + row.vx * seconds - place[0], row.y + row.vy * seconds - place[1])
            errors = [row.x_forecast - place[0], row.y_forecast - place[1], *kept, row.x - place[0], row.y - place[1]]
            ellipse = [row.sigma_major_m, row.sigma_minor_m, row.angle_deg, seconds / 3600]
            rows.setdefault(sensor_of[pass_id], []).append([*errors, *ellipse])
    out = {}
    for sensor, values in rows.items():
        table = np.array(values, float)
        out[sensor] = ForecastErrors(table[:, 0:2], table[:, 2:4], table[:, 4:6], table[:, 6:8], table[:, 8], table[:, 9])
    return out


def forecast_tracks(sightings: pd.DataFrame, time: datetime) -> pd.DataFrame:
    """Run the tracker's Kalman filter along sightings, and on to a later time.

    Args:
        sightings: `track_id, time, x, y, place_sigma, confidence, cut`, in order of track and time; none of them later than what is to be
            known.
        time: When the places are wanted.

    Returns:
        `track_id, x, y, sigma_major_m, sigma_minor_m, angle_deg` at that time; the angle is that of the major axis from x towards y.
    """
    tracks = sightings["track_id"].to_numpy(np.int64)
    states = forecast.walk(
        forecast.Sightings(
            tracks,
            sightings["time"].map(pd.Timestamp.timestamp).to_numpy(float),
            sightings[["x", "y"]].to_numpy(float),
            sightings["place_sigma"].to_numpy(float),
            np.nan_to_num(sightings["confidence"].to_numpy(float)),
            sightings["cut"].to_numpy(bool),
        )
    )
    rows = []
    for last in np.flatnonzero(np.r_[tracks[1:] != tracks[:-1], True]):
        then = forecast.predict(states[last], time.timestamp())
        rows.append((tracks[last], then.mean[0], then.mean[1], *forecast.ellipse(then)))
    return pd.DataFrame(rows, columns=["track_id", "x", "y", "sigma_major_m", "sigma_minor_m", "angle_deg"])


def _last_two(sightings: pd.DataFrame) -> pd.DataFrame:
    """The latest sighting of each track that has two far enough apart, with the mean velocity `vx`, `vy` (m/s) since the one before."""
    latest = sightings.groupby("track_id").tail(2)
    groups = latest.groupby("track_id")
    lapse = groups["time"].diff().dt.total_seconds()
    latest = latest.assign(vx=groups["x"].diff() / lapse, vy=groups["y"].diff() / lapse)
    return latest[lapse >= LEAST_S][["track_id", "time", "pass_id", "floe_id", "x", "y", "vx", "vy"]]


def _rmse(error: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.sum(error**2, axis=1))))
