"""The aggregates: each feature that is computed from events is declared here, once.

From these declarations are compiled the streaming job and the historical backfill (``ingestion/features/contributions.py``), the
Feast schemas (``feature_repo/features.py``) and the arithmetic that readers apply (``feature_repo/reading.py``).

Decayed sums use forward decay (Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay", ICDE 2009): an event of weight w
at time t contributes w * 2^((t - L) / h) to a plain sum S, with a landmark L shared by all events. The decayed sum as of
time T is S * 2^(-(T - L) / h), whatever the order in which events arrive. What the stores hold is the value as of the
row's last event, so that the landmark is nobody's business but the computing job's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum

from feature_repo.contract import ADDED, CLICKED, EVENTS, LIST_VIEWED, ORDERED, REMOVED, VIEWED, WISHLISTED
from feature_repo.errors import DefinitionError

SHORTEST_HALF_LIFE = timedelta(hours=6)
LONGEST_HALF_LIFE = timedelta(days=365)


class Entity(StrEnum):
    """Whom a feature describes. What is shown to a customer changes more often than what he does, so it is kept apart."""

    CUSTOMER = "customer"
    EXPOSURE = "exposure"
    ITEM = "item"

    @property
    def key(self) -> str:
        """The join key column in every store."""
        return "product_id" if self is Entity.ITEM else "customer_id"


class Action(IntEnum):
    """What a customer did to a product, as coded in the last-k sequence."""

    CLICKED = 1
    VIEWED = 2
    ADDED = 3
    REMOVED = 4
    ORDERED = 5
    WISHLISTED = 6


ACTION_OF_EVENT: dict[str, Action] = {
    CLICKED: Action.CLICKED,
    VIEWED: Action.VIEWED,
    ADDED: Action.ADDED,
    REMOVED: Action.REMOVED,
    ORDERED: Action.ORDERED,
    WISHLISTED: Action.WISHLISTED,
}


@dataclass(frozen=True)
class DecayedSum:
    """An exponentially decayed count of events, or sum of a product's field over them.

    Attributes:
        name: feature name; by convention ``<what>_<half-life>``.
        entity: whom it describes. A customer's count grows by one per event, an item's by one per line about it.
        event: name of the ``track`` event.
        half_life: after this time an event counts half; between 6 hours and 365 days.
        value: a numeric field of the product to sum (``quantity``, ``price``) instead of counting.
    """

    name: str
    entity: Entity
    event: str
    half_life: timedelta
    value: str | None = None

    def __post_init__(self) -> None:
        if self.event not in EVENTS:
            raise DefinitionError(f"{self.name}: {self.event!r} is not an event of the contract")
        if not SHORTEST_HALF_LIFE <= self.half_life <= LONGEST_HALF_LIFE:
            raise DefinitionError(
                f"{self.name}: the half-life must lie between 6 hours and 365 days, not {self.half_life}"
            )
        if self.value not in (None, "quantity", "price"):
            raise DefinitionError(f"{self.name}: value must be quantity, price or nothing, not {self.value!r}")

    @property
    def half_life_seconds(self) -> float:
        return self.half_life.total_seconds()

    @property
    def description(self) -> str:
        """One line for the feature store's documentation."""
        what = f"sum of {self.value} over" if self.value else "number of"
        hours = self.half_life_seconds / 3600
        span = f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
        return f"{what} {self.event} events, decayed with a half-life of {span}, as of last_event_at"


@dataclass(frozen=True)
class LastK:
    """The last ``k`` products that a customer had to do with, newest first, as three parallel arrays.

    The arrays are ``<name>_items``, ``<name>_<detail>`` and ``<name>_times`` (epoch milliseconds).

    Attributes:
        name: of the sequence.
        entity: what it is kept with, CUSTOMER or EXPOSURE.
        k: how many are kept.
        events: names of the ``track`` events whose products it holds.
        detail: what is kept of each beside product and time: ``actions`` (see :class:`Action`) or ``positions`` (the
            product's place in its list, from 1; 0 if unknown).
    """

    name: str
    entity: Entity
    k: int
    events: tuple[str, ...]
    detail: str

    @property
    def columns(self) -> tuple[str, str, str]:
        """Names of the three arrays: items, detail, times."""
        return f"{self.name}_items", f"{self.name}_{self.detail}", f"{self.name}_times"


@dataclass(frozen=True)
class Transitions:
    """Which products customers turn to after one, kept with the item: its ``keep`` strongest successors.

    The arrays are ``<name>_items`` and ``<name>_weights``, strongest first. ``<name>_from`` and ``<name>_to`` are the
    sums over all pairs from and to the item. All are decayed sums as of ``<name>_at``.

    Attributes:
        name: of the sequence.
        events: names of the ``track`` events that a pair consists of, both by one customer.
        window: how far apart the two may be.
        half_life: after this time a pair counts half.
        keep: how many successors are kept of each item.
    """

    name: str
    events: tuple[str, ...]
    window: timedelta
    half_life: timedelta
    keep: int


_HOURS_6 = timedelta(hours=6)
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_MONTH = timedelta(days=30)

RECENT = LastK("recent", Entity.CUSTOMER, k=50, events=tuple(ACTION_OF_EVENT), detail="actions")
SHOWN = LastK("shown", Entity.EXPOSURE, k=48, events=(LIST_VIEWED,), detail="positions")
NEXT = Transitions("next", (CLICKED, VIEWED, ADDED, ORDERED), window=timedelta(minutes=30), half_life=_MONTH, keep=50)
_SEQUENCES = {sequence.entity: sequence for sequence in (RECENT, SHOWN)}

DECAYED_SUMS: tuple[DecayedSum, ...] = (
    DecayedSum("clicks_1d", Entity.CUSTOMER, CLICKED, _DAY),
    DecayedSum("clicks_30d", Entity.CUSTOMER, CLICKED, _MONTH),
    DecayedSum("views_1d", Entity.CUSTOMER, VIEWED, _DAY),
    DecayedSum("views_30d", Entity.CUSTOMER, VIEWED, _MONTH),
    DecayedSum("carts_1d", Entity.CUSTOMER, ADDED, _DAY),
    DecayedSum("carts_30d", Entity.CUSTOMER, ADDED, _MONTH),
    DecayedSum("removals_30d", Entity.CUSTOMER, REMOVED, _MONTH),
    DecayedSum("orders_30d", Entity.CUSTOMER, ORDERED, _MONTH),
    DecayedSum("impressions_6h", Entity.ITEM, LIST_VIEWED, _HOURS_6),
    DecayedSum("impressions_7d", Entity.ITEM, LIST_VIEWED, _WEEK),
    DecayedSum("clicks_6h", Entity.ITEM, CLICKED, _HOURS_6),
    DecayedSum("clicks_7d", Entity.ITEM, CLICKED, _WEEK),
    DecayedSum("views_6h", Entity.ITEM, VIEWED, _HOURS_6),
    DecayedSum("views_7d", Entity.ITEM, VIEWED, _WEEK),
    DecayedSum("carts_6h", Entity.ITEM, ADDED, _HOURS_6),
    DecayedSum("carts_7d", Entity.ITEM, ADDED, _WEEK),
    DecayedSum("orders_7d", Entity.ITEM, ORDERED, _WEEK),
    DecayedSum("orders_30d", Entity.ITEM, ORDERED, _MONTH),
)


def decayed_sums(entity: Entity) -> tuple[DecayedSum, ...]:
    """The declared sums of one entity, in declaration order."""
    return tuple(aggregate for aggregate in DECAYED_SUMS if aggregate.entity is entity)


def last_k(entity: Entity) -> LastK | None:
    """The sequence that is kept with an entity, if there is one."""
    return _SEQUENCES.get(entity)


def contributing_events(entity: Entity) -> frozenset[str]:
    """Names of the events that change any feature of an entity."""
    sequence = last_k(entity)
    return frozenset({a.event for a in decayed_sums(entity)} | set(sequence.events if sequence else ()))


def definition_hash() -> str:
    """A fingerprint of everything declared here: stored features are good for one definition only."""
    text = repr((DECAYED_SUMS, RECENT, SHOWN, NEXT, sorted(ACTION_OF_EVENT.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
