"""What events add to the declared aggregates: the declarations, compiled to columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.aggregates import ACTION_OF_EVENT, Entity, contributing_events, decayed_sums, last_k
from feature_repo.runs import spread
from ingestion.moments import epoch_ms

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_EVENTS = {entity: sorted(contributing_events(entity)) for entity in Entity}
CONTRIBUTING_EVENTS = sorted({name for names in _EVENTS.values() for name in names})
_LARGEST_DETAIL = 32_767
_NEEDED = ("customer_id", "type", "event", "timestamp", "products", "partition", "offset")


@dataclass(frozen=True)
class Contributions:
    """What some events add, to one entity.

    Attributes:
        entity: which.
        keys: whom each addition is to, shape (n,).
        ms: when it happened, epoch milliseconds, shape (n,).
        moments: from when on it counts for the key, epoch milliseconds, shape (n,); at the earliest when it happened.
        events: what happened, as names, shape (n,).
        values: for each sum of a product's field, its name and what to add, shape (n,).
        elements: the products for the entity's sequence, if it has one.
    """

    entity: Entity
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
        codes = {name: number for number, name in enumerate(dict.fromkeys(a.event for a in decayed_sums(self.entity)))}
        code = pc.index_in(self.events, value_set=pa.array(list(codes), pa.string())).fill_null(-1).to_numpy()
        masks = {name: code == number for name, number in codes.items()}
        for position, aggregate in enumerate(decayed_sums(self.entity)):
            mask = masks[aggregate.event]
            yield position, mask, self.values[aggregate.value][mask] if aggregate.value else 1.0

    def take(self, rows: Integers) -> Contributions:
        """Some of the rows, in ascending order."""
        chosen = pa.array(rows)
        values = {name: column[rows] for name, column in self.values.items()}
        elements = self.elements.of(rows) if self.elements else None
        keys, events = self.keys.take(chosen), self.events.take(chosen)
        return Contributions(self.entity, keys, self.ms[rows], self.moments[rows], events, values, elements)


@dataclass(frozen=True)
class Elements:
    """Products for a sequence of the customer's.

    Attributes:
        rows: which contribution each belongs to, ascending, shape (m,).
        items: product ids, shape (m,).
        details: what is kept of each beside (:class:`feature_repo.aggregates.LastK`), shape (m,).
    """

    rows: Integers
    items: pa.Array
    details: Integers

    def of(self, rows: Integers) -> Elements:
        """Those of some contributions, given in ascending order, numbered anew."""
        begin = np.searchsorted(self.rows, rows)
        counts = np.searchsorted(self.rows, rows, side="right") - begin
        parents, chosen = spread(begin, counts)
        return Elements(parents, self.items.take(pa.array(chosen)), self.details[chosen])


def contributing(events: pa.Table) -> pa.Table:
    """The rows of the events table that change any feature, with the columns that matter for that."""
    return about_products(events, CONTRIBUTING_EVENTS)


def about_products(events: pa.Table, names: Sequence[str]) -> pa.Table:
    """The ``track`` events of some names, among rows of the events table, that name any product.

    Only what features are made of, and the place of each event if it is there: copying the rest takes time.
    """
    wanted = pc.is_in(events["event"], value_set=pa.array(names))
    with_products = pc.greater(pc.fill_null(pc.list_value_length(events["products"]), 0), 0)
    chosen = pc.and_(pc.and_(pc.equal(events["type"], "track"), wanted), with_products)
    needed = [name for name in events.schema.names if name in _NEEDED]
    return events.select(needed).filter(chosen).combine_chunks()


def of_items(events: pa.Table) -> Contributions:
    """What rows of :func:`contributing` add to items: one contribution per line about a product."""
    events = _of(Entity.ITEM, events)
    products = _column(events, "products")
    line_event = pc.list_parent_indices(products)
    lines = pc.list_flatten(products)
    ms = epoch_ms(events["timestamp"])[line_event.to_numpy()]
    values = {name: _numbers(pc.struct_field(lines, name)) for name in _fields(Entity.ITEM)}
    names = _column(events, "event").take(line_event)
    return Contributions(Entity.ITEM, pc.struct_field(lines, "product_id"), ms, ms, names, values)


def of_customers(entity: Entity, events: pa.Table, rows: Integers, keys: pa.Array, moments: Integers) -> Contributions:
    """What rows of :func:`contributing` add to customers: one contribution per event and id on its chain.

    Args:
        entity: CUSTOMER or EXPOSURE.
        events: the events; those that say nothing of customers are left out.
        rows: position of the event that each addition comes from, ascending, shape (n,).
        keys: whom it is to, shape (n,).
        moments: from when on it counts for the key, epoch milliseconds, shape (n,).
    """
    concerned = pc.is_in(_column(events, "event"), value_set=pa.array(_EVENTS[entity])).to_numpy(False)
    chosen = concerned[rows]
    rows, keys, moments = rows[chosen], keys.filter(pa.array(chosen)), moments[chosen]
    taken = events.take(pa.array(rows))
    products = _column(taken, "products")
    parents = pc.list_parent_indices(products).to_numpy().astype(np.int64)
    lines = pc.list_flatten(products)
    values = {
        name: np.bincount(parents, _numbers(pc.struct_field(lines, name)), minlength=len(rows)).astype(float)
        for name in _fields(entity)
    }
    names = _column(taken, "event")
    elements = _elements(entity, names, parents, lines)
    return Contributions(entity, keys, epoch_ms(taken["timestamp"]), moments, names, values, elements)


def _elements(entity: Entity, names: pa.Array, parents: Integers, lines: pa.Array) -> Elements | None:
    """What the ``lines`` of events, each of the event ``parents`` points to, add to the entity's sequence."""
    sequence = last_k(entity)
    if not sequence:
        return None
    kept = pc.is_in(names, value_set=pa.array(sequence.events)).to_numpy(False)[parents]
    details = _actions(names)[parents] if sequence.detail == "actions" else _positions(lines)
    return Elements(parents[kept], pc.struct_field(lines, "product_id").filter(pa.array(kept)), details[kept])


def _actions(names: pa.Array) -> Integers:
    """The code of each event's action; 0 for others."""
    places = pc.index_in(names, value_set=pa.array(list(ACTION_OF_EVENT))).fill_null(-1).to_numpy()
    return np.array([int(action) for action in ACTION_OF_EVENT.values()] + [0], dtype=np.int64)[places]


def _positions(lines: pa.Array) -> Integers:
    positions = pc.struct_field(lines, "position").fill_null(0).to_numpy(False)
    return np.clip(positions, 0, _LARGEST_DETAIL).astype(np.int64)


def _of(entity: Entity, events: pa.Table) -> pa.Table:
    return events.filter(pc.is_in(events["event"], value_set=pa.array(_EVENTS[entity]))).combine_chunks()


def _fields(entity: Entity) -> list[str]:
    return sorted({aggregate.value for aggregate in decayed_sums(entity) if aggregate.value})


def _column(events: pa.Table, name: str) -> pa.Array:
    return events[name].combine_chunks()


def _numbers(values: pa.Array) -> Floats:
    return values.cast(pa.float64()).fill_null(0.0).to_numpy(False)
