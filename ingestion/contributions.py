"""What events add to the declared aggregates: the declarations, compiled to columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.aggregates import ACTION_OF_EVENT, RECENT, DecayedSum, Entity, decayed_sums
from ingestion.moments import epoch_ms

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_EVENTS: dict[Entity, list[str]] = {
    Entity.CUSTOMER: sorted({a.event for a in decayed_sums(Entity.CUSTOMER)} | set(RECENT.events)),
    Entity.ITEM: sorted({a.event for a in decayed_sums(Entity.ITEM)}),
}
CONTRIBUTING_EVENTS = sorted({name for names in _EVENTS.values() for name in names})


@dataclass(frozen=True)
class Contributions:
    """What some events add, to one entity.

    Attributes:
        keys: whom each addition is to, shape (n,).
        ms: when it happened, epoch milliseconds, shape (n,).
        moments: from when on it counts for the key, epoch milliseconds, shape (n,); at the earliest when it happened.
        events: what happened, as names, shape (n,).
        values: for each sum of a product's field, its name and what to add, shape (n,).
        elements: for customers, the interactions with products.
    """

    keys: pa.Array
    ms: Integers
    moments: Integers
    events: pa.Array
    values: dict[str, Floats]
    elements: Elements | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def weights(self) -> Iterator[tuple[int, NDArray[np.bool_], Floats | float]]:
        """Per declared sum: its position, the rows that concern it, and what those add (before any decay)."""
        codes = {name: number for number, name in enumerate(dict.fromkeys(a.event for a in _sums_of(self)))}
        code = pc.index_in(self.events, value_set=pa.array(list(codes), pa.string())).fill_null(-1).to_numpy()
        masks = {name: code == number for name, number in codes.items()}
        for position, aggregate in enumerate(_sums_of(self)):
            mask = masks[aggregate.event]
            yield position, mask, self.values[aggregate.value][mask] if aggregate.value else 1.0

    def take(self, rows: Integers) -> Contributions:
        """Some of the rows, in ascending order."""
        chosen = pa.array(rows)
        values = {name: column[rows] for name, column in self.values.items()}
        elements = self.elements.of(rows) if self.elements else None
        return Contributions(
            self.keys.take(chosen), self.ms[rows], self.moments[rows], self.events.take(chosen), values, elements
        )


@dataclass(frozen=True)
class Elements:
    """Interactions of customers with products.

    Attributes:
        rows: which contribution each belongs to, ascending, shape (m,).
        items: product ids, shape (m,).
        actions: codes of :class:`feature_repo.aggregates.Action`, shape (m,).
    """

    rows: Integers
    items: pa.Array
    actions: Integers

    def of(self, rows: Integers) -> Elements:
        """Those of some contributions, given in ascending order, numbered anew."""
        begin = np.searchsorted(self.rows, rows)
        counts = np.searchsorted(self.rows, rows, side="right") - begin
        parents = np.repeat(np.arange(len(rows)), counts)
        chosen = begin[parents] + np.arange(len(parents)) - np.repeat(np.cumsum(counts) - counts, counts)
        return Elements(parents, self.items.take(pa.array(chosen)), self.actions[chosen])


def contributing(events: pa.Table) -> pa.Table:
    """The rows of the events table that change any feature."""
    wanted = pc.is_in(events["event"], value_set=pa.array(CONTRIBUTING_EVENTS))
    with_products = pc.greater(pc.fill_null(pc.list_value_length(events["products"]), 0), 0)
    return events.filter(pc.and_(pc.and_(pc.equal(events["type"], "track"), wanted), with_products)).combine_chunks()


def of_items(events: pa.Table) -> Contributions:
    """What rows of :func:`contributing` add to items: one contribution per line about a product."""
    events = _of(Entity.ITEM, events)
    products = _column(events, "products")
    line_event = pc.list_parent_indices(products)
    lines = pc.list_flatten(products)
    ms = epoch_ms(events["timestamp"])[line_event.to_numpy()]
    values = {name: _numbers(pc.struct_field(lines, name)) for name in _fields(Entity.ITEM)}
    names = _column(events, "event").take(line_event)
    return Contributions(pc.struct_field(lines, "product_id"), ms, ms, names, values)


def of_customers(events: pa.Table, rows: Integers, keys: pa.Array, moments: Integers) -> Contributions:
    """What rows of :func:`contributing` add to customers: one contribution per event and id on its chain.

    Args:
        events: the events; those that say nothing of customers are left out.
        rows: position of the event that each addition comes from, ascending, shape (n,).
        keys: whom it is to, shape (n,).
        moments: from when on it counts for the key, epoch milliseconds, shape (n,).
    """
    concerned = pc.is_in(_column(events, "event"), value_set=pa.array(_EVENTS[Entity.CUSTOMER])).to_numpy(False)
    chosen = concerned[rows]
    rows, keys, moments = rows[chosen], keys.filter(pa.array(chosen)), moments[chosen]
    taken = events.take(pa.array(rows))
    products = _column(taken, "products")
    parents = pc.list_parent_indices(products).to_numpy().astype(np.int64)
    lines = pc.list_flatten(products)
    values = {
        name: np.bincount(parents, _numbers(pc.struct_field(lines, name)), minlength=len(rows)).astype(float)
        for name in _fields(Entity.CUSTOMER)
    }
    names = _column(taken, "event")
    actions = pc.index_in(names, value_set=pa.array(list(ACTION_OF_EVENT))).fill_null(-1).to_numpy()
    codes = np.array([int(action) for action in ACTION_OF_EVENT.values()] + [0], dtype=np.int64)[actions][parents]
    counted = codes > 0
    elements = Elements(
        parents[counted], pc.struct_field(lines, "product_id").filter(pa.array(counted)), codes[counted]
    )
    return Contributions(keys, epoch_ms(taken["timestamp"]), moments, names, values, elements)


def _sums_of(contributions: Contributions) -> tuple[DecayedSum, ...]:
    return decayed_sums(Entity.CUSTOMER if contributions.elements else Entity.ITEM)


def _of(entity: Entity, events: pa.Table) -> pa.Table:
    return events.filter(pc.is_in(events["event"], value_set=pa.array(_EVENTS[entity]))).combine_chunks()


def _fields(entity: Entity) -> list[str]:
    return sorted({aggregate.value for aggregate in decayed_sums(entity) if aggregate.value})


def _column(events: pa.Table, name: str) -> pa.Array:
    return events[name].combine_chunks()


def _numbers(values: pa.Array) -> Floats:
    return values.cast(pa.float64()).fill_null(0.0).to_numpy(False)
