"""How many requests are let in, and how they share the cores.

Requests that are let in are worked on side by side: their tiles go through one queue over all cores (`icegraph.segment.frames`), a few of
each request at a time, so that what arrives together runs together, none waits for others to come, and a large request does not hold up
small ones. Beyond `limit` requests one is told to come back, instead of waiting in a line without end.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from icegraph.serve.account import TOGETHER, WAITING, account
from icegraph.serve.refusal import Refused, Why

Result = TypeVar("Result")


class Abandoned(Exception):  # noqa: N818 - nothing went wrong
    """Nobody waits for the result any more."""


class Gate:
    """Lets requests in.

    Args:
        name: Whose requests, for the metrics.
        at_once: Requests worked on side by side.
        limit: Requests let in, at work and waiting.
    """

    def __init__(self, name: str, at_once: int, limit: int) -> None:
        self._name, self._limit = name, limit
        self._threads = ThreadPoolExecutor(at_once, name)
        self._inside = self._at_work = 0
        self._typical_s = 0.5
        self._lock = threading.Lock()

    @contextmanager
    def let_in(self) -> Iterator[None]:
        """Hold a place while the block lasts.

        Raises:
            Refused: All are taken.
        """
        if self._inside >= self._limit:
            wait = max(1, round(self._typical_s * self._inside / 2))
            raise Refused(Why.BUSY, f"{self._inside} requests are at work or waiting; ask again in {wait} s.", retry_after_s=wait)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def run(self, work: Callable[[Callable[[], None]], Result], part: str = "predict") -> Result:
        """Do work in a thread, when its turn comes; where the caller is cancelled, it ends at its next check.

        Args:
            work: Is given a check, which raises `Abandoned` once nobody waits.
            part: What its time is called in the request's account.
        """
        known, gone, asked = account(), threading.Event(), time.perf_counter()

        def check() -> None:
            if gone.is_set():
                raise Abandoned

        def begin() -> Result:
            WAITING.labels(self._name).dec()
            check()
            known.add("queue", time.perf_counter() - asked)
            with self._lock:
                self._at_work += 1
                TOGETHER.labels(self._name).observe(self._at_work)
            start = time.perf_counter()
            try:
                return work(check)
            finally:
                taken = time.perf_counter() - start
                known.add(part, taken)
                with self._lock:
                    self._at_work -= 1
                    self._typical_s += 0.1 * (taken - self._typical_s)

        WAITING.labels(self._name).inc()
        turn = self._threads.submit(begin)
        turn.add_done_callback(lambda ended: WAITING.labels(self._name).dec() if ended.cancelled() else None)
        try:
            return await asyncio.wrap_future(turn)
        finally:
            gone.set()

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=True, cancel_futures=True)
