import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from ice_fields import START, field, scale, seen

from icegraph.calibrate import calibrate
from icegraph.errors import InputError, ModelError
from icegraph.evaluate.forecast import forecast_tracks
from icegraph.evaluate.tables import read_tracks
from icegraph.graph import build_graph, floe_table, make_graph
from icegraph.ingest import ingest
from icegraph.registry import SHIPPED
from icegraph.segment import segment
from icegraph.store import sha256
from icegraph.track.drift import centroid_sigma_m
from icegraph.track.follow import follow, track

EVENTS = ["begins", "ends", "parents", "children"]
STEP = np.array([900.0, -450.0])
SPEED = STEP / 21600 / scale(np.zeros((1, 2)))  # over the ground


def tables(number=60, passes=4, hours=6.0, keep=None):
    table = field(number, np.random.default_rng(21))
    return [
        seen(table, f"p{k}", hours * k, move=lambda xy, k=k: xy + STEP * k, keep=None if keep is None else keep(k)) for k in range(passes)
    ]


@pytest.fixture(scope="module")
def followed(tmp_path_factory, matcher):
    """Four passes of 60 floes in uniform drift; floe 5 is not seen in the second, floe 6 not in the second and third."""
    folder = tmp_path_factory.mktemp("followed")
    build_graph(tables(keep=lambda k: ~np.isin(np.arange(1, 61), {1: [5, 6], 2: [6]}.get(k, []))), folder / "graph")
    track(folder / "graph", matcher, folder / "tracks")
    return folder / "tracks"


def test_every_sighting_is_one_row_and_identities_are_tracks(followed):
    tracks = gpd.read_parquet(followed / "tracks.parquet")
    assert list(tracks.columns) == ["track_id", "time", "pass_id", "floe_id", "u", "v", "sigma", "confidence", *EVENTS, "geometry"]
    assert len(tracks) == 4 * 60 - 3
    assert tracks.groupby("floe_id")["track_id"].nunique().eq(1).all()
    assert sorted(tracks["track_id"].unique()) == list(range(1, 61))
    assert not tracks.duplicated(["track_id", "time"]).any()
    assert tracks.crs.to_epsg() == 3413
    assert str(tracks["time"].dtype) == "datetime64[us, UTC]"


def test_gaps_are_bridged_in_the_matches(followed):
    matches = pd.read_parquet(followed / "matches.parquet")
    assert list(matches.columns) == ["pass_from", "floe_from", "pass_to", "floe_to", "confidence"]
    assert (matches["floe_from"] == matches["floe_to"]).all()
    bridged = matches[(matches["pass_from"] == "p0") & (matches["pass_to"] != "p1")]
    assert bridged[["floe_from", "pass_to"]].values.tolist() == [[5, "p2"], [6, "p3"]]


def test_velocity_is_the_known_drift(followed):
    tracks = gpd.read_parquet(followed / "tracks.parquet")
    np.testing.assert_allclose(tracks["u"], SPEED[0], rtol=1e-3)
    np.testing.assert_allclose(tracks["v"], SPEED[1], rtol=1e-3)
    assert tracks["confidence"].between(0.3, 1).all()


def test_forecast_goes_on_in_the_same_direction_ever_more_slowly_and_grows_uncertain(followed):
    tracks = gpd.read_parquet(followed / "tracks.parquet")
    ahead = gpd.read_parquet(followed / "forecast.parquet")
    assert list(ahead.columns) == [
        "track_id",
        "time",
        "horizon_h",
        "sigma_major_m",
        "sigma_minor_m",
        "angle_deg",
        "dof",
        "confidence",
        "geometry",
    ]
    assert sorted(ahead["horizon_h"].unique()) == [6, 24, 48]
    assert len(ahead) == 3 * 60
    last = tracks.groupby("track_id").last()
    merged = ahead.merge(last[["geometry"]].rename(columns={"geometry": "last"}), on="track_id")
    moved = np.column_stack([merged.geometry.x - merged["last"].x, merged.geometry.y - merged["last"].y])
    share = moved @ STEP / (STEP @ STEP) / (merged["horizon_h"].to_numpy() / 6)
    np.testing.assert_allclose(moved, share[:, None] * STEP * merged["horizon_h"].to_numpy()[:, None] / 6, rtol=0.02, atol=30)
    means = pd.Series(share).groupby(merged["horizon_h"]).mean()
    assert 1 > means[6] > means[24] > means[48] > 0.4
    assert (ahead.groupby("track_id")["sigma_major_m"].diff().dropna() > 0).all()
    assert (ahead["sigma_major_m"] >= ahead["sigma_minor_m"]).all()
    assert ahead["time"].min().to_pydatetime() == START + pd.Timedelta(hours=24)


def test_everything_names_its_parents(tmp_path, followed, matcher):
    graph = followed.parent / "graph" / "graph.json"
    parents = {"graph.json": sha256(graph)} | {f"matcher {name}": sha256(matcher / name) for name in ("config.json", "model.safetensors")}
    told = [pd.read_parquet(followed / f"{name}.parquet").attrs["icegraph"] for name in ("matches", "tracks", "forecast")]
    told.append(json.loads(xr.open_dataset(followed / "drift.nc").attrs["icegraph"]))
    for about in told:
        assert {parent["name"]: parent["sha256"] for parent in about["icegraph:parents"]} == parents
        assert about["processing:software"]["icegraph"]


def test_a_hindcast_is_the_forecast_that_is_delivered(tmp_path, matcher):
    """Also for floes cut by an edge, and with a pass that follows another within minutes."""
    table = field(40, np.random.default_rng(21))
    table["touches_edge"] = table["x"] > 10_000
    stretch = np.array([[1.0, 0.0], [0.04, 1.0]])
    hours = (0.0, 6.0, 6.1, 12.0)
    passes = [
        seen(table, f"p{k}", h, move=lambda xy, h=h: xy @ (stretch - np.eye(2)) * h / 6 + xy + STEP * h / 6) for k, h in enumerate(hours)
    ]
    build_graph(passes, tmp_path / "graph")
    track(tmp_path / "graph", matcher, tmp_path / "tracks")
    tables = read_tracks(tmp_path / "tracks")
    floe = tables.sightings["floe_id"].to_numpy(int) - 1
    sigma = centroid_sigma_m(table["area_m2"].to_numpy()[floe], 100.0)
    sightings = tables.sightings.assign(place_sigma=sigma, cut=table["touches_edge"].to_numpy()[floe])
    assert len(tables.forecast)
    for time, delivered in tables.forecast.groupby("time"):
        made = forecast_tracks(sightings, time.to_pydatetime()).set_index("track_id").loc[delivered["track_id"]]
        for name in ("x", "y", "sigma_major_m", "sigma_minor_m"):
            np.testing.assert_allclose(made[name], delivered[name], rtol=1e-5, atol=0.01)


def test_drift_file_holds_the_field(followed):
    drift = xr.open_dataset(followed / "drift.nc")
    u = drift["sea_ice_x_velocity"].values
    assert drift.sizes["time"] == 3
    np.testing.assert_allclose(u[np.isfinite(u)], SPEED[0], rtol=1e-4)


def test_same_graph_and_model_give_the_same_bytes(tmp_path, matcher):
    build_graph(tables(20, 2), tmp_path / "graph")
    for name in ("one", "two"):
        track(tmp_path / "graph", matcher, tmp_path / name)
    for file in ("matches.parquet", "tracks.parquet", "drift.nc", "forecast.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_passes_without_floes_give_whole_but_empty_tables(tmp_path, matcher, followed):
    build_graph(tables(20, 3, keep=lambda _: np.zeros(20, bool)), tmp_path / "graph")
    track(tmp_path / "graph", matcher, tmp_path / "tracks")
    for file in ("tracks.parquet", "forecast.parquet"):
        empty, full = gpd.read_parquet(tmp_path / "tracks" / file), gpd.read_parquet(followed / file)
        assert len(empty) == 0
        assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert len(pd.read_parquet(tmp_path / "tracks" / "matches.parquet")) == 0
    assert np.isnan(xr.open_dataset(tmp_path / "tracks" / "drift.nc")["sea_ice_x_velocity"]).all()


@pytest.mark.parametrize("numbers", [(1, 1), (1, 5), (2, 2)])
def test_a_handful_of_floes_is_no_failure(tmp_path, matcher, numbers):
    build_graph(tables(5, 2, keep=lambda k: np.arange(5) < numbers[k]), tmp_path / "graph")
    track(tmp_path / "graph", matcher, tmp_path / "tracks")
    assert len(gpd.read_parquet(tmp_path / "tracks" / "tracks.parquet")) == sum(numbers)


def test_one_pass_and_passes_apart_are_refused(tmp_path, matcher):
    build_graph(tables(20, 1), tmp_path / "one")
    with pytest.raises(InputError, match="is the only pass, so no floe can be followed"):
        track(tmp_path / "one", matcher, tmp_path / "tracks")
    near, far = tables(20, 2)
    far.attrs["icegraph"]["bounds"] = [9e5, 9e5, 1e6, 1e6]
    build_graph([near, far], tmp_path / "apart")
    with pytest.raises(InputError, match="no two of these passes overlap"):
        track(tmp_path / "apart", matcher, tmp_path / "tracks")
    assert not (tmp_path / "tracks").exists()


def test_missing_model_is_told(tmp_path):
    build_graph(tables(20, 2), tmp_path / "graph")
    with pytest.raises(ModelError, match="not the config of a matcher"):
        track(tmp_path / "graph", tmp_path / "nothing", tmp_path / "tracks")


def test_floes_of_real_pack_ice_go_where_the_ice_goes(shared_data, tmp_path):
    """Two Sentinel-1 passes north of Greenland, two days apart; the pack turns slowly, by less than 700 m (tests/graph/test_pattern.py)."""
    listed = ingest(sorted((shared_data / "sentinel1_ew_pair").glob("*.json")), tmp_path / "manifest")
    scenes = [calibrate(entry, tmp_path / entry.id) for entry in listed.require_scenes()]
    floes = []
    for scene in scenes:
        segment(scene, SHIPPED / "segmenter-sar", tmp_path / "found" / scene.id)
        floes.append(floe_table(tmp_path / "found" / scene.id, scene))
    graph = make_graph(floes, scenes={scene.id: scene.folder for scene in scenes})
    found = follow(graph, SHIPPED / "matcher", "")
    places = [table.set_index("floe_id").geometry.centroid for table in floes]
    moved = np.array([places[0][one].distance(places[1][other]) for one, other in found.matches[["floe_from", "floe_to"]].to_numpy()])
    assert len(moved) > 150
    assert (moved < 700).mean() > 0.95
