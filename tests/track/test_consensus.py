import numpy as np
import pytest

from icegraph.graph.pattern import PatternDrift
from icegraph.track.consensus import weigh

RNG = np.random.default_rng(0)
START = RNG.uniform(0, 100_000, (300, 2))
SIZE = np.full(300, 2_000.0)


def drifted(turn: float) -> np.ndarray:
    """The places after a drift and a turn, radians."""
    cos, sin = np.cos(turn), np.sin(turn)
    return START @ np.array([[cos, sin], [-sin, cos]]) + [3_000, -1_000]


TOGETHER = drifted(0.02)


@pytest.mark.parametrize("turn", [0.02, 0.4])
def test_matches_that_leave_their_neighbours_lose_belief_where_ice_drifts_together(turn: float) -> None:
    wild = RNG.random(300) < 0.3
    end = np.where(wild[:, None], RNG.uniform(0, 100_000, (300, 2)), drifted(turn))
    belief = weigh(START, end, SIZE, np.full(300, 0.8))
    assert (belief[wild] < 0.5).mean() > 0.95
    assert (belief[~wild] > 0.9).mean() > 0.98


def test_where_floes_drift_freely_their_neighbours_say_nothing() -> None:
    free = START + RNG.normal(0, 20_000, START.shape)
    assert (weigh(START, free, SIZE, np.full(300, 0.9)) > 0.8).all()


def test_where_ice_drifts_together_a_free_match_must_be_sure_by_itself() -> None:
    few = np.arange(300) < 30
    end = np.where(few[:, None], START + RNG.normal(0, 20_000, START.shape), TOGETHER)
    assert (weigh(START, end, SIZE, np.full(300, 0.7))[few] < 0.5).mean() > 0.9
    assert (weigh(START, end, SIZE, np.where(few, 0.999, 0.9))[few] > 0.7).all()


def test_a_lone_match_is_weighed_by_the_ice_around_it() -> None:
    ice = PatternDrift(START, TOGETHER - START, np.full(300, 0.8))
    place, size, unsure = START[:1] + 500, np.array([2_000.0]), np.array([0.75])
    along = place + (TOGETHER - START)[:1]
    assert weigh(place, along, size, unsure, ice)[0] > 0.95
    elsewhere = place + np.array([20_000.0, 5_000.0])
    assert weigh(place, elsewhere, size, unsure, ice)[0] < 0.5
    assert weigh(place, along, size, unsure)[0] == 0.75


def test_few_matches_are_left_as_they_are() -> None:
    confidence = np.array([0.6, 0.9, 0.7])
    assert (weigh(START[:3], START[[2, 0, 1]], SIZE[:3], confidence) == confidence).all()


def test_the_order_of_the_matches_does_not_matter() -> None:
    confidence = RNG.uniform(0.5, 0.99, 300)
    order = RNG.permutation(300)
    there = weigh(START[order], TOGETHER[order], SIZE, confidence[order])
    assert there == pytest.approx(weigh(START, TOGETHER, SIZE, confidence)[order])
