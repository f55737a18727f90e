"""The lists of products that visitors are shown: shelves, search results, the home page, and a shuffle to discover."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ingestion.simulator.catalog import DAY_SECONDS, SHELVES, Catalog
from ingestion.simulator.visits import Visits

LIST_LENGTH = 12
DRAWS = 24
NO_PRODUCT = -1
MORE_LISTS = 0.3
MOST_LISTS = 10
STAY_ON_INTENT = 0.7
NEIGHBOUR_SHELF = 0.2
POPULARITY_ON_SHELF = 0.7

Ints = npt.NDArray[np.int_]
Floats = npt.NDArray[np.float64]


class ListKind(IntEnum):
    """Which list; the lower-case name is its ``list_id``."""

    CATEGORY = 0
    SEARCH = 1
    HOME = 2
    DISCOVER = 3


KIND_SHARES = {ListKind.CATEGORY: 0.5, ListKind.SEARCH: 0.15, ListKind.HOME: 0.23, ListKind.DISCOVER: 0.12}


@dataclass(frozen=True)
class Lists:
    """Columns over lists shown.

    Attributes:
        visit: row of the visit.
        place: number of the list within its visit, from 0.
        shelf: what CATEGORY and SEARCH lists are about.
        products: rows of products by position, ``NO_PRODUCT`` after the last; shape (lists, LIST_LENGTH).
        attraction: log popularity of each on the day.
    """

    visit: Ints
    place: Ints
    kind: Ints
    shelf: Ints
    products: Ints
    attraction: Floats

    def __len__(self) -> int:
        return len(self.visit)


def show_lists(rng: np.random.Generator, catalog: Catalog, visits: Visits, available: npt.NDArray[np.bool_]) -> Lists:
    """The lists of each visit, from the products that are ``available`` (by row) and exist on the day."""
    count = np.minimum(rng.geometric(MORE_LISTS, len(visits)), MOST_LISTS)
    visit = np.repeat(np.arange(len(visits)), count)
    place = np.arange(len(visit)) - np.repeat(np.cumsum(count) - count, count)
    kind = rng.choice(list(KIND_SHARES), size=len(visit), p=list(KIND_SHARES.values()))
    shelf = _shelves(rng, visits.intent[visit])
    days, day = np.unique((visits.start[visit] // DAY_SECONDS).astype(int), return_inverse=True)
    attraction = np.array([np.where(available, catalog.attraction(number), -np.inf) for number in days])
    attraction = attraction.reshape(len(days), len(catalog))
    products = np.full((len(visit), LIST_LENGTH), NO_PRODUCT)
    on_shelf = kind <= ListKind.SEARCH
    products[on_shelf] = _from_shelf(rng, catalog, attraction, day[on_shelf], shelf[on_shelf])
    for number in range(len(days)):
        for wanted, weights in (
            (ListKind.HOME, np.exp(attraction[number])),
            (ListKind.DISCOVER, np.isfinite(attraction[number]).astype(float)),
        ):
            rows = np.flatnonzero((day == number) & (kind == wanted))
            products[rows] = _from_everything(rng, weights, len(rows))
    return Lists(visit, place, kind, shelf, products, attraction[day[:, None], products])


def _shelves(rng: np.random.Generator, intent: Ints) -> Ints:
    """Mostly the intent, sometimes a shelf beside it, now and then any other."""
    top_of = np.array([top for top, _, _ in SHELVES])
    first = np.searchsorted(top_of, top_of)
    size = np.bincount(top_of)[top_of]
    beside = first[intent] + rng.integers(0, size[intent])
    anywhere = rng.integers(len(SHELVES), size=len(intent))
    luck = rng.random(len(intent))
    return np.where(luck < STAY_ON_INTENT, intent, np.where(luck < STAY_ON_INTENT + NEIGHBOUR_SHELF, beside, anywhere))


def _from_shelf(rng: np.random.Generator, catalog: Catalog, attraction: Floats, day: Ints, shelf: Ints) -> Ints:
    """The most attractive products of each shelf, shaken by Gumbel noise so that each has its chance."""
    members = catalog.shelf_members
    rows = members[shelf]
    scores = np.where(rows >= 0, POPULARITY_ON_SHELF * attraction[day[:, None], rows], -np.inf)
    scores = scores + rng.gumbel(size=rows.shape).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :LIST_LENGTH]
    chosen = np.take_along_axis(rows, order, axis=1)
    chosen[~np.isfinite(np.take_along_axis(scores, order, axis=1))] = NO_PRODUCT
    return _padded(chosen)


def _from_everything(rng: np.random.Generator, weights: Floats, size: int) -> Ints:
    """``size`` lists of distinct products, drawn by weight; a list may come out shorter."""
    steps = np.cumsum(weights)
    draws = np.searchsorted(steps, rng.random((size, DRAWS)) * steps[-1], side="right")
    order = np.argsort(draws, axis=1, kind="stable")
    in_order = np.take_along_axis(draws, order, axis=1)
    repeated = np.zeros((size, DRAWS), dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], in_order[:, 1:] == in_order[:, :-1], axis=1)
    distinct_first = np.argsort(repeated, axis=1, kind="stable")
    draws[repeated] = NO_PRODUCT
    return np.take_along_axis(draws, distinct_first, axis=1)[:, :LIST_LENGTH]


def _padded(products: Ints) -> Ints:
    missing = LIST_LENGTH - products.shape[1]
    return np.pad(products, ((0, 0), (0, max(missing, 0))), constant_values=NO_PRODUCT)
