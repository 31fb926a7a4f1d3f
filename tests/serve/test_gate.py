"""How requests are let in and run."""

import asyncio
import time
from collections.abc import Callable

import pytest

from icegraph.serve.gate import Gate
from icegraph.serve.refusal import Refused


def test_work_that_nobody_waits_for_ends_at_its_next_check_and_what_waits_never_begins() -> None:
    gate, steps, begun = Gate("test", at_once=1, limit=4), [], []

    def work(check: Callable[[], None]) -> None:
        while True:
            check()
            steps.append(None)
            time.sleep(0.005)

    async def leave() -> None:
        running = asyncio.create_task(gate.run(work))
        waiting = asyncio.create_task(gate.run(lambda check: begun.append(check)))
        while not steps:
            await asyncio.sleep(0.005)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)

    asyncio.run(leave())
    gate.close()  # waits for what is at work: it would never end
    assert steps
    assert not begun


def test_more_than_the_limit_is_refused_with_a_time_to_ask_again() -> None:
    gate = Gate("test", at_once=1, limit=2)
    with gate.let_in(), gate.let_in():
        with pytest.raises(Refused, match="2 requests are at work or waiting") as refusal, gate.let_in():
            pass
        assert refusal.value.retry_after_s >= 1
    with gate.let_in():
        pass
    gate.close()
