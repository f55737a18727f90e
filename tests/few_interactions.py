"""A few hand-written interactions, for tests of what is learnt from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from training.data.events import Interactions, Labels


def interactions(
    *rows: tuple[int, int, Action, float],
    countries: Sequence[str | None] | None = None,
    devices: Sequence[str | None] | None = None,
) -> Interactions:
    """From (customer, item, action, time) in order of time."""
    customers, items, actions, times = (np.array(column) for column in zip(*rows, strict=True))
    return of_columns(customers, items, actions, times, countries, devices)


def of_columns(
    customers: NDArray[np.integer],
    items: NDArray[np.integer],
    actions: NDArray[np.integer],
    times: NDArray[np.number],
    countries: Sequence[str | None] | None = None,
    devices: Sequence[str | None] | None = None,
) -> Interactions:
    """From columns in order of time; customers are named by their numbers."""
    labels = [
        Labels.unknown(len(times)) if words is None else Labels.of(np.array(words, dtype=object))
        for words in (countries, devices)
    ]
    ids = np.array([f"c{number}" for number in range(int(customers.max(initial=-1)) + 1)], dtype=object)
    whole = (column.astype(np.int32) for column in (customers, items, actions))
    return Interactions(*whole, times.astype(float), *labels, ids)
