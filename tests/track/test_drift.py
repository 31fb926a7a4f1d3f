from dataclasses import replace

import netCDF4
import numpy as np
import pytest
import xarray as xr
from ice_fields import START, field, scale, seen
from pyproj import CRS, Geod, Proj

from icegraph.graph import build_graph, read_graph
from icegraph.graph.pattern import PatternDrift
from icegraph.track.drift import centroid_sigma_m, drift_vectors, write_drift
from icegraph.track.link import Link

SECONDS = 6 * 3600.0
POLE = float(scale(np.zeros((1, 2)))[0])


def graph_of(tmp_path, tables):
    build_graph(tables, tmp_path / "graph")
    return read_graph(tmp_path / "graph")


def whole(graph, first=0, second=1, confidence=1.0):
    return [Link(first, k, second, k, confidence) for k in range(len(graph.passes[first].nodes))]


def test_shift_and_solid_rotation_come_back_exactly(tmp_path):
    turn = 0.02
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    table = field(50, np.random.default_rng(0))
    graph = graph_of(tmp_path, [seen(table, "a", 0), seen(table, "b", 6, move=lambda xy: xy @ spin.T + np.array([2000.0, -800.0]))])
    vectors = drift_vectors(graph, whole(graph))
    xy = table[["x", "y"]].to_numpy()
    np.testing.assert_allclose(vectors.velocity, (xy @ (spin - np.eye(2)).T + [2000.0, -800.0]) / SECONDS / POLE, rtol=1e-4)
    # A linear field is no scatter, so sigma is that of the centroids, and every vector is trusted.
    np.testing.assert_allclose(vectors.sigma, vectors.place_sigma)
    assert vectors.sigma.max() < 0.01
    np.testing.assert_allclose(vectors.confidence, 1)


def test_an_outlier_loses_confidence_and_its_neighbours_do_not(tmp_path):
    table = field(60, np.random.default_rng(0))
    wrong = 17

    def move(xy):
        xy = xy + np.random.default_rng(1).normal(0, 60, xy.shape) + 1500.0
        xy[wrong] += 9000.0
        return xy

    graph = graph_of(tmp_path, [seen(table, "a", 0), seen(table, "b", 6, move=move)])
    confidence = drift_vectors(graph, whole(graph)).confidence
    assert confidence[wrong] < 0.05
    assert np.delete(confidence, wrong).min() > 0.5


def test_sigma_shows_the_scatter_of_the_neighbours(tmp_path):
    table = field(150, np.random.default_rng(0))
    noise = np.random.default_rng(1).normal(0, 800.0, (150, 2))
    graph = graph_of(tmp_path, [seen(table, "a", 0), seen(table, "b", 6, move=lambda xy: xy + noise)])
    assert np.median(drift_vectors(graph, whole(graph)).sigma) == pytest.approx(800 / SECONDS / POLE, rel=0.4)


def test_centroid_sigma_covers_what_redrawn_outlines_do():
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:40, :40] - 19.5
    for radius in (5, 12):
        places = []
        for _ in range(300):
            shift = rng.uniform(-0.5, 0.5, 2)
            away = np.hypot(row - shift[0], col - shift[1])
            mask = away + rng.normal(0, 0.5, away.shape) < radius
            places.append(np.array([row[mask].mean(), col[mask].mean()]) - shift)
        sigma = centroid_sigma_m(np.array([np.pi * (radius * 100.0) ** 2]), 100.0)[0]
        outline = np.sqrt(sigma**2 - 100**2 / 12)
        assert 0.5 * outline < 100 * np.std(places) < outline


def test_passes_at_one_time_give_no_velocity(tmp_path):
    table = field(20, np.random.default_rng(0))
    graph = graph_of(tmp_path, [seen(table, "a", 0), seen(table, "b", 0)])
    vectors = drift_vectors(graph, whole(graph))
    assert np.isnan(vectors.velocity).all()
    write_drift(graph, vectors, tmp_path / "drift.nc", {})
    assert xr.open_dataset(tmp_path / "drift.nc").sizes["time"] == 0


def test_field_of_a_uniform_drift_is_uniform_and_nan_where_no_floe_is(tmp_path):
    table = field(40, np.random.default_rng(0), side_m=40_000.0)
    graph = graph_of(tmp_path, [seen(table, "a", 0), seen(table, "b", 6, move=lambda xy: xy + np.array([1000.0, 500.0]))])
    write_drift(graph, drift_vectors(graph, whole(graph)), tmp_path / "drift.nc", {})
    drift = xr.open_dataset(tmp_path / "drift.nc")
    u, v = drift["sea_ice_x_velocity"].values[0], drift["sea_ice_y_velocity"].values[0]
    seen_cells = np.isfinite(u)
    np.testing.assert_allclose(u[seen_cells], 1000 / SECONDS / POLE, rtol=1e-4)
    np.testing.assert_allclose(v[seen_cells], 500 / SECONDS / POLE, rtol=1e-4)
    assert np.array_equal(seen_cells, drift["number_of_vectors"].values[0] > 0)
    x, y = np.meshgrid(drift["x"], drift["y"])
    middle = table[["x", "y"]].to_numpy() + np.array([500.0, 250.0])
    away = np.min(np.hypot(x[..., None] - middle[:, 0], y[..., None] - middle[:, 1]), axis=2)
    assert np.array_equal(seen_cells, away <= 2 * drift.attrs["cell_size_m"])
    assert not seen_cells.all()


def test_patches_of_ice_fill_the_field_where_no_floe_is(tmp_path):
    table = field(40, np.random.default_rng(0), side_m=40_000.0)
    graph = graph_of(
        tmp_path, [seen(table, name, 6 * k, move=lambda xy, k=k: xy + k * np.array([1000.0, 500.0])) for k, name in enumerate("abc")]
    )
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-90_000.0, 90_000, 6000), np.arange(-90_000.0, 90_000, 6000)))
    ice = PatternDrift(np.column_stack([x, y]), np.tile([1000.0, 500.0], (x.size, 1)), np.full(x.size, 0.8), 6000.0, 100.0)
    pairs = [replace(pair, pattern=ice) if pair.second == pair.first + 1 else pair for pair in graph.pairs]
    floes = drift_vectors(graph, whole(graph))
    write_drift(graph, floes, tmp_path / "floes.nc", {})
    write_drift(replace(graph, pairs=pairs), floes, tmp_path / "drift.nc", {})
    few, drift = (xr.open_dataset(tmp_path / name)["sea_ice_x_velocity"] for name in ("floes.nc", "drift.nc"))
    assert few.sizes["time"] == 1
    assert drift.sizes["time"] == 2
    assert np.isfinite(drift.values).mean() > 0.8 > 2 * np.isfinite(few.values).mean()
    np.testing.assert_allclose(drift.values[np.isfinite(drift.values)], 1000 / SECONDS / POLE, rtol=0.01)


def test_cut_floes_are_marked_and_left_out_of_the_field(tmp_path):
    table = field(30, np.random.default_rng(0))
    table["touches_edge"] = table["x"] > 0
    graph = graph_of(tmp_path, [seen(table, "a", 0), seen(table, "b", 6, move=lambda xy: xy + np.where(xy[:, :1] > 0, 5000.0, 300.0))])
    vectors = drift_vectors(graph, whole(graph))
    assert np.array_equal(vectors.cut, table["touches_edge"].to_numpy())
    assert vectors.confidence[vectors.cut].max() <= 0.5
    write_drift(graph, vectors, tmp_path / "drift.nc", {})
    field_u = xr.open_dataset(tmp_path / "drift.nc")["sea_ice_x_velocity"].values
    np.testing.assert_allclose(field_u[np.isfinite(field_u)], 300 / SECONDS / POLE, rtol=1e-4)


def test_a_vector_over_a_gap_counts_in_each_interval_it_spans(tmp_path):
    table = field(30, np.random.default_rng(0))
    graph = graph_of(tmp_path, [seen(table, name, 6 * k, move=lambda xy, k=k: xy + 400.0 * k) for k, name in enumerate("abc")])
    write_drift(graph, drift_vectors(graph, whole(graph, 0, 2)), tmp_path / "drift.nc", {})
    drift = xr.open_dataset(tmp_path / "drift.nc")
    assert drift.sizes["time"] == 2
    np.testing.assert_array_equal(drift["number_of_vectors"][0], drift["number_of_vectors"][1])
    assert drift["number_of_vectors"].max() > 0


def test_file_says_what_cf_asks(tmp_path):
    table = field(30, np.random.default_rng(0))
    graph = graph_of(tmp_path, [seen(table, "a", 0), seen(table, "b", 6, move=lambda xy: xy + 300.0)])
    vectors = drift_vectors(graph, whole(graph))
    write_drift(graph, vectors, tmp_path / "drift.nc", {})
    with netCDF4.Dataset(tmp_path / "drift.nc") as raw:
        assert raw.Conventions == "CF-1.8"
        for axis in "xy":
            variable = raw[f"sea_ice_{axis}_velocity"]
            assert (variable.standard_name, variable.units, variable.grid_mapping) == (f"sea_ice_{axis}_velocity", "m s-1", "crs")
            assert raw[axis].standard_name == f"projection_{axis}_coordinate"
            assert variable.coordinates.split() in (["lat", "lon"], ["lon", "lat"])
        assert raw["crs"].grid_mapping_name == "polar_stereographic"
        assert (raw["crs"].latitude_of_projection_origin, raw["crs"].standard_parallel) == (90.0, 70.0)
        assert CRS.from_cf(raw["crs"].__dict__) == CRS("EPSG:3413")
        assert raw["time"].bounds == "time_bnds"
        np.testing.assert_allclose(raw["time_bnds"][0] - START.timestamp(), [0, SECONDS])
        assert len({float(step) for step in np.diff(raw["x"])}) == 1
    drift = xr.open_dataset(tmp_path / "drift.nc")
    assert drift["time"].values[0] == np.datetime64("2021-05-01T15:00")
    first = (tmp_path / "drift.nc").read_bytes()
    write_drift(graph, vectors, tmp_path / "drift.nc", {})
    assert (tmp_path / "drift.nc").read_bytes() == first


def test_the_southern_grids_pole_is_named(tmp_path):
    table = field(20, np.random.default_rng(0))
    graph = graph_of(tmp_path, [seen(table, name, 6 * k, crs="EPSG:3976") for k, name in enumerate("ab")])
    write_drift(graph, drift_vectors(graph, whole(graph)), tmp_path / "drift.nc", {})
    with netCDF4.Dataset(tmp_path / "drift.nc") as raw:
        assert raw["crs"].latitude_of_projection_origin == -90.0
        assert CRS.from_cf(raw["crs"].__dict__) == CRS("EPSG:3976")


def test_each_sea_has_a_regular_grid_and_intervals_of_its_own(tmp_path):
    table = field(20, np.random.default_rng(0))
    near = [seen(table, name, 6 * k) for k, name in enumerate("ab")]
    far = [seen(table, name, 6 * k + 2, move=lambda xy, k=k: xy + 2e6 + 500.0 * k) for k, name in enumerate("cd")]
    for one in far:
        one.attrs["icegraph"]["bounds"] = [2e6 + bound for bound in one.attrs["icegraph"]["bounds"]]
        one.attrs["icegraph"]["pixel_m"] = 1000.0
    lone = seen(table, "e", 3)
    lone.attrs["icegraph"]["bounds"] = [-2e6, -2e6, -1.9e6, -1.9e6]
    graph = graph_of(tmp_path, [*near, *far, lone])
    links = [Link(pair.first, k, pair.second, k, 1.0) for pair in graph.pairs for k in range(20)]
    write_drift(graph, drift_vectors(graph, links), tmp_path / "drift.nc", {})
    seas = xr.open_datatree(tmp_path / "drift.nc")
    assert seas.attrs["Conventions"] == "CF-1.8"
    assert list(seas.children) == ["sea_1", "sea_2"]
    for name, middle, cell, hour, drift in (("sea_1", 0, 3800, 0, 0), ("sea_2", 2e6, 8000, 2, 500)):
        sea = seas[name]
        assert sea.attrs["cell_size_m"] == cell
        for axis in ("x", "y"):
            assert set(np.abs(np.diff(sea[axis]))) == {cell}
            assert abs(float(sea[axis].mean()) - middle) <= cell
        np.testing.assert_array_equal(
            sea["time_bnds"] - np.datetime64("2021-05-01T12:00"), np.timedelta64(1, "h") * np.array([[hour, hour + 6]])
        )
        u = sea["sea_ice_x_velocity"].values
        assert np.isfinite(u).any()
        local = scale(np.full((1, 2), float(middle)))[0]
        np.testing.assert_allclose(u[np.isfinite(u)], drift / SECONDS / local, rtol=1e-2)


def test_an_interval_that_no_link_spans_is_left_out(tmp_path):
    table = field(30, np.random.default_rng(0))
    graph = graph_of(tmp_path, [seen(table, name, 6 * k, move=lambda xy, k=k: xy + 400.0 * k) for k, name in enumerate("abc")])
    write_drift(graph, drift_vectors(graph, whole(graph, 1, 2)), tmp_path / "drift.nc", {})
    with netCDF4.Dataset(tmp_path / "drift.nc") as raw:
        np.testing.assert_array_equal(raw["time_bnds"][:] - START.timestamp(), [[SECONDS, 2 * SECONDS]])


@pytest.mark.parametrize("lat", [55.0, 80.0])
def test_velocity_is_over_the_ground(tmp_path, lat):
    place = np.array(Proj("EPSG:3413")(-30.0, lat))
    table = field(30, np.random.default_rng(0))
    tables = [seen(table, name, 6 * k, move=lambda xy, k=k: xy + place + [3000.0 * k, 0.0]) for k, name in enumerate("ab")]
    graph = graph_of(tmp_path, tables)
    vectors = drift_vectors(graph, whole(graph))
    start, end = (Proj("EPSG:3413")(*ends.T, inverse=True) for ends in (vectors.start, vectors.end))
    distance = Geod(ellps="WGS84").inv(*start, *end)[2]
    np.testing.assert_allclose(np.linalg.norm(vectors.velocity, axis=1), distance / SECONDS, rtol=1e-5)
    at_pole = drift_vectors(graph_of(tmp_path / "pole", [seen(table, name, 6 * k) for k, name in enumerate("ab")]), whole(graph))
    np.testing.assert_allclose(vectors.place_sigma / at_pole.place_sigma, POLE / scale((vectors.start + vectors.end) / 2), rtol=1e-4)
