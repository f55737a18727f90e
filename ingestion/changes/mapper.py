"""From changes of rows to what counts: orders that are complete, products as they are, and what cannot be used."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from ingestion.changes.config import LINES, Mapping, Value
from ingestion.changes.envelope import UNCHANGED, Change, Emptied, Ended, Said
from ingestion.changes.products import ProductRow, product_row
from ingestion.changes.state import Row, State
from ingestion.collector.events import iso
from ingestion.crm.mapping import as_number, event_of, identified

ORDERS, PRODUCTS = "orders", "products"
# Names of calls that the contract does not know, so that nothing takes them for something that a customer did.
PRODUCT_CHANGED, NOT_UNDERSTOOD = "Product Changed", "Database Change Not Understood"
# In the place of a transaction: a snapshot finds an order and its lines at different times.
_SNAPSHOT = "snapshot"
_FIRST, _LAST, _AD_HOC = "first", "last", "incremental"
_MOST_ORDERS = 5_000


@dataclass
class News:
    """What some changes come to.

    Attributes:
        orders: ids of the orders that are complete now, with their events.
        products: rows for the catalogue, in the order in which they came.
        refused: calls that the contract refuses, so that the quarantine keeps what cannot be used.
        taken_back: how many orders that have counted were deleted.
    """

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    products: list[ProductRow] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    taken_back: int = 0


class Mapper:
    """Takes changes in the order in which they were committed; what it remembers of them is in the state."""

    def __init__(self, mapping: Mapping, state: State) -> None:
        self._mapping, self._state = mapping, state
        self._columns = mapping.columns
        self._shape = mapping.order_shape() if mapping.orders else None
        self.news = News()

    def take(self, said: Said) -> None:
        """What Debezium said next."""
        if isinstance(said, Ended):
            self._state.end(said.transaction)
            return
        # What a snapshot found says nothing of what was committed while it was taken, which follows it.
        if not isinstance(said, Change) or not said.snapshot:
            self._state.pass_time(said.at.timestamp())
        if isinstance(said, Emptied):
            self._empty(said)
        if not isinstance(said, Change):
            return
        # Where the first table is empty, no row is marked as the first.
        in_snapshot = said.snapshot not in ("", _AD_HOC)
        if said.snapshot == _FIRST or (in_snapshot and not self._state.in_snapshot()):
            self._state.end_snapshot()
            self._state.begin_snapshot()
        if said.table in self._columns:
            self._take_row(said)
        if said.snapshot == _LAST:
            self._end_snapshot(said.at)

    def refuse(self, why: str, at: datetime, record: Any, product: ProductRow | None = None) -> None:
        """Send what cannot be used to the quarantine, by way of the stream, with what can be said of it."""
        event: dict[str, Any] = {
            "type": "track",
            "event": NOT_UNDERSTOOD if product is None else PRODUCT_CHANGED,
            "anonymousId": f"{self._mapping.name}-database",
            "timestamp": iso(at),
            "why": why,
            "record": record,
        }
        if product is not None:
            event["properties"] = product.fields
        self.news.refused.append(identified(self._mapping.name, "changes", event))

    def take_complete(self) -> None:
        """Find the orders that are complete, by all that has been read."""
        for order_id in self._state.due(_MOST_ORDERS):
            if event := self._complete(order_id):
                self.news.orders[order_id] = event

    def _take_row(self, change: Change) -> None:
        row, key = change.row, orjson.loads(change.key)
        if key.keys() != set(self._mapping.keys[change.table]):
            self.refuse(
                f"the mapping has to say key = {orjson.dumps(list(key)).decode()} for {change.table}, which is its primary key; "
                "then start `python -m ingestion cdc` anew, and run `python -m ingestion connect apply` and `... snapshot`",
                change.at,
                row if row is not None else key,
            )
            return
        if row is not None:
            row = {name: row[name] for name in self._columns[change.table] if name in row}
            if missing := sorted(self._columns[change.table] - row.keys()):
                self.refuse(f"{change.table} has no column {', '.join(missing)}", change.at, change.row)
                return
        mapping = self._mapping
        if mapping.products and change.table == mapping.products.table:
            self._take_product(change, row)
        elif mapping.orders and change.table == mapping.orders.table:
            self._take_order(change, row)
        elif mapping.lines:
            self._take_line(change, row)

    def _take_order(self, change: Change, row: Row | None) -> None:
        assert self._mapping.orders
        column = self._mapping.orders.id
        if row is None:
            known = self._state.get(ORDERS, change.key)
            order_id = str(known[0] if known else orjson.loads(change.key).get(column))
            self._state.drop(ORDERS, change.key)
            self.news.taken_back += self._state.counted(order_id)
            return
        order_id = str(row[column])
        if not self._state.counted(order_id) and self._remember(ORDERS, change, order_id, row):
            self._touch(order_id, change)

    def _take_line(self, change: Change, row: Row | None) -> None:
        assert self._mapping.lines
        known = self._state.get(LINES, change.key)
        order = None if row is None else row[self._mapping.lines.order]
        order_id = None if order is None else str(order)
        if known and known[0] != order_id:
            self._state.drop(LINES, change.key)
            self._touch(str(known[0]), change)
        if order_id is None or row is None or self._state.counted(order_id):
            return
        if self._remember(LINES, change, order_id, row):
            self._touch(order_id, change)

    def _take_product(self, change: Change, row: Row | None) -> None:
        if row is None:
            known = self._state.get(PRODUCTS, change.key)
            self._state.drop(PRODUCTS, change.key)
            if known:
                self._gone(known[1], change.at)
        elif self._remember(PRODUCTS, change, None, row):
            self._offer(row, change)

    def _remember(self, kind: str, change: Change, parent: str | None, row: Row) -> bool:
        """Keep a row as it is now; whether all of it is known."""
        known = self._state.get(kind, change.key)
        for name, value in row.items():
            if value == UNCHANGED:
                if not known or name not in known[1]:
                    why = f"{change.table}.{name} was not sent, as it did not change, and is not known"
                    self.refuse(why, change.at, change.row)
                    return False
                row[name] = known[1][name]
        self._state.put(kind, change.key, parent, row)
        return True

    def _touch(self, order_id: str, change: Change) -> None:
        """An order is not what it was, unless it has counted."""
        if self._state.counted(order_id):
            return
        assert self._mapping.orders
        in_snapshot = change.snapshot and change.snapshot != _AD_HOC
        transaction = _SNAPSHOT if in_snapshot else change.transaction
        self._state.wait(order_id, transaction, change.at.timestamp() + self._mapping.orders.settle_seconds)

    def _complete(self, order_id: str) -> dict[str, Any] | None:
        """The event of an order, if it has all that it needs to count."""
        assert self._mapping.orders
        assert self._shape
        orders = self._state.of_parent(ORDERS, order_id)
        lines = self._state.of_parent(LINES, order_id)
        if not orders or not lines or not _is_one(orders[0], self._mapping.orders.only_if):
            return None
        return event_of(self._mapping.name, ORDERS, {**orders[0], LINES: lines}, self._shape)

    def _offer(self, row: Row, change: Change) -> None:
        assert self._mapping.products
        sold = _is_one(row, self._mapping.products.only_if)
        product = product_row(self._mapping.products, row, change.at, bool(change.snapshot), sold)
        if why := product.objection():
            self.refuse(why, change.at, change.row, product)
        else:
            self.news.products.append(product)

    def _gone(self, row: Row, at: datetime) -> None:
        """A product that is no more is one that is not in stock: what was bought of it stays known."""
        assert self._mapping.products
        product = product_row(self._mapping.products, row, at, False, sold=False)
        if not product.objection():
            self.news.products.append(product)

    def _empty(self, said: Emptied) -> None:
        """As if each row had been deleted; orders that have counted go on counting."""
        orders, lines, products = self._mapping.orders, self._mapping.lines, self._mapping.products
        tables = {ORDERS: orders and orders.table, LINES: lines and lines.table, PRODUCTS: products and products.table}
        for kind, table in tables.items():
            if table == said.table:
                for row in self._state.take_all(kind):
                    if kind == PRODUCTS:
                        self._gone(row, said.at)

    def _end_snapshot(self, at: datetime) -> None:
        """What the snapshot did not find was deleted while nobody looked."""
        self._state.end_snapshot()
        if products := self._mapping.products:
            missing = self._state.take_missing(PRODUCTS)
            # After a change of the primary key, a product that is there is known by the old one, too.
            there = {row[products.product_id] for row in self._state.all(PRODUCTS)} if missing else set()
            for row in missing:
                if row[products.product_id] not in there:
                    self._gone(row, at)
        for kind in (ORDERS, LINES):
            self._state.take_missing(kind)
        # An order that it found may have got more lines since.
        settle = self._mapping.orders.settle_seconds if self._mapping.orders else 0
        self._state.end(_SNAPSHOT, at.timestamp() + settle if settle else 0)


def _is_one(row: Row, only_if: Dictionary[str, list[Value]]) -> bool:
    return all(any(_same(row[column], value) for value in values) for column, values in only_if.items())


def _same(said: Any, value: Value) -> bool:
    """Whether a column says a value of the mapping; Debezium writes the 1 of a numeric(10, 2) as "1.00"."""
    if isinstance(said, str) and isinstance(value, int) and not isinstance(value, bool):
        return bool(as_number(said) == value)
    return bool(said == value)
