"""What the rows of the offline tables, and of catalogue sources, are expected to be: pandera schemas and limits.

Ranges are those of the event contract. What a type alone says is not repeated: Delta tables keep their types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from pandera.pandas import Check, Column, DataFrameSchema
from pydantic import BaseModel

from feature_repo.aggregates import Entity, decayed_sums
from feature_repo.contract import EVENTS as EVENT_RULES
from feature_repo.contract import ORDERED, Product, Properties
from feature_repo.tables import CATALOG, CUSTOMER_ACTIVITY, CUSTOMER_EXPOSURE, EVENTS, ITEM_ACTIVITY, Table

# Nothing that a shop has is older.
OLDEST = pd.Timestamp("2000-01-01", tz="UTC")
_SUM_LIMIT = 1e15
_STOCK_LIMIT = 1_000_000_000


@dataclass(frozen=True)
class Expected:
    """What the rows of one selection of a table must be.

    Attributes:
        name: of the selection.
        table: what it is selected from.
        select: SQL over ``rows``, those of the table.
        key: the column that examples name.
        schema: of each row.
        advice: what to do about a row that is not.
        most_missing: largest share of rows without a value, by column.
        dated_by: the column by which the rows of some days are chosen; empty: all rows.
    """

    name: str
    table: Table
    select: str
    key: str
    schema: DataFrameSchema
    advice: str
    most_missing: Mapping[str, float] = field(default_factory=dict)
    dated_by: str = ""


def expected_of_tables(now: datetime) -> list[Expected]:
    """What is expected of the Delta tables at a moment."""
    return [
        Expected(
            "events",
            EVENTS,
            "SELECT message_id, type, CASE WHEN type = 'track' THEN event END AS event, customer_id, timestamp, received_at, "
            "revenue, currency, source FROM rows",
            "message_id",
            DataFrameSchema(
                {
                    "message_id": _filled(_length(100)),
                    "type": _filled(_among(("track", "identify", "alias", "page", "screen", "group"))),
                    "event": _maybe(_among(tuple(EVENT_RULES))),
                    "customer_id": _filled(_length(200)),
                    "timestamp": _filled(_time(now)),
                    "received_at": _filled(_time(now)),
                    "revenue": _maybe(_within(Properties, "revenue")),
                    "currency": _maybe(_length(3, 0)),
                    "source": _filled(),
                }
            ),
            "the stream lets no such event pass: see what else writes the events table; `python -m ingestion reconcile` "
            "tells what came from where",
            dated_by="dt",
        ),
        Expected(
            "lines of events",
            EVENTS,
            "SELECT message_id, p.product_id, p.price, p.quantity, p.position "
            "FROM (SELECT message_id, unnest(products) AS p FROM rows)",
            "message_id",
            DataFrameSchema(
                {
                    "product_id": _filled(_length(200)),
                    "price": _maybe(_within(Product, "price")),
                    "quantity": _maybe(_within(Product, "quantity")),
                    "position": _maybe(_within(Product, "position")),
                }
            ),
            "the stream lets no such product pass: see what else writes the events table",
            dated_by="dt",
        ),
        Expected(
            "orders",
            EVENTS,
            "SELECT message_id, order_id, revenue, coalesce(len(products), 0) AS lines FROM rows "
            f"WHERE event = '{ORDERED}'",
            "message_id",
            DataFrameSchema(
                {
                    "order_id": _filled(_length(200)),
                    "lines": _filled(Check.ge(1, error="1 or more")),
                    "revenue": _maybe(_within(Properties, "revenue")),
                }
            ),
            "look at how the tracker or the CRM mapping (docs/crm.md) fills orders",
            dated_by="dt",
        ),
        Expected(
            "catalog",
            CATALOG,
            "SELECT product_id, event_timestamp, name, category, price, currency, stock, origin FROM rows "
            "QUALIFY row_number() OVER (PARTITION BY product_id ORDER BY event_timestamp DESC, created DESC) = 1",
            "product_id",
            DataFrameSchema(
                {
                    "product_id": _filled(_length(200)),
                    "event_timestamp": _filled(_time(now)),
                    "origin": _filled(_among(("catalog", "events", "removed"))),
                    **_of_products(),
                }
            ),
            "load a catalogue that says it right (`python -m ingestion catalog`)",
            most_missing=_PRODUCTS_MISSING,
        ),
        *(_activity(entity, table) for entity, table in _ACTIVITY),
    ]


def expected_of_source(now: datetime) -> DataFrameSchema:
    """What is expected of a row of a catalogue source, in the columns that the loader reads."""
    return DataFrameSchema(
        {"product_id": _filled(_length(200)), "event_timestamp": _maybe(_time(now)), **_of_products()}
    )


def missing_in_source() -> Mapping[str, float]:
    """Largest shares of a catalogue source's rows without a value, by column."""
    return _PRODUCTS_MISSING


_PRODUCTS_MISSING = {"name": 0.2, "category": 0.2, "price": 0.1}
_ACTIVITY = (
    (Entity.CUSTOMER, CUSTOMER_ACTIVITY),
    (Entity.EXPOSURE, CUSTOMER_EXPOSURE),
    (Entity.ITEM, ITEM_ACTIVITY),
)


def _activity(entity: Entity, table: Table) -> Expected:
    sums = [aggregate.name for aggregate in decayed_sums(entity)]
    not_negative = Check.in_range(0, _SUM_LIMIT, error=f"from 0 to {_SUM_LIMIT:g}")
    return Expected(
        table.name,
        table,
        f"SELECT {', '.join((entity.key, 'event_timestamp', 'last_event_at', 'event_count', *sums))} FROM rows",
        entity.key,
        DataFrameSchema(
            {
                entity.key: _filled(_length(200)),
                "event_timestamp": _filled(),
                "event_count": _filled(Check.ge(1, error="1 or more")),
                "last_event_at": _filled(Check.ge(OLDEST.timestamp(), error=f"after {OLDEST:%Y}")),
                **{name: _maybe(not_negative) for name in sums},
            }
        ),
        "`python -m ingestion parity` tells which rows are not what the events say; a backfill computes them anew",
        dated_by="event_timestamp",
    )


def _of_products() -> dict[str, Column]:
    return {
        "name": _maybe(_length(2_000, 0)),
        "category": _maybe(_length(2_000, 0)),
        "price": _maybe(_within(Product, "price")),
        "currency": _maybe(_length(3, 0)),
        "stock": _maybe(Check.in_range(0, _STOCK_LIMIT, error=f"from 0 to {_STOCK_LIMIT:,}")),
    }


def _filled(*checks: Check) -> Column:
    return Column(nullable=False, checks=list(checks))


def _maybe(*checks: Check) -> Column:
    return Column(nullable=True, checks=list(checks))


def _length(most: int, least: int = 1) -> Check:
    return Check.str_length(least, most, error=f"{least} to {most:,} characters")


def _among(words: tuple[str, ...]) -> Check:
    return Check.isin(words, error=f"one of {', '.join(words)}")


def _time(now: datetime) -> Check:
    newest = pd.Timestamp(now + timedelta(days=1))
    return Check(
        lambda times: (times >= OLDEST) & (times <= newest), error=f"from {OLDEST:%Y} to tomorrow", ignore_na=True
    )


def _within(model: type[BaseModel], name: str) -> Check:
    """The range that the contract allows."""
    declared: dict[str, Any] = model.model_json_schema()["properties"][name]
    (number,) = [kind for kind in declared["anyOf"] if "minimum" in kind]
    low, high = number["minimum"], number["maximum"]
    return Check.in_range(low, high, error=f"from {low:g} to {high:,.0f}")
