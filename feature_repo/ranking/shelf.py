"""Items in columns: what training and serving hold of products while they compute.

Rows may be products of the catalogue as of one moment (a :class:`Shelf`) or products at many moments (training rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Entity, decayed_sums
from feature_repo.ranking.successors import Successors
from feature_repo.reading import Floats, current_sums, item_rates

Codes = NDArray[np.int32]
UNKNOWN = -1

# A product is a new arrival for so many days, unless it came with the first load of the catalogue.
NEW_DAYS = 14.0
FIRST_LOAD_DAYS = 1.0

STORED_COLUMNS = (
    "last_event_at",
    *(aggregate.name for aggregate in decayed_sums(Entity.ITEM)),
    "category",
    "brand",
    "price",
    "previous_price",
    "stock",
    "first_seen_at",
)
# What of a product's state the rankers look at.
STATE = (
    "popularity",
    "click_through",
    "trend",
    "price_change",
    "age_days",
    "log_price",
    "impressions_7d",
    "orders_30d",
)
NUMERIC_COLUMNS = tuple(name for name in STORED_COLUMNS if name not in ("category", "brand"))


@dataclass
class Vocabulary:
    """Numbers for words (categories, brands), in order of first appearance; a missing word is :data:`UNKNOWN`."""

    codes: dict[str, int] = field(default_factory=dict)

    def encode(self, words: Sequence[Any]) -> Codes:
        """One code per word; new words get the next numbers."""
        codes = self.codes
        encoded = [codes.setdefault(word, len(codes)) if isinstance(word, str) and word else UNKNOWN for word in words]
        return np.array(encoded, dtype=np.int32)

    def word(self, code: int) -> str:
        """The word of a code."""
        return list(self.codes)[code]

    def starting_with(self, path: str) -> Codes:
        """Codes of a path and of all paths below it, levels separated by ``/``."""
        below = f"{path}/"
        # A copy, because another thread may be adding words.
        words = list(self.codes.items())
        return np.array([code for word, code in words if word == path or word.startswith(below)], dtype=np.int32)


@dataclass
class Vocabularies:
    """The numbering that rows must share to be compared with each other."""

    categories: Vocabulary = field(default_factory=Vocabulary)
    departments: Vocabulary = field(default_factory=Vocabulary)
    brands: Vocabulary = field(default_factory=Vocabulary)


@dataclass(frozen=True)
class Items:
    """Item rows; every array has shape (rows,).

    Attributes:
        category: code of the whole category path.
        department: code of the path's first level.
        brand: code of the brand.
        price: price, NaN if unknown.
        available: whether there is stock; unknown stock counts as available.
        sums: decayed sums as of the row's moment, by feature name.
        rates: what :func:`feature_repo.reading.item_rates` makes of them.
        last_event_at: when anything last happened to the item, epoch seconds; NaN if nothing has.
    """

    category: Codes
    department: Codes
    brand: Codes
    price: Floats
    available: NDArray[np.bool_]
    sums: dict[str, Floats]
    rates: dict[str, Floats]
    last_event_at: Floats

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], at: Floats | float, words: Vocabularies) -> Items:
        """From stored columns (:data:`STORED_COLUMNS`), as of ``at`` in epoch seconds."""
        categories = list(columns["category"])
        return cls.of(
            words.categories.encode(categories),
            words.departments.encode(list(map(department_of, categories))),
            words.brands.encode(list(columns["brand"])),
            {name: as_floats(columns[name]) for name in NUMERIC_COLUMNS},
            at,
        )

    @classmethod
    def of(
        cls, category: Codes, department: Codes, brand: Codes, numeric: Mapping[str, Floats], at: Floats | float
    ) -> Items:
        """From codes and stored numbers (:data:`NUMERIC_COLUMNS`); none of the latter is kept."""
        sums = current_sums(Entity.ITEM, numeric, at)
        return cls(
            category=category,
            department=department,
            brand=brand,
            price=numeric["price"].copy(),
            available=~(numeric["stock"] <= 0),
            sums=sums,
            rates=item_rates(sums, numeric, at),
            last_event_at=numeric["last_event_at"].copy(),
        )

    def __len__(self) -> int:
        return len(self.category)

    @cached_property
    def state(self) -> Floats:
        """What is in :data:`STATE`, shape (rows, len(STATE)): logarithms of prices and sums, and rates as they are."""
        priced = {"log_price": log_prices(self.price)}
        logarithms = {name: np.log1p(self.sums[name]) for name in ("impressions_7d", "orders_30d")}
        columns = {**self.rates, **priced, **logarithms}
        return np.column_stack([columns[name] for name in STATE])

    def take(self, rows: NDArray[np.integer] | slice) -> Items:
        """The chosen rows."""
        return Items(
            self.category[rows],
            self.department[rows],
            self.brand[rows],
            self.price[rows],
            self.available[rows],
            {name: values[rows] for name, values in self.sums.items()},
            {name: values[rows] for name, values in self.rates.items()},
            self.last_event_at[rows],
        )


@dataclass(frozen=True)
class Shelf:
    """All products of the catalogue as of one moment; a product's row number is its code.

    Attributes:
        at: the moment, epoch seconds.
        ids: product ids by row.
        names: display names by row, None if unknown.
        items: the columns.
        words: the numbering of categories and brands.
        rows: row by product id.
        popular: all rows, the most popular first.
        trending: rows that are asked for more now than usual, the most striking first; often none.
        arrivals: rows of products that are new in the shop, those first that were shown least.
        successors: how strongly its products point to each other.
    """

    at: float
    ids: tuple[str, ...]
    names: tuple[str | None, ...]
    items: Items
    words: Vocabularies
    rows: Mapping[str, int]
    popular: Codes
    trending: Codes
    arrivals: Codes
    successors: Successors

    @classmethod
    def from_columns(
        cls, ids: Sequence[str], columns: Mapping[str, Any], at: float, words: Vocabularies | None = None
    ) -> Shelf:
        """From stored columns, each parallel to ``ids``; among them ``name`` and those of :mod:`.successors`."""
        words = words or Vocabularies()
        names = tuple(name if isinstance(name, str) else None for name in columns["name"])
        rows = {product_id: row for row, product_id in enumerate(ids)}
        items = Items.from_columns(columns, at, words)
        return cls.of(at, tuple(ids), names, items, words, rows, Successors.from_columns(columns, rows, at))

    @classmethod
    def of(
        cls,
        at: float,
        ids: tuple[str, ...],
        names: tuple[str | None, ...],
        items: Items,
        words: Vocabularies,
        rows: Mapping[str, int],
        successors: Successors,
    ) -> Shelf:
        """With the orders that follow from the rest."""
        popular = np.argsort(-items.rates["popularity"], kind="stable").astype(np.int32)
        return cls(at, ids, names, items, words, rows, popular, _trending(items), _arrivals(items), successors)

    def __len__(self) -> int:
        return len(self.ids)

    def prepare(self) -> None:
        """Compute now what the first question would."""
        _ = self.items.state, self._popular_by_department

    def encode(self, product_ids: Sequence[str]) -> Codes:
        """Row numbers of products; :data:`UNKNOWN` for those not in the catalogue."""
        find = self.rows.get
        return np.array([find(product_id, UNKNOWN) for product_id in product_ids], dtype=np.int32)

    def popular_in(self, department: int) -> Codes:
        """The rows of a department, the most popular first."""
        return self._popular_by_department[department]

    @cached_property
    def _popular_by_department(self) -> list[Codes]:
        departments = self.items.department[self.popular]
        order = np.argsort(departments, kind="stable")
        bounds = np.searchsorted(departments[order], np.arange(departments.max(initial=UNKNOWN) + 2))
        return [self.popular[order[begin:end]] for begin, end in pairwise(bounds.tolist())]

    def title(self, row: int) -> str:
        """What to call a product when talking to people."""
        return self.names[row] or self.ids[row]


def _trending(items: Items) -> Codes:
    """Rows in order of the surge of interest, times how much of it there is."""
    interest = items.sums["clicks_6h"] + items.sums["views_6h"] + 3 * items.sums["carts_6h"]
    surge = np.where(interest >= 1, items.rates["trend"] * np.log1p(interest), 0.0)
    order = np.argsort(-surge, kind="stable")
    return order[surge[order] > 0].astype(np.int32)


def _arrivals(items: Items) -> Codes:
    """Rows that have come lately and after the rest: when a whole catalogue is new, no product of it is."""
    age = items.rates["age_days"]
    oldest = np.max(age, initial=0.0, where=np.isfinite(age))
    rows = np.flatnonzero((age <= NEW_DAYS) & (age < oldest - FIRST_LOAD_DAYS)).astype(np.int32)
    return rows[np.argsort(items.sums["impressions_7d"][rows], kind="stable")]


def department_of(category: Any) -> str | None:
    """The first level of a category path; None for a missing one."""
    return category.split("/", 1)[0] if isinstance(category, str) else None


def log_prices(prices: Floats) -> Floats:
    """Natural logarithms; NaN for a price that is unknown or zero."""
    return np.log(np.where(prices > 0, prices, np.nan))


def as_floats(values: Any) -> Floats:
    """Numbers with None as NaN."""
    return np.array(values, dtype=float)
