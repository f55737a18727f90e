"""How stored values are read: the one arithmetic that training, serving and notebooks share.

Stored sums are as of the row's last event; a reader decays them to the moment it asks for. All functions are vectorised
over rows and never mutate their input. Missing values count as no activity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Entity, LastK, decayed_sums

Floats = NDArray[np.float64]

# Click-through starts from one click in forty impressions, so that an item shown twice is not called the best.
PRIOR_CLICKS = 1.0
PRIOR_IMPRESSIONS = 40.0


def current_sums(entity: Entity, columns: Mapping[str, Any], at: Floats | float) -> dict[str, Floats]:
    """Every decayed sum of ``entity`` as of ``at``.

    Args:
        entity: whose sums.
        columns: stored columns by name, each of shape (rows,), among them ``last_event_at``.
        at: epoch seconds, one for all rows or shape (rows,).

    Returns:
        Arrays of shape (rows,), by feature name. Before a row's last event the stored value is returned as it is: an
        as-of join never asks for that, only a clock that runs behind does.
    """
    names, half_lives, which = _declared(entity)
    # All in a few calls: on the single row that a service reads, these are what takes time.
    stored = np.array([columns[name] for name in ("last_event_at", *names)], dtype=float)
    elapsed = at - stored[0]
    elapsed = np.where(elapsed > 0, elapsed, 0.0)
    values = np.where(np.isnan(stored[1:]), 0.0, stored[1:])
    sums = values * np.exp2(-elapsed / half_lives)[which]
    return dict(zip(names, sums, strict=True))


@cache
def _declared(entity: Entity) -> tuple[tuple[str, ...], Floats, NDArray[np.intp]]:
    """Names of the sums; their half-lives in seconds, each once, shape (half-lives, 1); and which of them each sum has."""
    declared = decayed_sums(entity)
    half_lives, which = np.unique([aggregate.half_life_seconds for aggregate in declared], return_inverse=True)
    return tuple(aggregate.name for aggregate in declared), half_lives[:, None], which


def item_rates(sums: Mapping[str, Floats], columns: Mapping[str, Any], at: Floats | float) -> dict[str, Floats]:
    """What a ranker and people want to know of items, from their current sums and catalogue columns.

    Returns:
        ``popularity``: log of decayed interactions, a cart counting 3 and an order 5; ``click_through``: clicks per
        impression with a prior; ``trend``: log2 of the last hours' rate over the last days'; ``price_change``: price
        over previous price minus 1; ``age_days``: days since the product appeared (missing: NaN).
    """
    interest = sums["clicks_7d"] + sums["views_7d"] + 3 * sums["carts_7d"] + 5 * sums["orders_7d"]
    # A decayed sum divided by its half-life is a rate up to a constant; one event a week is the noise floor.
    recently = (sums["clicks_6h"] + sums["views_6h"]) * 28 + 1
    usually = sums["clicks_7d"] + sums["views_7d"] + 1
    price = np.asarray(columns["price"], dtype=float)
    previous = np.asarray(columns["previous_price"], dtype=float)
    known = np.isfinite(price) & np.isfinite(previous) & (previous > 0)
    return {
        "popularity": np.log1p(interest),
        "click_through": (sums["clicks_7d"] + PRIOR_CLICKS) / (sums["impressions_7d"] + PRIOR_IMPRESSIONS),
        "trend": np.log2(recently / usually),
        "price_change": np.where(known, price / np.where(known, previous, 1.0) - 1.0, 0.0),
        "age_days": (at - np.asarray(columns["first_seen_at"], dtype=float)) / 86_400,
    }


@dataclass(frozen=True)
class Sequence:
    """One customer's sequence, newest first.

    Attributes:
        items: product ids.
        details: what is kept of each beside (:class:`feature_repo.aggregates.LastK`), shape (n,).
        times: epoch seconds, shape (n,).
    """

    items: tuple[str, ...]
    details: NDArray[np.int32]
    times: Floats

    @classmethod
    def from_columns(cls, items: Any, details: Any, times: Any) -> Sequence:
        """From the three stored arrays; missing ones give an empty sequence."""
        if items is None:
            return cls((), np.empty(0, np.int32), np.empty(0))
        return cls(tuple(items), np.asarray(details, dtype=np.int32), np.asarray(times, dtype=float) / 1000)

    @classmethod
    def of_rows(cls, declared: LastK, columns: Mapping[str, Any]) -> Iterator[Sequence]:
        """Those of several customers, from stored columns."""
        for row in zip(*(columns[name] for name in declared.columns), strict=True):
            yield cls.from_columns(*row)

    def __len__(self) -> int:
        return len(self.items)
