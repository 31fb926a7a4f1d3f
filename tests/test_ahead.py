"""Pieces worked on ahead of who takes their results."""

import os
import time
from collections.abc import Iterator

import pytest

from icegraph.ahead import map_ahead


def test_results_come_in_the_order_of_the_pieces() -> None:
    assert list(map_ahead(lambda n: n * n, range(50))) == [n * n for n in range(50)]


def test_no_more_pieces_are_begun_than_there_are_cores_beyond_the_one_taken() -> None:
    begun = []

    def pieces() -> Iterator[int]:
        for n in range(100):
            begun.append(n)
            yield n

    results = map_ahead(lambda n: n, pieces())
    for taken in range(1, 20):
        next(results)
        assert len(begun) <= taken + len(os.sched_getaffinity(0))


def test_an_error_reaches_who_takes_the_result() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_ahead(lambda n: 1 // n, (2, 1, 0, 1)))


def test_what_was_not_begun_when_an_error_came_is_not_done() -> None:
    workers, done = len(os.sched_getaffinity(0)), []

    def work(n: int) -> None:
        if n == 0:
            raise ValueError(n)
        time.sleep(0.5)
        done.append(n)

    with pytest.raises(ValueError, match="0"):
        list(map_ahead(work, range(100), ahead=10))
    assert len(done) <= 2 * workers  # of those that ten a core were ahead
