"""Waiting for a store that is away."""

import time
from collections.abc import Callable
from typing import TypeVar

from icegraph.errors import StoreAwayError

PATIENCE_S = 900.0
_LONGEST_WAIT_S = 30.0

T = TypeVar("T")


def patiently(call: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Do something with a store, and wait and do it again while the store is away.

    Raises:
        StoreAwayError: It was away for longer than `patience_s` seconds.
    """
    end, wait = time.monotonic() + patience_s, 1.0
    while True:
        try:
            return call()
        except StoreAwayError:
            if time.monotonic() + wait > end:
                raise
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
