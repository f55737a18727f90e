"""Who comes to the shop and when: times of day and week, returning customers, logging in, and what they look for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from ingestion.simulator.catalog import SHELVES
from ingestion.simulator.shop import Shop
from ingestion.simulator.vocabulary import CHANNELS

# fmt: off
HOUR_WEIGHTS = np.array([
    1.2, 0.7, 0.4, 0.3, 0.3, 0.6, 1.4, 2.5, 3.4, 3.9, 4.2, 4.4,
    4.8, 4.5, 4.2, 4.2, 4.5, 5.2, 6.0, 7.0, 7.6, 7.0, 4.8, 2.4,
])
# fmt: on
WEEKDAY_WEIGHTS = np.array([1.0, 0.95, 0.95, 1.0, 1.0, 1.15, 1.3])
MINUTE_SECONDS = 60

SECOND_DEVICE_USE = 0.35
KEEP_INTENT = 0.45
LOGGED_OUT = 0.05
LOG_IN = 0.35

Ints = npt.NDArray[np.int_]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Visits:
    """Columns over visits.

    Attributes:
        customer: row of the customer.
        start: seconds since 1970.
        slot: which of the customer's two devices, 0 or 1.
        known: logged in from the start.
        logs_in: logs in during the visit.
        signs_up: that is the first time ever.
        intent: the shelf the customer has in mind.
        channel: into ``CHANNELS``.
    """

    customer: Ints
    start: npt.NDArray[np.float64]
    slot: Ints
    known: Bools
    logs_in: Bools
    signs_up: Bools
    intent: Ints
    channel: Ints

    def __len__(self) -> int:
        return len(self.customer)


class Clientele:
    """The customers' changing state: on which devices they are logged in, and what they last looked for.

    Args:
        logged_in_share: share of registered customers who are logged in on their devices at the beginning; those
            who have yet to join never are.
        now: the beginning, seconds since 1970.
    """

    def __init__(self, shop: Shop, rng: np.random.Generator, logged_in_share: float, now: float) -> None:
        self._customers = shop.customers
        size = len(self._customers)
        old = self._customers.registered & (self._customers.joined <= now)
        self._logged_in = old[:, None] & (rng.random((size, 2)) < logged_in_share)
        self._signed_up = old & self._logged_in.any(axis=1)
        self._intent = np.full(size, -1)
        self._shelf_steps = np.cumsum(self._customers.shelf_share, axis=1)

    def visit(self, rng: np.random.Generator, start: npt.NDArray[np.float64]) -> Visits:
        """Visits beginning at the given times, in ascending order; states change for the next call."""
        size = len(start)
        customer = self._choose_customers(rng, size, float(start.min(initial=np.inf)))
        slot = (self._customers.has_second_device[customer] & (rng.random(size) < SECOND_DEVICE_USE)).astype(int)
        known = self._logged_in[customer, slot] & (rng.random(size) >= LOGGED_OUT)
        logs_in = self._customers.registered[customer] & ~known & (rng.random(size) < LOG_IN)
        signs_up = logs_in & ~self._signed_up[customer]
        intent = self._intents(rng, customer)
        self._logged_in[customer[logs_in], slot[logs_in]] = True
        self._signed_up[customer[signs_up]] = True
        self._intent[customer] = intent
        weights = np.array([weight for _, weight in CHANNELS])
        channel = rng.choice(len(CHANNELS), size=size, p=weights / weights.sum())
        return Visits(customer, start, slot, known, logs_in, signs_up, intent, channel)

    def _choose_customers(self, rng: np.random.Generator, size: int, now: float) -> Ints:
        steps = np.cumsum(np.where(self._customers.joined <= now, self._customers.activity, 0.0))
        return np.searchsorted(steps, rng.random(size) * steps[-1], side="right")

    def _intents(self, rng: np.random.Generator, customer: Ints) -> Ints:
        steps = self._shelf_steps[customer]
        fresh = np.minimum((steps < rng.random((len(customer), 1)) * steps[:, -1:]).sum(axis=1), len(SHELVES) - 1)
        last = self._intent[customer]
        return np.where((last >= 0) & (rng.random(len(customer)) < KEEP_INTENT), last, fresh)


def busyness(start: float, end: float) -> npt.NDArray[np.float64]:
    """How busy the shop is in each minute from ``start`` to ``end`` (seconds since 1970, UTC), relative to others."""
    minutes = np.arange(start, end, MINUTE_SECONDS)
    hour = (minutes // 3600 % 24).astype(int)
    weekday = ((minutes // 86_400).astype(int) + datetime.fromtimestamp(0, UTC).weekday()) % 7
    return HOUR_WEIGHTS[hour] * WEEKDAY_WEIGHTS[weekday]


def arrival_times(rng: np.random.Generator, size: int, start: float, end: float) -> npt.NDArray[np.float64]:
    """``size`` moments between ``start`` and ``end`` in ascending order, more of them in busy minutes."""
    steps = np.cumsum(busyness(start, end))
    minute = np.searchsorted(steps, rng.random(size) * steps[-1], side="right")
    times = start + (minute + rng.random(size)) * MINUTE_SECONDS
    return np.sort(np.minimum(times, end))
