"""The products: names, categories, brands, prices, stock, popularity, and fashions that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion.simulator.vocabulary import CATEGORIES, STYLES

CURRENCY = "EUR"
PRICE_SPREAD = 0.45
OUT_OF_STOCK_SHARE = 0.05
NEW_ARRIVAL_SHARE = 0.15
OLDEST_DAYS = 700
ZIPF_EXPONENT = 0.7
TRENDS_PER_DAY = 3
TREND_DAYS = 2.5
TREND_REACH_DAYS = 8
TREND_STRENGTH = 2.5
NEWNESS_STRENGTH = 1.2
NEWNESS_DAYS = 5.0
DAY_SECONDS = 86_400

SHELVES: tuple[tuple[int, str, float], ...] = tuple(
    (top, f"{category.name}/{shelf.name}", shelf.price)
    for top, category in enumerate(CATEGORIES)
    for shelf in category.shelves
)
BRANDS: tuple[str, ...] = tuple(dict.fromkeys(brand for category in CATEGORIES for brand in category.brands))


@dataclass(frozen=True)
class Catalog:
    """Columns over the products' row numbers.

    Attributes:
        shelf: number of the sub-category, into ``SHELVES``.
        top: number of the category, into ``CATEGORIES``.
        brand: number of the brand, into ``BRANDS``.
        price_level: log price against the shelf's median, in standard deviations.
        log_popularity: standing popularity, Zipf-like.
        created: seconds since 1970.
        seed: of the trends.
    """

    ids: Sequence[str]
    names: Sequence[str]
    shelf: npt.NDArray[np.int_]
    top: npt.NDArray[np.int_]
    brand: npt.NDArray[np.int_]
    price: npt.NDArray[np.float64]
    price_level: npt.NDArray[np.float32]
    stock: npt.NDArray[np.int64]
    created: npt.NDArray[np.float64]
    log_popularity: npt.NDArray[np.float64]
    seed: int

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {product: row for row, product in enumerate(self.ids)}

    @cached_property
    def shelf_members(self) -> npt.NDArray[np.int_]:
        """Rows of the products on each shelf, filled up with -1; shape (shelves, products on the fullest)."""
        members = np.full((len(SHELVES), np.bincount(self.shelf).max()), -1)
        for shelf in range(len(SHELVES)):
            rows = np.flatnonzero(self.shelf == shelf)
            members[shelf, : len(rows)] = rows
        return members

    def attraction(self, day: int) -> npt.NDArray[np.float64]:
        """Log popularity on a day (counted from 1970), with the day's fashions; -inf before a product exists."""
        age = day - self.created / DAY_SECONDS
        newness = NEWNESS_STRENGTH * np.exp(-np.maximum(age, 0) / NEWNESS_DAYS)
        attraction = self.log_popularity + newness + self._trend(day)
        return np.where(age >= 0, attraction, -np.inf)

    def _trend(self, day: int) -> npt.NDArray[np.float64]:
        """What fashion adds: some products a day come into fashion, rise and fade."""
        trend = np.zeros(len(self))
        for peak in range(day - TREND_REACH_DAYS, day + TREND_REACH_DAYS + 1):
            products = np.random.default_rng([self.seed, peak]).integers(len(self), size=TRENDS_PER_DAY)
            trend[products] += TREND_STRENGTH * np.exp(-(((day - peak) / TREND_DAYS) ** 2))
        return trend

    def table(self, updated: datetime) -> pa.Table:
        """The catalogue file that a shop would export."""
        moments = pa.timestamp("ms", tz="UTC")
        return pa.table(
            {
                "product_id": pa.array(self.ids, pa.string()),
                "name": pa.array(self.names, pa.string()),
                "category": pa.array([SHELVES[shelf][1] for shelf in self.shelf], pa.string()),
                "brand": pa.array([BRANDS[brand] for brand in self.brand], pa.string()),
                "price": pa.array(self.price, pa.float64()),
                "currency": pa.array([CURRENCY] * len(self), pa.string()),
                "stock": pa.array(self.stock, pa.int64()),
                "image_url": pa.nulls(len(self), pa.string()),
                "updated_at": pa.array([updated] * len(self), moments),
                "created_at": pa.array((self.created * 1000).astype(np.int64), pa.int64()).cast(moments),
            }
        )


def invent_catalog(rng: np.random.Generator, size: int, start: datetime, end: datetime) -> Catalog:
    """``size`` products, some of which arrive between ``start`` and ``end``."""
    shelf = np.sort(np.concatenate([np.arange(len(SHELVES)), rng.integers(len(SHELVES), size=size)])[:size])
    top = np.array([SHELVES[number][0] for number in shelf])
    brand = np.array([BRANDS.index(CATEGORIES[number].brands[_skewed(rng)]) for number in top])
    level = rng.standard_normal(size)
    price = np.array([SHELVES[number][2] for number in shelf]) * np.exp(PRICE_SPREAD * level)
    stock = np.where(rng.random(size) < OUT_OF_STOCK_SHARE, 0, rng.integers(3, 250, size=size))
    names = _names(rng, shelf, brand)
    return Catalog(
        ids=[f"P{row + 1:05d}" for row in range(size)],
        names=names,
        shelf=shelf,
        top=top,
        brand=brand,
        price=np.maximum(np.round(price), 3) - 0.05,
        price_level=level.astype(np.float32),
        stock=stock,
        created=_arrivals(rng, size, start, end),
        log_popularity=-ZIPF_EXPONENT * np.log(rng.permutation(size) + 3.0),
        seed=int(rng.integers(2**31)),
    )


def _skewed(rng: np.random.Generator) -> int:
    """One of a category's five brands, the first ones larger."""
    return int(rng.choice(5, p=(0.32, 0.25, 0.19, 0.14, 0.10)))


def _arrivals(rng: np.random.Generator, size: int, start: datetime, end: datetime) -> npt.NDArray[np.float64]:
    old = (start - timedelta(days=OLDEST_DAYS)).timestamp(), start.timestamp()
    new = start.timestamp(), end.timestamp()
    return np.where(rng.random(size) < NEW_ARRIVAL_SHARE, rng.uniform(*new, size), rng.uniform(*old, size))


def _names(rng: np.random.Generator, shelves: npt.NDArray[np.int_], brands: npt.NDArray[np.int_]) -> list[str]:
    """``Maren Coastal Linen Wrap Dress``; a name that came up already gets the next number as a model."""
    nouns = [shelf.nouns for category in CATEGORIES for shelf in category.shelves]
    seen: dict[str, int] = {}
    names = []
    for shelf, brand in zip(shelves, brands, strict=True):
        materials = CATEGORIES[SHELVES[shelf][0]].materials
        words = (BRANDS[brand], rng.choice(STYLES), rng.choice(materials), rng.choice(nouns[shelf]))
        name = " ".join(words)
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return names
