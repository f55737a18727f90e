"""Which list of recommendations gets the credit for what a customer did.

A click (clicked, viewed, put into the cart or ordered within ``click_minutes``), a cart and an order (within ``order_hours``) of
a product count for the latest list that showed it to the same customer before. Any list competes: what a search has shown
since is the search's doing. A list counts as recommended by its ``request_id``.

Days are computed on their own: what a list of one day gets does not depend on which other days are computed with it, so that
a day can be computed again, and gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED
from feature_repo.sections.watching import OutcomeSettings
from feature_repo.settings import get_settings
from feature_repo.tables import OUTCOMES
from ingestion.features.identity import TIE_TYPES

# An answer may be shown from a cache, and clocks may differ; an older one is taken to be somebody else's.
ANSWER_DAYS = 1
# Who a visitor's device belongs to is looked up so far back; what was tied longer ago must have been tied again since.
TIE_DAYS = 90
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Days:
    """Days of lists, both included."""

    first: date
    last: date

    @property
    def begin(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        return datetime.combine(self.last + _ONE_DAY, time(), UTC)

    def widened(self, before: int, after: int) -> ds.Expression:
        """The condition on partitions that they lie within the days, or so many days before or after."""
        first, last = (pa.scalar(day) for day in (self.first - before * _ONE_DAY, self.last + after * _ONE_DAY))
        return (ds.field("dt") >= first) & (ds.field("dt") <= last)


def credit_days(settings: OutcomeSettings) -> int:
    """How many days after the day of a list something may still count for it."""
    return math.ceil(settings.order_hours / 24)


@contextmanager
def database(threads: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB, in UTC, which puts what does not fit into memory below the installation's home."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET temp_directory = ?", [str(get_settings().home / "duckdb")])
        if threads:
            connection.execute("SET threads = ?", [threads])
        yield connection


def outcomes_of(days: Days, events: DeltaTable, answers: DeltaTable, threads: int | None = None) -> pa.Table:
    """The rows of the outcomes table of some days.

    Args:
        days: of which the lists are wanted.
        events, answers: the tables ``events`` and ``recommendations``.
        threads: most threads that may be used.
    """
    settings = get_settings().outcomes
    with database(threads) as connection:
        _read(connection, days, events.to_pyarrow_dataset(), answers.to_pyarrow_dataset(), credit_days(settings))
        moments = {"begin": days.begin, "end": days.end}
        windows = {"click": timedelta(minutes=settings.click_minutes), "order": timedelta(hours=settings.order_hours)}
        connection.execute(_HAPPENINGS, {"order": windows["order"]})
        connection.execute(_PERSONS, {"list_viewed": LIST_VIEWED, **moments})
        connection.execute(_REACTIONS, {**windows, "list_viewed": LIST_VIEWED, "added": ADDED, "ordered": ORDERED})
        rows = connection.execute(_OUTCOMES, moments).to_arrow_table()
    return rows.select(OUTCOMES.schema.names).cast(OUTCOMES.schema)


def _read(
    connection: duckdb.DuckDBPyConnection, days: Days, events: ds.Dataset, answers: ds.Dataset, after: int
) -> None:
    """Make the tables ``told`` (lists and what customers did), ``ties`` and ``answers``, of what the days may need."""
    happened = days.widened(0, after) & ds.field("event").isin([LIST_VIEWED, CLICKED, VIEWED, ADDED, ORDERED])
    columns = ["message_id", "event", "customer_id", "timestamp", "request_id", "products"]
    connection.register("happened", events.scanner(columns=columns, filter=happened))
    connection.execute(
        """CREATE TABLE told AS SELECT * REPLACE (list_transform(
            products, lambda p: {product_id: p.product_id, price: p.price, quantity: p.quantity}) AS products)
        FROM happened WHERE customer_id IS NOT NULL"""
    )
    said = days.widened(TIE_DAYS, after) & ds.field("type").isin(TIE_TYPES)
    columns = ["type", "user_id", "anonymous_id", "previous_id", "timestamp"]
    connection.register("said", events.scanner(columns=columns, filter=said))
    connection.execute(
        """CREATE TABLE ties AS
        SELECT source, timestamp AS at, max(user_id) AS customer
        FROM (SELECT *, CASE type WHEN 'identify' THEN anonymous_id ELSE trim(previous_id) END AS source FROM said)
        WHERE source <> '' AND user_id IS NOT NULL AND source <> user_id GROUP BY ALL"""
    )
    given = days.widened(ANSWER_DAYS, ANSWER_DAYS) & ds.field("request_id").is_valid()
    columns = ["request_id", "answered_at", "scenario", "model_version", "experiment", "variant", "items"]
    connection.register("given", answers.scanner(columns=columns, filter=given))
    connection.execute(
        """CREATE TABLE answers AS SELECT * FROM given
        QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY answered_at) = 1"""
    )


# The customer of each event: whom the id was tied to last, or else is tied to within the time in which an order counts.
_HAPPENINGS = f"""
CREATE TABLE happenings AS
SELECT told.*, CASE
    WHEN before.at >= told.timestamp - INTERVAL {TIE_DAYS} DAY THEN before.customer
    WHEN later.at <= told.timestamp + $order THEN later.customer
    ELSE told.customer_id END AS person
FROM told
ASOF LEFT JOIN ties AS before ON before.source = told.customer_id AND told.timestamp >= before.at
ASOF LEFT JOIN ties AS later ON later.source = told.customer_id AND told.timestamp < later.at
"""

# Those who were recommended something.
_PERSONS = """
CREATE TABLE persons AS
SELECT DISTINCT person FROM happenings
WHERE event = $list_viewed AND request_id IS NOT NULL AND timestamp >= $begin AND timestamp < $end
"""

# Of several lists at the same moment, a recommended one shows a product before others do.
_REACTIONS = """
CREATE TABLE credited AS
WITH shown AS (
    SELECT person, product.product_id AS product_id, timestamp,
        arg_min(message_id, (CASE WHEN request_id IS NULL THEN '1' ELSE '0' END) || message_id) AS message_id
    FROM (SELECT person, timestamp, message_id, request_id, unnest(products) AS product
          FROM happenings SEMI JOIN persons USING (person) WHERE event = $list_viewed)
    GROUP BY ALL
), acts AS (
    SELECT person, product.product_id AS product_id, timestamp, event,
        product.price * coalesce(product.quantity, 1) AS value
    FROM (SELECT person, timestamp, event, unnest(products) AS product
          FROM happenings SEMI JOIN persons USING (person) WHERE event <> $list_viewed)
)
SELECT shown.message_id, product_id,
    min(acts.timestamp) FILTER (acts.timestamp <= shown.timestamp + $click) AS clicked_at,
    min(acts.timestamp) FILTER (event = $added) AS carted_at,
    min(acts.timestamp) FILTER (event = $ordered) AS ordered_at,
    sum(value) FILTER (event = $ordered) AS revenue
FROM acts ASOF JOIN shown USING (person, product_id, timestamp)
WHERE acts.timestamp <= shown.timestamp + $order
GROUP BY ALL
"""

# Of a list whose answer is known, the products that were in the answer; else all that it shows.
_OUTCOMES = f"""
WITH lists AS (
    SELECT message_id, happenings.request_id, timestamp AS shown_at, person, products,
        answers.request_id IS NOT NULL AS answered, scenario, model_version, experiment, variant, items AS given
    FROM happenings
    LEFT JOIN answers ON answers.request_id = happenings.request_id
        AND answered_at BETWEEN timestamp - INTERVAL {ANSWER_DAYS} DAY AND timestamp + INTERVAL {ANSWER_DAYS} DAY
    WHERE event = '{LIST_VIEWED}' AND happenings.request_id IS NOT NULL AND timestamp >= $begin AND timestamp < $end
), pages AS (
    SELECT message_id, answered, product.product_id AS product_id, min(place) AS place
    FROM (SELECT message_id, answered, unnest(products) AS product, generate_subscripts(products, 1) AS place FROM lists)
    GROUP BY ALL
), recommended AS (
    SELECT message_id, item.product_id AS product_id, arg_min(item.source, place) AS source, min(place) AS place
    FROM (SELECT message_id, unnest(given) AS item, generate_subscripts(given, 1) AS place FROM lists WHERE answered)
    GROUP BY ALL
), lines AS (
    SELECT message_id, pages.product_id, source, coalesce(recommended.place, pages.place) AS place,
        clicked_at, carted_at, ordered_at, revenue
    FROM pages
    LEFT JOIN recommended USING (message_id, product_id)
    LEFT JOIN credited USING (message_id, product_id)
    WHERE NOT answered OR recommended.place IS NOT NULL
), items AS (
    SELECT message_id, list({{
        product_id: product_id, source: source, place: place::INTEGER, clicked_at: clicked_at, carted_at: carted_at,
        ordered_at: ordered_at, revenue: revenue
    }} ORDER BY place, product_id) AS items FROM lines GROUP BY message_id
)
SELECT message_id, request_id, shown_at, person, answered, scenario, model_version, experiment, variant,
    coalesce(items.items, []) AS items, shown_at::DATE AS dt
FROM lists LEFT JOIN items USING (message_id) ORDER BY shown_at, message_id
"""
