"""Customers at moments, with what they did last: one half of what the ranker looks at (the other: :mod:`shelf`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import RECENT, SHOWN, Action, Entity, LastK, decayed_sums
from feature_repo.kernel import kernel
from feature_repo.ranking.shelf import STATE, UNKNOWN, Codes, Shelf
from feature_repo.reading import Floats, Sequence, current_sums

# How much an interaction says of a customer's interest, and for how long.
ACTION_WEIGHTS = {
    Action.CLICKED: 1.0,
    Action.VIEWED: 1.0,
    Action.ADDED: 3.0,
    Action.REMOVED: 0.0,
    Action.ORDERED: 5.0,
    Action.WISHLISTED: 3.0,
}
INTEREST_HALF_LIFE_HOURS = 7 * 24.0
SESSION_GAP_HOURS = 0.5
DEVICES = ("desktop", "mobile", "tablet")

_WEIGHT_BY_CODE = np.zeros(max(Action) + 1)
for _action, _weight in ACTION_WEIGHTS.items():
    _WEIGHT_BY_CODE[_action] = _weight

_LOG_PRICE = STATE.index("log_price")
CUSTOMER_SUMS = tuple(aggregate.name for aggregate in decayed_sums(Entity.CUSTOMER))


@dataclass(frozen=True)
class Visitors:
    """Customers at moments, with their recent interactions newest first.

    Per row, shape (rows,): ``at`` in epoch seconds, decayed ``sums`` as of ``at`` and ``device`` (index in
    :data:`DEVICES`, NaN if unknown). Per row and interaction, shape (rows, k), padded at the end:
    ``items``, ``categories``, ``departments``, ``brands`` (codes, :data:`UNKNOWN` for padding and for what the
    catalogue does not know), ``actions`` (0 for padding), ``hours`` ago and ``log_prices`` (NaN likewise). What they were
    shown, newest first, shape (rows, shown): ``shown`` (codes likewise), ``shown_positions`` in their lists (0 unknown)
    and ``shown_hours`` ago; products of one list have the same time.
    """

    at: Floats
    sums: dict[str, Floats]
    device: Floats
    items: Codes
    actions: Codes
    hours: Floats
    categories: Codes
    departments: Codes
    brands: Codes
    log_prices: Floats
    shown: Codes
    shown_positions: NDArray[np.int32]
    shown_hours: Floats

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Any],
        at: Floats,
        shelf: Shelf,
        device: Floats | None = None,
        context: Iterable[str] = (),
    ) -> Visitors:
        """From stored customer columns, each of length (rows,).

        Args:
            columns: as the feature store returns them; missing values mean a customer without history.
            at: the moments, epoch seconds.
            shelf: the catalogue that gives products their codes, categories and prices.
            device: index in :data:`DEVICES` per row.
            context: products that each visitor is looking at now, put before his sequence as if just viewed.
        """
        items, actions, hours = _read(RECENT, columns, at, shelf)
        if len(now := shelf.encode(list(context))):
            items, actions, hours = _put_before(now, items, actions, hours)
        shown, shown_positions, shown_hours = _read(SHOWN, columns, at, shelf)
        of = shelf.items
        kinds, prices = _attributes(items, (of.category, of.department, of.brand), of.state[:, _LOG_PRICE])
        return cls(
            at=np.asarray(at, dtype=float),
            sums=current_sums(Entity.CUSTOMER, columns, at),
            device=np.full(len(at), np.nan) if device is None else device,
            items=items,
            actions=actions,
            hours=hours,
            categories=kinds[0],
            departments=kinds[1],
            brands=kinds[2],
            log_prices=prices,
            shown=shown,
            shown_positions=shown_positions,
            shown_hours=shown_hours,
        )

    def __len__(self) -> int:
        return len(self.at)

    @cached_property
    def interest(self) -> Floats:
        """Weight of each interaction by kind and age, shape (rows, k); 0 for padding."""
        hours = np.where(self.actions > 0, self.hours, 0.0)
        return _WEIGHT_BY_CODE[self.actions] * np.exp2(-hours / INTEREST_HALF_LIFE_HOURS)

    @cached_property
    def in_session(self) -> NDArray[np.bool_]:
        """Whether an interaction belongs to the visit that ``at`` is part of, shape (rows, k): no pause in between."""
        return _without_pause(self.actions, self.hours)

    def take(self, rows: NDArray[np.integer] | slice) -> Visitors:
        """The chosen rows."""
        return self._map(lambda part: part[0][rows], [self])

    @classmethod
    def concatenate(cls, parts: list[Visitors]) -> Visitors:
        """The rows of all parts, one after the other."""
        return cls._map(np.concatenate, parts)

    @classmethod
    def _map(cls, combine: Callable[[list[NDArray[Any]]], NDArray[Any]], parts: list[Visitors]) -> Visitors:
        sums = {name: combine([part.sums[name] for part in parts]) for name in CUSTOMER_SUMS}
        names = [name for name in cls.__dataclass_fields__ if name != "sums"]
        return cls(sums=sums, **{name: combine([getattr(part, name) for part in parts]) for name in names})


@kernel
def _without_pause(actions: NDArray[np.int32], hours: Floats) -> NDArray[np.bool_]:
    """Which actions of each row, newest first, came no more than a session's gap before the next one, or now."""
    chosen = np.zeros(actions.shape, dtype=np.bool_)
    for row in range(len(actions)):
        after = 0.0
        for step in range(actions.shape[1]):
            if actions[row, step] == 0 or not hours[row, step] - after <= SESSION_GAP_HOURS:
                break
            chosen[row, step], after = True, hours[row, step]
    return chosen


@kernel
def _attributes(
    items: Codes, tables: tuple[Codes, Codes, Codes], log_prices: Floats
) -> tuple[NDArray[np.int32], Floats]:
    """What the tables say of each item, shape (tables, rows, k), and the logarithm of its price, shape (rows, k)."""
    kinds = np.full((len(tables), *items.shape), UNKNOWN, dtype=np.int32)
    prices = np.full(items.shape, np.nan)
    for row in range(len(items)):
        for step in range(items.shape[1]):
            code = items[row, step]
            if code != UNKNOWN:
                for place in range(len(tables)):
                    kinds[place, row, step] = tables[place][code]
                prices[row, step] = log_prices[code]
    return kinds, prices


def _read(
    declared: LastK, columns: Mapping[str, Any], at: Floats, shelf: Shelf
) -> tuple[Codes, NDArray[np.int32], Floats]:
    """Codes, details and hours ago of the customers' sequences, shape (rows, k), padded at the end."""
    shape = (len(at), declared.k)
    items = np.full(shape, UNKNOWN, dtype=np.int32)
    details = np.zeros(shape, dtype=np.int32)
    hours = np.full(shape, np.nan)
    for row, sequence in enumerate(Sequence.of_rows(declared, columns)):
        length = len(sequence)
        items[row, :length] = shelf.encode(sequence.items)
        details[row, :length] = sequence.details
        hours[row, :length] = np.maximum(at[row] - sequence.times, 0.0) / 3600
    return items, details, hours


def _put_before(now: Codes, items: Codes, actions: NDArray[np.int32], hours: Floats) -> tuple[Codes, Any, Floats]:
    """The sequences after products that are looked at now."""

    def with_front(front: Any, rest: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([np.broadcast_to(front, (len(rest), len(now))), rest], axis=1).astype(rest.dtype)

    return with_front(now, items), with_front(int(Action.VIEWED), actions), with_front(0.0, hours)
