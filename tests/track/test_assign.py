import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from icegraph.track.assign import assign


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 9999), st.floats(0.2, 1.0))
def test_choice_is_that_of_linear_sum_assignment(first, second, seed, share):
    rng = np.random.default_rng(seed)
    gain = rng.normal(0.5, 2, (first, second))
    held = rng.random((first, second)) < share
    edges = np.array(np.nonzero(held))
    chosen = assign(edges, gain[held], (first, second))
    # The oracle: leaving a floe alone is a partner of gain 0, and a pair that is no candidate is never worth it.
    worth = np.where(held, np.maximum(gain, 0), 0)
    row, col = linear_sum_assignment(worth, maximize=True)
    oracle = {(i, j) for i, j in zip(row.tolist(), col.tolist(), strict=True) if worth[i, j] > 0}
    assert set(zip(*edges[:, chosen].tolist(), strict=True)) == oracle


@given(st.integers(0, 9999))
def test_order_of_candidates_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    edges = np.array(np.nonzero(rng.random((10, 12)) < 0.5))
    gain = rng.normal(0, 1, edges.shape[1])
    order = rng.permutation(edges.shape[1])
    one, other = edges[:, assign(edges, gain, (10, 12))], edges[:, order][:, assign(edges[:, order], gain[order], (10, 12))]
    assert set(zip(*one.tolist(), strict=True)) == set(zip(*other.tolist(), strict=True))


def test_a_better_total_beats_the_best_single_pair():
    edges = np.array([[0, 0, 1], [0, 1, 0]])
    assert assign(edges, np.array([3.0, 2.0, 2.0]), (2, 2)).tolist() == [1, 2]


def test_nothing_worth_it_and_nothing_at_all():
    assert assign(np.array([[0], [0]]), np.array([-0.1]), (1, 1)).tolist() == []
    assert assign(np.zeros((2, 0), np.int64), np.zeros(0), (3, 3)).tolist() == []
