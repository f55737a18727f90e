"""Runs of elements that lie side by side in one flat array: what lists of different lengths become in columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def spread(starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> tuple[Integers, Integers]:
    """The elements of some runs, one run after the other.

    Args:
        starts, lengths: where each run begins in the flat array and how long it is, shape (runs,).

    Returns:
        The number of each element's run, and its place in the flat array, shape (sum of lengths,).
    """
    run = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(len(run)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return run, np.asarray(starts)[run] + within
