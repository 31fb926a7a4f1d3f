import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from ice_fields import field, seen

from icegraph.graph.candidates import candidate_edges, coarse_drift, unlikeness
from icegraph.graph.nodes import NOISE, floe_nodes


def nodes(number, seed, **options):
    return floe_nodes(seen(field(number, np.random.default_rng(seed)), "p", 0, **options), 100.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99), st.floats(100, 100_000))
def test_with_room_for_all_candidates_are_all_pairs_within_reach(first, second, seed, reach):
    a, b = nodes(first, seed), nodes(second, seed + 1)
    edges, _ = candidate_edges(a, b, reach, 200)
    expected = [(i, j) for i in range(first) for j in range(second) if np.hypot(*(a.xy[i] - b.xy[j])) <= reach]
    assert list(zip(*edges.tolist(), strict=True)) == expected


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.floats(5_000, 60_000))
def test_candidates_are_the_three_lists_of_a_plain_loop(seed, reach):
    a, b = nodes(25, seed), nodes(40, seed + 1)
    edges, drift = candidate_edges(a, b, reach, 12)
    unlike = unlikeness(a.features, b.features)
    for i in range(25):
        left = [j for j in range(40) if np.hypot(*(b.xy[j] - a.xy[i])) <= reach]
        chosen = []
        orders = (
            lambda j, i=i: np.hypot(*(b.xy[j] - a.xy[i] - drift[i])),
            lambda j, i=i: unlike[i, j],
            lambda j, i=i: np.hypot(*(b.xy[j] - a.xy[i])),
        )
        for order, most in zip(orders, (6, 4, 2), strict=True):
            best = sorted(left, key=order)[:most]
            chosen += best
            left = [j for j in left if j not in best]
        assert edges[1, edges[0] == i].tolist() == sorted(chosen)


def test_unlikeness_is_the_clipped_mean_of_a_plain_loop():
    a, b = nodes(5, 1), nodes(6, 2)
    gap = (a.features[:, None] - b.features[None]) / (np.sqrt(2) * NOISE)
    np.testing.assert_allclose(unlikeness(a.features, b.features), np.minimum(gap**2, 9).mean(axis=2), rtol=1e-5)


def test_coarse_drift_finds_a_common_displacement_of_many_spacings():
    table = field(120, np.random.default_rng(3))
    a = floe_nodes(seen(table, "a", 0), 100.0)
    b = floe_nodes(seen(table, "b", 24, move=lambda xy: xy + np.array([21_000, -17_000])), 100.0)
    drift = coarse_drift(a, b, 60_000)
    np.testing.assert_allclose(np.median(drift, axis=0), [21_000, -17_000], atol=500)
    assert (np.linalg.norm(drift - [21_000, -17_000], axis=1) < 2000).mean() > 0.95


def test_no_floes_give_no_candidates():
    a, none = nodes(5, 1), nodes(5, 1).take(np.zeros(5, bool))
    for one, other in ((a, none), (none, a), (none, none)):
        edges, drift = candidate_edges(one, other, 1e6)
        assert edges.shape == (2, 0)
        assert drift.shape == (len(one), 2)
