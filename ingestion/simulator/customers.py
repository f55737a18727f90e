"""The customers: who they are, how often they come, and what they truly like."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion.simulator.catalog import BRANDS, SHELVES, Catalog
from ingestion.simulator.vocabulary import CATEGORIES, COUNTRIES, DEVICES

CATEGORY_CONCENTRATION = 0.25
SHELF_CONCENTRATION = 0.6
ACTIVITY_SPREAD = 1.1
REGISTERED_SHARE = 0.65
SECOND_DEVICE_SHARE = 0.3
NEW_CUSTOMER_SHARE = 0.35
CATEGORY_WEIGHT, BRAND_WEIGHT, PRICE_WEIGHT = 1.0, 0.8, 0.5
AFFINITY_CLIP = 3.0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Customers:
    """Columns over the customers' row numbers.

    Attributes:
        activity: relative frequency of visits.
        joined: first possible visit, seconds since 1970.
        registered: has an account, and a user id once logged in.
        devices: numbers into ``DEVICES``, shape (customers, 2); the second is used by some.
        shelf_share: share of each shelf in the customer's interest, shape (customers, shelves), rows sum to 1.
        shelf_taste, brand_taste: what a shelf or brand adds to the affinity.
        price_level: the price the customer feels at home with, in standard deviations around a shelf's median.
    """

    activity: npt.NDArray[np.float64]
    joined: npt.NDArray[np.float64]
    registered: npt.NDArray[np.bool_]
    country: npt.NDArray[np.int_]
    devices: npt.NDArray[np.int_]
    has_second_device: npt.NDArray[np.bool_]
    shelf_share: Floats
    shelf_taste: Floats
    brand_taste: Floats
    price_level: Floats

    def __len__(self) -> int:
        return len(self.activity)

    def affinity(
        self, customers: npt.NDArray[np.int_], products: npt.NDArray[np.int_], catalog: Catalog
    ) -> npt.NDArray[np.float32]:
        """Elementwise affinity over row numbers (broadcast): shelf and brand liked, price near the usual one."""
        gap = catalog.price_level[products] - self.price_level[customers]
        raw = (
            CATEGORY_WEIGHT * self.shelf_taste[customers, catalog.shelf[products]]
            + BRAND_WEIGHT * self.brand_taste[customers, catalog.brand[products]]
            - PRICE_WEIGHT * (np.abs(gap) - 1)
        )
        clipped: npt.NDArray[np.float32] = np.clip(raw, -AFFINITY_CLIP, AFFINITY_CLIP)
        return clipped

    def row_of(self, identifier: str) -> int:
        """The row of a user id (``C00001``) or an anonymous id (``a-00001-1``).

        Raises:
            KeyError: there is no such customer.
        """
        match = re.fullmatch(r"C(\d+)|a-(\d+)-[12]", identifier)
        row = int(match[1] or match[2]) - 1 if match else -1
        if not 0 <= row < len(self):
            raise KeyError(identifier)
        return row

    def user_ids(self) -> list[str]:
        return [f"C{row + 1:05d}" for row in range(len(self))]

    def anonymous_ids(self) -> list[str]:
        """Ids of the customers' devices: the first ones at 2 x row, the second ones at 2 x row + 1."""
        return [f"a-{row + 1:05d}-{device + 1}" for row in range(len(self)) for device in range(2)]

    def table(self) -> pa.Table:
        """The truth, for tests: nothing else may read it."""
        return pa.table(
            {
                "customer_id": pa.array(self.user_ids(), pa.string()),
                "registered": pa.array(self.registered),
                "country": pa.array([COUNTRIES[number][0] for number in self.country], pa.string()),
                "device": pa.array([DEVICES[number][0] for number in self.devices[:, 0]], pa.string()),
                "activity": pa.array(self.activity),
                "joined_at": pa.array((self.joined * 1000).astype(np.int64)).cast(pa.timestamp("ms", tz="UTC")),
                "price_level": pa.array(self.price_level),
                "category_taste": pa.array(list(self.shelf_taste), pa.list_(pa.float32())),
                "brand_taste": pa.array(list(self.brand_taste), pa.list_(pa.float32())),
            }
        )


def invent_customers(rng: np.random.Generator, size: int, catalog: Catalog, history: tuple[float, float]) -> Customers:
    """``size`` customers with a few favourite categories each, and brands and prices they prefer."""
    share = _interests(rng, size)
    expected = 1 / len(SHELVES)
    taste = np.clip(np.log((share + expected / 8) / expected), -2, 2.5) * 0.6
    brand = rng.standard_normal((size, len(BRANDS)))
    joined_late = rng.random(size) < NEW_CUSTOMER_SHARE
    return Customers(
        activity=np.exp(ACTIVITY_SPREAD * rng.standard_normal(size)),
        joined=np.where(joined_late, rng.uniform(*history, size), history[0]),
        registered=rng.random(size) < REGISTERED_SHARE,
        country=_choose(rng, COUNTRIES, size),
        devices=_choose(rng, DEVICES, (size, 2)),
        has_second_device=rng.random(size) < SECOND_DEVICE_SHARE,
        shelf_share=share.astype(np.float32),
        shelf_taste=taste.astype(np.float32),
        brand_taste=brand.astype(np.float32),
        price_level=rng.standard_normal(size).astype(np.float32),
    )


def _interests(rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """Shares of interest: a few categories, and a few shelves within each."""
    tops = rng.dirichlet([CATEGORY_CONCENTRATION] * len(CATEGORIES), size)
    columns = [
        tops[:, [top]] * rng.dirichlet([SHELF_CONCENTRATION] * len(category.shelves), size)
        for top, category in enumerate(CATEGORIES)
    ]
    return np.concatenate(columns, axis=1)


def _choose(
    rng: np.random.Generator, options: tuple[tuple[str, float], ...], size: int | tuple[int, int]
) -> npt.NDArray[np.int_]:
    weights = np.array([weight for _, weight in options])
    return rng.choice(len(options), size=size, p=weights / weights.sum())
