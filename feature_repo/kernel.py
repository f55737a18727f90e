"""Loops that are compiled: for the few hundred rows of one request, numpy spends most of its time on its calls, not on numbers.

What is compiled is kept beside the source (or, where that is read-only, in the user's cache), so that only the first process
after an installation waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast, overload

import numpy as np
from numba import njit
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])


@overload
def kernel(function: F) -> F: ...
@overload
def kernel(*, any_order: bool = ..., in_background: bool = ...) -> Callable[[F], F]: ...
def kernel(function: F | None = None, *, any_order: bool = False, in_background: bool = False) -> F | Callable[[F], F]:
    """Compile a function of numbers and numpy arrays when it is first called; dividing by zero gives what numpy gives.

    Args:
        any_order: sums may be added up in any order, many at a time.
        in_background: Python's lock is given away meanwhile. What a request computes keeps it: after some microseconds
            without, it might wait milliseconds to get it back.
    """
    fast = {"reassoc", "contract", "nsz"} if any_order else False
    compiled = partial(njit, error_model="numpy", nogil=in_background, fastmath=fast)

    def kept(function: F) -> F:
        try:
            return cast(F, compiled(function, cache=True))
        except RuntimeError:  # there is no folder to keep it in
            return cast(F, compiled(function))

    return kept(function) if function is not None else kept


@kernel(any_order=True)
def dot(one: NDArray[np.float32], other: NDArray[np.float32]) -> np.float32:
    """The product of two vectors, for loops that have one after the other; BLAS would cost more than it saves."""
    product = np.float32(0)
    for place in range(len(one)):
        product += one[place] * other[place]
    return product
