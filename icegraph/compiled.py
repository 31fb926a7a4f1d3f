"""Loops over pixels as machine code."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., object])


def compiled(function: _F) -> _F:
    """Compile a function of arrays and numbers by numba: without the interpreter's lock, kept on disk, division as NumPy's.

    Not with fastmath: the order of sums is part of the result, and the same pixels must give the same bytes in every window.
    """
    return cast(_F, numba.njit(nogil=True, cache=True, error_model="numpy")(function))
