"""After how long a product is bought again, and what a customer may therefore be due to buy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.kernel import kernel
from feature_repo.ranking.shelf import UNKNOWN, Codes, Shelf
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats

if TYPE_CHECKING:
    from training.data.events import Interactions

# Orders of a product by a customer that lie closer together than this are one purchase.
SHORTEST_HOURS = 12.0
# Repeated purchases from which a product's own cycle is believed, and from which that of its category is.
PRODUCT_EVIDENCE = 5
CATEGORY_EVIDENCE = 20
# People buy again a little before they run out.
DUE_SHARE = 0.75


@dataclass(frozen=True)
class Repurchases:
    """The hours between repeated purchases by the same customer; arrays of shape (items,) by place in ``ids``.

    ``hours`` is the median, NaN where a product was never bought again; ``counts`` says how many gaps it rests on. A gap
    can be no longer than the history that was learnt from, so a short history makes cycles look shorter than they are.
    """

    ids: tuple[str, ...]
    hours: Floats
    counts: NDArray[np.int32]

    @classmethod
    def fit(cls, interactions: Interactions, ids: tuple[str, ...], before: float) -> Repurchases:
        """From orders before a moment (epoch seconds)."""
        past = interactions.before(before)
        orders = past.part(np.flatnonzero(past.actions == Action.ORDERED))
        place = np.lexsort((orders.times, orders.items, orders.customers))
        customers, items, times = orders.customers[place], orders.items[place], orders.times[place]
        gaps = np.diff(times) / 3600
        again = (customers[1:] == customers[:-1]) & (items[1:] == items[:-1]) & (gaps >= SHORTEST_HOURS)
        by_item = np.argsort(items[1:][again], kind="stable")
        items, gaps = items[1:][again][by_item], gaps[again][by_item]
        hours = np.full(len(ids), np.nan)
        found, begins = np.unique(items, return_index=True)
        for item, of_item in zip(found, np.split(gaps, begins[1:]), strict=False):
            hours[item] = np.median(of_item)
        return cls(ids, hours, np.bincount(items, minlength=len(ids)).astype(np.int32))

    def on(self, shelf: Shelf) -> Floats:
        """Each row's cycle in hours, shape (len(shelf),): its own, else its category's, else NaN."""
        rows = shelf.encode(self.ids)
        there = rows != UNKNOWN
        hours, counts = np.full(len(shelf), np.nan), np.zeros(len(shelf), dtype=np.int32)
        hours[rows[there]], counts[rows[there]] = self.hours[there], self.counts[there]
        cycles = np.where(counts >= PRODUCT_EVIDENCE, hours, np.nan)
        category = shelf.items.category
        for code in np.unique(category[(counts > 0) & (category != UNKNOWN)]):
            among = np.flatnonzero((category == code) & (counts > 0))
            if counts[among].sum() >= CATEGORY_EVIDENCE:
                cycles[(category == code) & np.isnan(cycles)] = _weighted_median(hours[among], counts[among])
        return cycles


def last_bought(visitor: Visitors) -> tuple[Codes, Floats]:
    """Products that one visitor is known to have bought, each once, the latest first, and the hours since."""
    return _last_bought(visitor.items[0], visitor.actions[0], visitor.hours[0])


@kernel
def _last_bought(items: Codes, actions: NDArray[np.int32], hours: Floats) -> tuple[Codes, Floats]:
    codes, since, found = np.empty(len(items), dtype=np.int32), np.empty(len(items)), 0
    for step in range(len(items)):
        if actions[step] == Action.ORDERED and items[step] != UNKNOWN and not (codes[:found] == items[step]).any():
            codes[found], since[found] = items[step], hours[step]
            found += 1
    return codes[:found], since[:found]


def not_due(visitor: Visitors, cycles: Floats) -> Codes:
    """What one visitor has bought and will hardly want again yet; what has no known cycle is never due."""
    codes, hours = last_bought(visitor)
    return codes[~(hours >= DUE_SHARE * cycles[codes])]


def _weighted_median(values: Floats, weights: NDArray[np.int32]) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
