"""Work on pieces of something large, a few at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def map_ahead(function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
    """Results in the order of the pieces, each worked on by a thread of its own, no more at once than there are cores for this process.

    Numpy, scipy and GDAL let go of Python's lock for most of their work.
    """
    workers = cores()
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[Result]] = deque()
        for piece in pieces:
            ahead.append(pool.submit(function, piece))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
