"""A tiny seeded shop for tests: its events, and the feature rows that follow from them, computed in plain Python.

Nothing of the ingestion is used, so that a test of training or serving rests on an independent reading of the
definitions: sums are decayed one event after the other, sequences are kept in lists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo import tables
from feature_repo.aggregates import ACTION_OF_EVENT, DecayedSum, Entity, contributing_events, decayed_sums, last_k
from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED

CATEGORIES = ("Kitchen/Cups", "Kitchen/Pans", "Garden/Tools", "Garden/Seeds", "Sport/Balls", "Sport/Shoes")
BRANDS = ("Alba", "Borea", "Celo")
# Two categories in turn are liked in each.
COUNTRIES = ("Japan", "Chile", "Kenya")
LIST_LENGTH = 12


@dataclass(frozen=True)
class Shop:
    """The products, by index: id, name, category and price, and how attractive each is."""

    products: int
    seed: int

    def product(self, index: int) -> dict[str, Any]:
        category = CATEGORIES[index % len(CATEGORIES)]
        return {
            "product_id": f"p{index}",
            "name": f"{category.split('/')[1]} no. {index}",
            "category": category,
            "brand": BRANDS[index % len(BRANDS)],
            "price": float(5 + index % 40),
        }


def shop_events(
    shop: Shop, customers: int, until: datetime, days: int = 14, sessions_per_customer: float = 4.0
) -> list[dict[str, Any]]:
    """Sessions of customers who each like one category, as rows of the ``events`` table in order of time.

    A session shows two or three lists, half of each from the liked category. Liked products are clicked often, others
    seldom; clicked ones are opened, some carted, some ordered.
    """
    rng = np.random.default_rng(shop.seed)
    events: list[dict[str, Any]] = []
    attraction = rng.gamma(1.5, 0.6, shop.products)
    for customer in range(customers):
        liked = customer % len(CATEGORIES)
        for _ in range(1 + rng.poisson(sessions_per_customer - 1)):
            start = until - timedelta(seconds=float(rng.uniform(3_700, days * 86_400)))
            events.extend(_session(shop, rng, f"c{customer}", liked, attraction, start))
    events.sort(key=lambda event: (event["timestamp"], event["message_id"]))
    return events


def _session(
    shop: Shop, rng: np.random.Generator, customer: str, liked: int, attraction: np.ndarray, at: datetime
) -> Iterator[dict[str, Any]]:
    cart: list[int] = []
    session = f"s{rng.integers(1 << 60):x}"
    for _ in range(rng.integers(2, 4)):
        at += timedelta(seconds=float(rng.uniform(5, 60)))
        mine = np.arange(liked, shop.products, len(CATEGORIES))
        shown = rng.permutation(
            np.unique(
                np.concatenate(
                    [rng.permutation(mine)[: LIST_LENGTH // 2], rng.integers(0, shop.products, LIST_LENGTH // 2)]
                )
            )
        )
        yield _event(
            rng,
            customer,
            session,
            LIST_VIEWED,
            at,
            [shop.product(int(i)) | {"position": p + 1} for p, i in enumerate(shown)],
        )
        for position, index in enumerate(int(i) for i in shown):
            taste = 0.22 if index % len(CATEGORIES) == liked else 0.03
            if rng.random() < taste * attraction[index] / (1 + 0.1 * position):
                at += timedelta(seconds=float(rng.uniform(3, 20)))
                yield _event(rng, customer, session, CLICKED, at, [shop.product(index)])
                at += timedelta(milliseconds=300)
                yield _event(rng, customer, session, VIEWED, at, [shop.product(index)])
                if rng.random() < 0.3:
                    at += timedelta(seconds=float(rng.uniform(3, 20)))
                    yield _event(rng, customer, session, ADDED, at, [shop.product(index) | {"quantity": 1}])
                    cart.append(index)
    if cart and rng.random() < 0.5:
        at += timedelta(seconds=30)
        products = [shop.product(index) | {"quantity": 1} for index in cart]
        yield _event(rng, customer, session, ORDERED, at, products) | {"order_id": f"o-{session}"}


def _event(
    rng: np.random.Generator, customer: str, session: str, name: str, at: datetime, products: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "message_id": f"m{rng.integers(1 << 62):x}",
        "type": "track",
        "event": name,
        "customer_id": customer,
        "user_id": customer,
        "timestamp": at,
        "received_at": at,
        "session_id": session,
        "country": COUNTRIES[int(customer[1:]) % len(CATEGORIES) // 2],
        "device": "desktop",
        "products": products,
        "source": "test",
        "dt": at.date(),
    }


def customer_rows(events: list[dict[str, Any]], entity: Entity = Entity.CUSTOMER) -> list[dict[str, Any]]:
    """One row of ``customer_activity`` (or of ``customer_exposure``) per event of each customer, in order of time."""
    rows: list[dict[str, Any]] = []
    states: dict[str, _State] = {}
    for event in events:
        if event["event"] not in contributing_events(entity):
            continue
        state = states.setdefault(event["customer_id"], _State(entity))
        state.add(event, [{}])
        action = int(ACTION_OF_EVENT.get(event["event"], 0))
        for product in event["products"]:
            detail = action if entity is Entity.CUSTOMER else product.get("position") or 0
            state.sequence.insert(0, (product["product_id"], detail, round(event["timestamp"].timestamp() * 1000)))
        rows.append({"customer_id": event["customer_id"], **state.row()})
    return rows


def item_rows(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of ``item_activity``: each item as of its last event in each hour in which it had any."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    states: dict[str, _State] = {}
    for event in events:
        hour = int(event["timestamp"].timestamp() // 3600)
        for product in event["products"]:
            item = product["product_id"]
            state = states.setdefault(item, _State(Entity.ITEM))
            state.add(event, [product])
            rows[item, hour] = {"product_id": item, **state.row()}
    return list(rows.values())


class _State:
    """The running sums of one entity."""

    def __init__(self, entity: Entity) -> None:
        self.entity = entity
        self.sums = {aggregate.name: 0.0 for aggregate in decayed_sums(entity)}
        self.sequence: list[tuple[str, int, int]] = []
        self.last: datetime | None = None
        self.count = 0

    def add(self, event: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        now = event["timestamp"]
        elapsed = (now - self.last).total_seconds() if self.last else 0.0
        self.last, self.count = now, self.count + 1
        for aggregate in decayed_sums(self.entity):
            decayed = self.sums[aggregate.name] * math.exp2(-elapsed / aggregate.half_life_seconds)
            self.sums[aggregate.name] = decayed + sum(_weight(aggregate, event, line) for line in lines)

    def row(self) -> dict[str, Any]:
        row = {
            "event_timestamp": self.last,
            "created": self.last,
            "last_event_at": self.last.timestamp() if self.last else None,
            "event_count": self.count,
            **self.sums,
        }
        if declared := last_k(self.entity):
            for position, name in enumerate(declared.columns):
                row[name] = [entry[position] for entry in self.sequence[: declared.k]]
        return row


def _weight(aggregate: DecayedSum, event: dict[str, Any], line: dict[str, Any]) -> float:
    if event["event"] != aggregate.event:
        return 0.0
    return float(line.get(aggregate.value) or 0.0) if aggregate.value else 1.0


def catalog_rows(shop: Shop, since: datetime, stock: dict[str, int] | None = None) -> list[dict[str, Any]]:
    """One row of ``catalog`` per product, as of ``since``."""
    return [
        {
            **shop.product(index),
            "event_timestamp": since,
            "created": since,
            "previous_price": None,
            "currency": "EUR",
            "stock": (stock or {}).get(f"p{index}"),
            "first_seen_at": since.timestamp(),
            "origin": "catalog",
        }
        for index in range(shop.products)
    ]


def index_row(shop: Shop, since: datetime) -> dict[str, Any]:
    """The row of ``catalog_index``."""
    ids = [f"p{index}" for index in range(shop.products)]
    return {"shop": "all", "event_timestamp": since, "created": since, "product_ids": ids}


def arrow(table: tables.Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of the table's schema; missing columns become null."""
    return pa.Table.from_pylist(rows, schema=table.schema)


def write_history(shop: Shop, events: list[dict[str, Any]]) -> None:
    """Append everything to the Delta tables of the current settings."""
    from deltalake import write_deltalake

    tables.create_missing_tables()
    since = events[0]["timestamp"] - timedelta(days=1)
    for table, rows in (
        (tables.EVENTS, events),
        (tables.CUSTOMER_ACTIVITY, customer_rows(events)),
        (tables.CUSTOMER_EXPOSURE, customer_rows(events, Entity.EXPOSURE)),
        (tables.ITEM_ACTIVITY, item_rows(events)),
        (tables.CATALOG, catalog_rows(shop, since)),
        (tables.CATALOG_INDEX, [index_row(shop, since)]),
    ):
        write_deltalake(table.uri, arrow(table, rows), mode="append", partition_by=list(table.partition_by) or None)


def now() -> datetime:
    """The current time, in whole milliseconds."""
    current = datetime.now(tz=UTC)
    return current.replace(microsecond=current.microsecond // 1000 * 1000)
