from dataclasses import replace

import numpy as np
import pytest
from ice_fields import field, seen

from icegraph.graph.candidates import candidate_edges
from icegraph.graph.nodes import RADIOMETRY, floe_nodes, neighbours
from icegraph.track.pair import make_pair

PIXEL_M = 100.0


def pair_of(a, b, reach_m=20_000.0):
    edges, drift = candidate_edges(a, b, reach_m)
    return make_pair(a, b, (neighbours(a.xy), neighbours(b.xy)), edges, drift, reach_m), edges


@pytest.fixture(scope="module")
def floes():
    return floe_nodes(seen(field(60, np.random.default_rng(7)), "a", 0), PIXEL_M)


def test_a_floe_seen_again_has_the_largest_probability(floes):
    pair, edges = pair_of(floes, floes.turned(np.linspace(-3, 3, 60)))
    share = np.zeros((60, 60))
    share[tuple(edges)] = pair.belief
    assert (share.argmax(axis=1) == np.arange(60)).all()
    assert (share <= 1 + 1e-6).all()


def test_brightness_alone_tells_floes_of_one_shape_apart(floes):
    features = np.tile(floes.features[:1], (60, 1))
    features[:, RADIOMETRY] = np.random.default_rng(2).normal(0, 2, (60, 3))
    alike = replace(floes, features=features, profile=np.tile(floes.profile[:1], (60, 1)), size_m=np.tile(floes.size_m[:1], 60))
    pair, edges = pair_of(alike, alike)
    own = edges[0] == edges[1]
    share = pair.belief.numpy()
    assert own.sum() == 60
    assert share[own].mean() > 10 * share[~own].mean()


def test_at_another_scale_a_pair_looks_the_same(floes):
    order = np.random.default_rng(3).permutation(60)
    pair, edges = pair_of(floes, floes.take(order))
    scaled, edges_scaled = pair_of(floes.scaled(0.4), floes.take(order).scaled(0.4), 8_000.0)
    np.testing.assert_array_equal(edges_scaled, edges)
    # Of turns that fit as well, rounding decides.
    assert np.abs(scaled.belief - pair.belief).mean() < 1e-3
    assert np.abs(scaled.candidate_attributes - pair.candidate_attributes).mean() < 1e-3
