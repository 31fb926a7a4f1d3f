from itertools import product

import numpy as np
import pytest

from icegraph.track.likelihood import _marginals, beliefs

POINTS = 40.0


def test_marginals_on_a_tree_of_candidates_are_those_of_all_assignments():
    edges, shape = np.array([[0, 1, 1, 2, 3], [0, 0, 1, 1, 2]]), (4, 3)
    odds = np.array([1.0, 2.5, 0.3, 1.7, -1.0])
    weight = np.exp(odds - np.log(edges.shape[1] / shape[0]))
    total, pair = 0.0, np.zeros(5)
    for chosen in product((False, True), repeat=5):
        one, other = edges[:, list(chosen)]
        if len(set(one)) == len(one) and len(set(other)) == len(other):
            chance = weight[list(chosen)].prod()
            total += chance
            pair[list(chosen)] += chance
    found, first, second = _marginals(edges, shape, odds)
    np.testing.assert_allclose(found, pair / total, atol=2e-3)
    np.testing.assert_allclose(first, 1 - np.bincount(edges[0], pair / total), atol=4e-3)
    np.testing.assert_allclose(second, 1 - np.bincount(edges[1], pair / total), atol=4e-3)


def everyone(number, noise_px, rng, bright=0.0):
    """All pairs of `number` floes: outlines of one floe differ by `noise_px`, those of others by about two pixels."""
    edges = np.indices((number, number)).reshape(2, -1)
    own = edges[0] == edges[1]
    rest = np.where(own, noise_px * rng.uniform(0.8, 1.2, own.size), rng.uniform(1.0, 3.0, own.size))
    shade = rng.normal(0, 1, (number, 1))
    difference = (shade[edges[0]] - shade[edges[1]]) * bright
    away = rng.uniform(0, 1, (1, own.size))
    return beliefs(edges, (number, number), rest, np.full(own.size, POINTS), difference, away), own


@pytest.mark.parametrize("noise_px", [0.3, 0.6])
def test_what_redrawing_leaves_is_read_off_the_passes(noise_px):
    found, own = everyone(150, noise_px, np.random.default_rng(1))
    assert found.rest_px == pytest.approx(noise_px, rel=0.25)
    assert found.pair[own].min() > 0.9
    assert found.pair[~own].max() < 0.1


def test_brightness_tells_what_outlines_do_not():
    plain, own = everyone(40, 0.9, np.random.default_rng(2))
    bright, _ = everyone(40, 0.9, np.random.default_rng(2), bright=1.0)
    assert bright.pair[own].mean() > plain.pair[own].mean() + 0.1


def test_a_floe_without_a_partner_that_fits_is_alone():
    rng = np.random.default_rng(3)
    edges = np.indices((30, 30)).reshape(2, -1)
    rest = np.where(edges[0] == edges[1], 0.5, 4.0)
    rest[edges[0] == 0] = 4.0
    found = beliefs(edges, (30, 30), rest, np.full(900, POINTS), np.zeros((900, 3)), rng.uniform(0, 1, (1, 900)))
    assert found.first[0] > 0.8
    assert found.second[0] > 0.8
    assert found.first[1:].max() < 0.2


def test_no_candidates_leave_all_alone():
    found = beliefs(np.zeros((2, 0), np.int64), (2, 3), np.zeros(0), np.zeros(0), np.zeros((0, 3)), np.zeros((1, 0)))
    assert found.first.tolist() == [1, 1]
    assert found.second.tolist() == [1, 1, 1]
