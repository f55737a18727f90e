"""Feature rows that are hard to join as of a moment, the questions about them, and an answer in plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd

from feature_repo.tables import CATALOG, CUSTOMER_ACTIVITY, CUSTOMER_EXPOSURE, ITEM_ACTIVITY, Table

START = datetime(2026, 3, 29, tzinfo=UTC)  # in Europe, an hour is missing that night
Row = dict[str, Any]
KEEP = timedelta(days=50 * 365)
TRICKY = 'it\'s "a" \\ {b}, ☕\tNULL'


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def _item(product: str, about: datetime, written: datetime, count: int | None, **sums: float | None) -> Row:
    return {
        "product_id": product,
        "event_timestamp": about,
        "created": written,
        "last_event_at": about.timestamp(),
        "event_count": count,
        **sums,
    }


ITEMS = [
    _item("a", at(1), at(1), 1, views_7d=0.1, clicks_7d=1 / 3),
    _item("a", at(3), at(3), 3, views_7d=3.0),
    _item("a", at(3), at(4), 4, views_7d=3.5, clicks_7d=5e-324),  # the same time, corrected: this one counts
    _item("a", at(2), at(5), 2, views_7d=2.0),  # written last, but about an earlier time
    _item("a", at(6), at(6), None, views_7d=None),  # newer, and says that nothing is known
    _item("b", at(2), at(2), 7, views_7d=1e300),
    _item(TRICKY, at(2), at(2), 8, views_7d=8.0),
    _item("old", at(0) - KEEP, at(0) - KEEP, 9, views_7d=9.0),  # as old as a row may be at the start
    # Microseconds apart.
    _item("close", at(1), at(1), 10),
    _item("close", at(1) + timedelta(microseconds=1), at(1), 11),
]

CATALOGUE = [
    {
        "product_id": product,
        "event_timestamp": at(hours),
        "created": at(hours),
        "name": name,
        "category": "Kitchen/Cups",
        "brand": "",
        "price": price,
        "stock": stock,
        "origin": "catalog",
    }
    for product, hours, name, price, stock in [
        ("a", -100, "Cup", 9.5, 2**53 - 1),
        ("a", 2.5, None, 8.0, None),
        (TRICKY, -100, TRICKY, None, 0),
    ]
]


def _customer(customer: str, hours: float, items: list[str] | None, actions: list[int], times: list[int]) -> Row:
    return {
        "customer_id": customer,
        "event_timestamp": at(hours),
        "created": at(hours),
        "last_event_at": at(hours).timestamp(),
        "event_count": len(times),
        "views_1d": hours / 7,
        "recent_items": items,
        "recent_actions": actions if items is not None else None,
        "recent_times": times if items is not None else None,
    }


CUSTOMERS = [
    _customer("ada", 1, ["a"], [1], [int(at(1).timestamp() * 1000)]),
    _customer("ada", 2, [TRICKY, "", "NULL", "a"], [2, 1, 2**31 - 1, -1], [2**53, 3, 2, 1]),
    _customer("ada", 4, [], [], []),
    _customer("bob", 1, None, [], []),
]

EXPOSURE = [
    {
        "customer_id": "ada",
        "event_timestamp": at(3),
        "created": at(3),
        "last_event_at": at(3).timestamp(),
        "event_count": 1,
        "shown_items": ["a", "b"],
        "shown_positions": [1, 2],
        "shown_times": [5, 4],
    }
]

ROWS: dict[Table, list[Row]] = {
    ITEM_ACTIVITY: ITEMS,
    CATALOG: CATALOGUE,
    CUSTOMER_ACTIVITY: CUSTOMERS,
    CUSTOMER_EXPOSURE: EXPOSURE,
}

ITEM_MOMENTS = [
    ("a", at(0.5)),  # nothing yet
    ("a", at(1)),  # at the very moment
    ("a", at(1)),  # asked twice
    ("a", at(2)),
    ("a", at(2.9)),
    ("a", at(3)),
    ("a", at(5)),
    ("a", at(6)),
    ("a", at(500)),
    ("b", at(1.999)),
    ("b", at(2.5)),
    ("old", at(0)),
    ("old", at(0) + timedelta(seconds=1)),  # a second too late
    ("close", at(1)),
    ("close", at(1) + timedelta(microseconds=1)),
    ("unknown", at(5)),
    (TRICKY, at(5)),
]
CUSTOMER_MOMENTS = [
    ("ada", at(0)),
    ("ada", at(1)),
    ("ada", at(2)),
    ("ada", at(3)),
    ("ada", at(4)),
    ("bob", at(1)),
    ("nobody", at(1)),
]

ZONES = [UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=3, minutes=30))]


def asked(key: str, moments: Sequence[tuple[str, datetime]], zone: timezone = UTC) -> pd.DataFrame:
    """The entity rows of a question, each with its number."""
    times = pd.Series([moment for _, moment in moments], dtype="datetime64[us, UTC]").dt.tz_convert(zone)
    names = pd.Series([name for name, _ in moments], dtype=object)
    return pd.DataFrame({key: names, "event_timestamp": times, "row": range(len(moments))})


def answer(
    table: Table,
    columns: Iterable[str],
    moments: Sequence[tuple[str, datetime]],
    ttl: timedelta = KEEP,
    rows: Sequence[Row] | None = None,
) -> dict[str, list[Any]]:
    """Each column of the newest row at or before each moment: of those about the same time, the one written last."""
    key = table.schema.names[0]
    found: list[Row] = []
    for name, moment in moments:
        earlier = [
            row
            for row in (rows if rows is not None else ROWS[table])
            if row[key] == name and moment - ttl <= row["event_timestamp"] <= moment
        ]
        found.append(max(earlier, key=lambda row: (row["event_timestamp"], row["created"]), default={}))
    return {column: [row.get(column) for row in found] for column in columns}


def values(column: pd.Series) -> list[Any]:
    """A column of an answer, whatever pandas made of missing values and arrays."""
    return [_value(value) for value in column]


def _value(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_value(one) for one in value]
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
