"""A tracks folder as plain tables, empty where a file is missing."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from icegraph.errors import InputError
from icegraph.evaluate.matching import Link

SIGHTING_COLUMNS = ("track_id", "time", "pass_id", "floe_id", "u", "v", "sigma", "confidence", "x", "y")
FIELD_COLUMNS = ("x", "y", "u", "v")
FORECAST_COLUMNS = ("track_id", "time", "horizon_h", "sigma_major_m", "sigma_minor_m", "angle_deg", "confidence", "x", "y")


@dataclass(frozen=True)
class TrackTables:
    """What a tracks folder says.

    Args:
        sightings: One row a sighting (`SIGHTING_COLUMNS`; x, y in metres of `crs`; u, v, sigma in m/s), in order of track and time.
        matches: Pairs of floes said to be the same.
        forecast: One row a track and horizon (`FORECAST_COLUMNS`).
        field: The latest drift of each cell of the drift field (`FIELD_COLUMNS`; metres of `crs`, m/s).
        crs: Projection of x, y; empty where there are no tracks.
    """

    sightings: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SIGHTING_COLUMNS)))
    matches: tuple[Link, ...] = ()
    forecast: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(FORECAST_COLUMNS)))
    field: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(FIELD_COLUMNS)))
    crs: str = ""

    def among(self, passes: Collection[str]) -> "TrackTables":
        """What the tables say of some passes alone."""
        sightings = self.sightings[self.sightings["pass_id"].isin(list(passes))].reset_index(drop=True)
        matches = tuple(link for link in self.matches if link.pass_from in passes and link.pass_to in passes)
        forecast = self.forecast[self.forecast["track_id"].isin(sightings["track_id"])].reset_index(drop=True)
        return TrackTables(sightings, matches, forecast, self.field, self.crs)

    def track_of(self, pass_id: str, *, seen_again: bool = False) -> dict[int, int]:
        """Floe id → track id in one pass; with `seen_again`, only tracks of several sightings."""
        here = self.sightings["pass_id"] == pass_id
        if seen_again:
            here &= self.sightings["track_id"].duplicated(keep=False)
        rows = self.sightings[here]
        return dict(zip(rows["floe_id"].astype(int).tolist(), rows["track_id"].astype(int).tolist(), strict=True))

    def places(self, pass_id: str) -> dict[int, tuple[float, float]]:
        """Floe id → (x, y) in one pass, metres."""
        here = self.sightings[self.sightings["pass_id"] == pass_id]
        return dict(zip(here["floe_id"].astype(int).tolist(), zip(here["x"].tolist(), here["y"].tolist(), strict=True), strict=True))


def read_tracks(folder: Path | None) -> TrackTables:
    """Read `tracks.parquet`, `matches.parquet`, `forecast.parquet` and `drift.nc`; a missing file gives an empty table.

    Raises:
        InputError: A file is there and cannot be read.
    """
    if folder is None:
        return TrackTables()
    sightings, crs = _read_points(folder / "tracks.parquet", SIGHTING_COLUMNS)
    forecast, forecast_crs = _read_points(folder / "forecast.parquet", FORECAST_COLUMNS)
    sightings = sightings.sort_values(["track_id", "time"], kind="stable", ignore_index=True)
    return TrackTables(
        sightings, _read_matches(folder / "matches.parquet"), forecast, _read_field(folder / "drift.nc"), crs or forecast_crs
    )


def _read_points(path: Path, columns: tuple[str, ...]) -> tuple[pd.DataFrame, str]:
    if not path.exists():
        return pd.DataFrame(columns=list(columns)), ""
    import geopandas as gpd

    try:
        frame = gpd.read_parquet(path)
        table: dict[str, Any] = {name: frame[name].to_numpy() for name in columns if name not in ("x", "y", "time")}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, f"not a table of tracks ({error})", "name a folder that track wrote") from error
    table |= {"x": frame.geometry.x.to_numpy(), "y": frame.geometry.y.to_numpy(), "time": pd.to_datetime(frame["time"], utc=True)}
    return pd.DataFrame(table)[list(columns)], frame.crs.to_string() if frame.crs else ""


def _read_matches(path: Path) -> tuple[Link, ...]:
    if not path.exists():
        return ()
    try:
        table = pd.read_parquet(path, columns=list(Link._fields))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, f"not a table of matches ({error})", "name a folder that track wrote") from error
    return tuple(Link(str(a), int(b), str(c), int(d)) for a, b, c, d in table.itertuples(index=False, name=None))


def _read_field(path: Path) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=list(FIELD_COLUMNS))
    import netCDF4
    import xarray as xr

    try:
        with netCDF4.Dataset(path) as file:
            seas = list(file.groups) or ["/"]
        parts = []
        for sea in seas:
            with xr.open_dataset(path, group=sea, engine="netcdf4") as drift:
                table = drift[["sea_ice_x_velocity", "sea_ice_y_velocity"]].to_dataframe().reset_index()
            table = table.rename(columns={"sea_ice_x_velocity": "u", "sea_ice_y_velocity": "v"}).dropna(subset=["u", "v"])
            parts.append(table.sort_values("time", kind="stable").drop_duplicates(["x", "y"], keep="last")[list(FIELD_COLUMNS)])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, f"not a drift field ({error})", "name a folder that track wrote") from error
    return pd.concat(parts, ignore_index=True)
