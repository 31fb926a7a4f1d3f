import json
from datetime import timedelta

import numpy as np
import pytest
from ice_fields import START, field, scale, seen, write_scene
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter
from scipy.spatial import distance_matrix

from icegraph.errors import InputError
from icegraph.graph import build_graph, read_graph, write_floes
from icegraph.graph.nodes import NAMES, RADIOMETRY, floe_nodes, neighbours, spacing


@pytest.fixture
def table():
    return field(40, np.random.default_rng(0))


def test_graph_is_read_as_it_was_written_and_is_the_same_every_time(tmp_path, table):
    tables = [seen(table, name, hours, move=lambda xy: xy + 500) for name, hours in (("b", 6), ("a", 0), ("c", 12))]
    build_graph(tables, tmp_path / "one")
    build_graph(tables[::-1], tmp_path / "two")
    for file in ("graph.json", "graph.safetensors", "floes.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    graph = read_graph(tmp_path / "one")
    assert [entry.id for entry in graph.passes] == ["a", "b", "c"]
    assert [(pair.first, pair.second) for pair in graph.pairs] == [(0, 1), (0, 2), (1, 2)]
    fresh = floe_nodes(tables[1], 100.0)
    np.testing.assert_array_equal(graph.passes[0].nodes.xy, fresh.xy)
    np.testing.assert_array_equal(graph.passes[0].nodes.features, fresh.features)
    for entry in graph.passes:
        np.testing.assert_array_equal(entry.spatial, neighbours(entry.nodes.xy))
    assert load_file(tmp_path / "one" / "graph.safetensors")["nodes.features"].dtype == np.float32


def test_reach_is_speed_times_time_and_the_uncertainty_of_place(tmp_path, table):
    build_graph([seen(table, "a", 0), seen(table, "b", 6)], tmp_path / "graph", max_speed_m_s=0.5)
    graph = read_graph(tmp_path / "graph")
    assert graph.pairs[0].reach_m == pytest.approx(0.5 * 6 * 3600 * scale(np.zeros((1, 2)))[0] + 500 + 2 * 100)
    source, target = graph.pairs[0].candidates
    assert np.linalg.norm(graph.passes[0].nodes.xy[source] - graph.passes[1].nodes.xy[target], axis=1).max() <= graph.pairs[0].reach_m


def test_pairs_reach_four_passes_on_and_skip_those_that_do_not_overlap(tmp_path, table):
    tables = [seen(table, f"p{k}", 6 * k) for k in range(6)]
    away = seen(table, "q", 3, move=lambda xy: xy + 1e6)
    away.attrs["icegraph"]["bounds"] = [9e5, 9e5, 1.1e6, 1.1e6]
    build_graph([*tables, away], tmp_path / "graph")
    graph = read_graph(tmp_path / "graph")
    names = [(graph.passes[pair.first].id, graph.passes[pair.second].id) for pair in graph.pairs]
    assert names == [(f"p{i}", f"p{j}") for i in range(6) for j in range(i + 1, min(i + 5, 6))]


def test_nodes_have_the_same_features_whatever_the_bands(tmp_path, table):
    optical = seen(table, "optical", 0)
    radar = optical.rename(columns={"red_mean": "hv_db_mean", "red_std": "hv_db_std"}).assign(hh_db_mean=-15.0, hh_db_std=2.0)
    blind = optical.drop(columns=["red_mean", "red_std"])
    shapes = [floe_nodes(one, 100.0).features for one in (optical, radar, blind)]
    assert {shape.shape for shape in shapes} == {(40, len(NAMES))}
    np.testing.assert_array_equal(shapes[0][:, : RADIOMETRY.start], shapes[2][:, : RADIOMETRY.start])
    assert np.all(shapes[2][:, RADIOMETRY] == 0)


def test_a_brighter_pass_gives_the_same_radiometry(table):
    bright = seen(table, "bright", 0).assign(red_mean=lambda t: 0.1 + 1.4 * t["red_mean"])
    np.testing.assert_allclose(floe_nodes(bright, 100.0).features, floe_nodes(seen(table, "plain", 0), 100.0).features, atol=1e-5)


def test_neighbours_are_the_nearest_of_brute_force(table):
    xy = table[["x", "y"]].to_numpy()
    away = distance_matrix(xy, xy) + np.diag(np.full(40, np.inf))
    np.testing.assert_array_equal(neighbours(xy, 8), np.argsort(away, axis=1)[:, :8])
    assert neighbours(xy[:3], 8).shape == (3, 2)
    assert neighbours(xy[:1], 8).shape == (1, 0)
    twins = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0]])
    assert sorted(neighbours(twins, 1)[:2, 0].tolist()) == [0, 1]


def test_spacing_of_a_square_lattice_is_its_constant():
    xy = 700.0 * np.stack(np.meshgrid(np.arange(12), np.arange(12)), axis=-1).reshape(-1, 2)
    # The sixth neighbour of an inner node is a diagonal one: sqrt(pi / 6) sqrt(2) = 1.02.
    assert np.median(spacing(xy)) == pytest.approx(700, rel=0.03)


def test_passes_that_pairs_join_are_one_sea(tmp_path, table):
    tables = [seen(table, f"p{k}", 6 * k) for k in range(6)]
    for k, left in zip(range(6), (0, 9e5, 1e5, 2e5, 9.5e5, -9e5), strict=True):
        tables[k].attrs["icegraph"]["bounds"] = [left, 0.0, left + 1.2e5, 1e5]
    build_graph(tables, tmp_path / "graph")
    assert read_graph(tmp_path / "graph").seas.tolist() == [0, 1, 0, 0, 1, 2]


def test_different_projections_are_refused(tmp_path, table):
    with pytest.raises(InputError, match="b: lies in EPSG:3976, a in EPSG:3413; build one graph for each projection"):
        build_graph([seen(table, "a", 0), seen(table, "b", 6, crs="EPSG:3976")], tmp_path / "graph")


def test_one_pass_twice_and_no_pass_are_refused(tmp_path, table):
    with pytest.raises(InputError, match="given more than once"):
        build_graph([seen(table, "a", 0), seen(table, "a", 6)], tmp_path / "graph")
    with pytest.raises(InputError, match="no floe tables"):
        build_graph([], tmp_path / "graph")


def test_a_pass_without_floes_is_a_pass(tmp_path, table):
    build_graph([seen(table, "a", 0), seen(table, "b", 6, keep=np.zeros(40, bool)), seen(table, "c", 12)], tmp_path / "graph")
    graph = read_graph(tmp_path / "graph")
    assert [len(entry.nodes) for entry in graph.passes] == [40, 0, 40]
    assert [pair.candidates.shape[1] > 0 for pair in graph.pairs] == [False, True, False]


def test_damaged_graphs_are_refused(tmp_path, table):
    build_graph([seen(table, "a", 0), seen(table, "b", 6)], tmp_path / "graph")
    about = json.loads((tmp_path / "graph" / "graph.json").read_text())
    (tmp_path / "graph" / "graph.json").write_text(json.dumps(about | {"features": ["area"]}))
    with pytest.raises(InputError, match="build the graph anew"):
        read_graph(tmp_path / "graph")
    (tmp_path / "graph" / "graph.json").write_text("{")
    with pytest.raises(InputError, match="not a readable graph"):
        read_graph(tmp_path / "graph")


def test_passes_whose_scenes_are_given_are_compared_pixel_by_pixel(tmp_path):
    ice = gaussian_filter(np.random.default_rng(0).standard_normal((300, 300)), 2) * 50
    labels = np.zeros((300, 300), np.uint32)
    labels[140:150, 100:112] = 1
    tables, scenes = [], {}
    for name, hours, shift in (("a", 0, 0), ("b", 6, 8)):
        folder, scene = write_scene(
            tmp_path / name,
            np.roll(labels, shift, axis=1),
            {"hh_db": np.roll(ice, shift, axis=1)},
            pass_id=name,
            time=START + timedelta(hours=hours),
        )
        tables.append(write_floes(folder, scene))
        scenes[name] = scene.folder
    build_graph(tables, tmp_path / "graph", scenes=scenes)
    (pair,) = read_graph(tmp_path / "graph").pairs
    assert len(pair.pattern) > 150
    assert (pair.pattern.patch_m, pair.pattern.pixel_m) == (3200.0, 100.0)
    np.testing.assert_allclose(np.median(pair.pattern.shift, axis=0), [800.0, 0.0], atol=10)
    np.testing.assert_allclose(pair.drift, [[800.0, 0.0]], atol=30)
    build_graph(tables, tmp_path / "plain")
    assert len(read_graph(tmp_path / "plain").pairs[0].pattern) == 0
