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


def map_ahead(function: Callable[[Piece], Result], pieces: Iterable[Piece], ahead: int = 1) -> Iterator[Result]:
    """Results in the order of the pieces, made by as many threads as there are cores for this process.

    Numpy, scipy and GDAL let go of Python's lock for most of their work.

    Args:
        function: What to do with a piece.
        pieces: Taken one by one.
        ahead: Pieces a core that are begun or done before the one taken is given: 1 bounds memory, 2 where taking results is work too.
    """
    workers = cores()
    with ThreadPoolExecutor(workers) as pool:
        begun: deque[Future[Result]] = deque()
        try:
            for piece in pieces:
                begun.append(pool.submit(function, piece))
                if len(begun) > ahead * workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
