import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from ice_fields import field, seen

from icegraph.graph.candidates import candidate_edges, coarse_drift, unlikeness
from icegraph.graph.nodes import NOISE, floe_nodes
from icegraph.graph.pattern import PatternDrift
from icegraph.graph.profile import best_fit


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
    unlike = unlikeness(a, b, np.indices((25, 40)).reshape(2, -1))[0].reshape(25, 40)
    for i in range(25):
        left = [j for j in range(40) if np.hypot(*(b.xy[j] - a.xy[i])) <= reach]
        chosen = []
        orders = (
            lambda j, i=i: np.hypot(*(b.xy[j] - a.xy[i] - drift[i])),
            lambda j, i=i: unlike[i, j],
            lambda j, i=i: np.hypot(*(b.xy[j] - a.xy[i])),
        )
        for order, most in zip(orders, (4, 6, 2), strict=True):
            best = sorted(left, key=order)[:most]
            chosen += best
            left = [j for j in left if j not in best]
        assert edges[1, edges[0] == i].tolist() == sorted(chosen)


def test_unlikeness_is_the_clipped_mean_of_a_plain_loop():
    a, b = nodes(5, 1), nodes(6, 2)
    pairs = np.indices((5, 6)).reshape(2, -1)
    _, turn, rest, _ = best_fit(a.profile, b.profile, pairs)
    expected = []
    for (i, j), left in zip(pairs.T, rest, strict=True):
        parts = [min(((x - y) / (np.sqrt(2) * noise)) ** 2, 9) for x, y, noise in zip(a.features[i], b.features[j], NOISE, strict=True)]
        noise = 0.5 * 100.0 + 0.05 * np.sqrt(a.size_m[i] * b.size_m[j])
        expected.append((sum(parts) + 8 * min((left / noise) ** 2, 9)) / (len(NOISE) + 8))
    told, turns = unlikeness(a, b, pairs)
    np.testing.assert_allclose(told, expected, rtol=1e-4)
    assert (turns == turn).all()


def test_a_large_reach_keeps_the_true_partner_of_floes_dealt_to_new_places():
    """More floes lie within reach than are compared one by one."""
    table = field(400, np.random.default_rng(3))
    a = floe_nodes(seen(table, "a", 0), 100.0)
    b = floe_nodes(seen(table, "b", 24, move=lambda xy: np.random.default_rng(1).permutation(xy)), 100.0)
    edges, _ = candidate_edges(a, b, 200_000)
    assert (edges[0] == edges[1]).sum() > 0.99 * 400
    assert np.bincount(edges[0]).max() <= 24


def test_coarse_drift_finds_a_turn_of_the_whole_field():
    table = field(120, np.random.default_rng(3))
    a = floe_nodes(seen(table, "a", 0), 100.0)
    angle = np.radians(140)
    spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    b = floe_nodes(seen(table, "b", 24, move=lambda xy: xy @ spin), 100.0).turned(np.full(120, angle))
    off = np.linalg.norm(coarse_drift(a, b, 100_000) - (b.xy - a.xy), axis=1)
    assert np.median(off) < 3000
    assert np.median(np.linalg.norm(b.xy - a.xy, axis=1)) > 30_000


def test_coarse_drift_finds_a_common_displacement_of_many_spacings():
    table = field(120, np.random.default_rng(3))
    a = floe_nodes(seen(table, "a", 0), 100.0)
    b = floe_nodes(seen(table, "b", 24, move=lambda xy: xy + np.array([21_000, -17_000])), 100.0)
    drift = coarse_drift(a, b, 60_000)
    np.testing.assert_allclose(np.median(drift, axis=0), [21_000, -17_000], atol=500)
    assert (np.linalg.norm(drift - [21_000, -17_000], axis=1) < 2000).mean() > 0.95


def test_where_the_ice_was_followed_a_floe_is_looked_for_only_where_it_went():
    table = field(120, np.random.default_rng(3))
    a = floe_nodes(seen(table, "a", 0), 100.0)
    b = floe_nodes(seen(table, "b", 24, move=lambda xy: xy + np.array([4_000, -3_000])), 100.0)
    west = np.flatnonzero(a.xy[:, 0] < np.median(a.xy[:, 0]))
    pattern = PatternDrift(a.xy[west].astype(float), np.tile([4_000.0, -3_000.0], (len(west), 1)), np.ones(len(west)), patch_m=800.0)
    led = np.isfinite(pattern.at(a.xy)[:, 0])
    (one, other), _ = candidate_edges(a, b, 60_000, pattern=pattern)
    off = np.linalg.norm(b.xy[other] - a.xy[one] - [4_000, -3_000], axis=1)
    assert (off <= a.size_m[one] / 2 + 200)[led[one]].all()
    assert set(west) <= set(one[(one == other) & led[one]])
    assert (np.bincount(one, minlength=120)[~led] == 24).all()


def test_no_floes_give_no_candidates():
    a, none = nodes(5, 1), nodes(5, 1).take(np.zeros(5, bool))
    for one, other in ((a, none), (none, a), (none, none)):
        edges, drift = candidate_edges(one, other, 1e6)
        assert edges.shape == (2, 0)
        assert drift.shape == (len(one), 2)
