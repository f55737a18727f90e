"""The event log that models are judged on: what happened to which product, in order of time.

A customer is the id that an event carries. A session is what shares a ``context.sessionId``; events without one belong
together until the customer has been idle for 30 minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo import tables
from feature_repo.aggregates import ACTION_OF_EVENT, Action
from feature_repo.contract import CHECKOUT, LIST_VIEWED
from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.reading import Floats
from training.data.events import EventLog, Interactions, Labels, encode, unmasked

IDLE_SECONDS = 1_800.0
# Kinds of lines besides the codes of Action, which are positive.
SHOWN = 0
CHECKED_OUT = -1
# What makes up a session's sequence of products.
ITEM_ACTIONS = (Action.CLICKED, Action.VIEWED, Action.ADDED)

_KINDS = {LIST_VIEWED: SHOWN, CHECKOUT: CHECKED_OUT, **ACTION_OF_EVENT}


@dataclass(frozen=True)
class Lines:
    """A line per product of each event, in order of time; every array has shape (lines,).

    Attributes:
        times: epoch seconds, ascending.
        events: number of the event that a line is of.
        customers, sessions: their numbers.
        items: product codes; :data:`UNKNOWN` for a checkout, which is a line of its own without product.
        kinds: a code of :class:`Action`, :data:`SHOWN` or :data:`CHECKED_OUT`.
    """

    times: Floats
    events: NDArray[np.int64]
    customers: Codes
    sessions: Codes
    items: Codes
    kinds: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.times)

    def take(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Lines:
        """Some lines."""
        return Lines(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def of(self, kinds: Iterable[int]) -> Lines:
        """Lines of some kinds."""
        return self.take(np.isin(self.kinds, list(kinds)))

    def before(self, moment: float) -> Lines:
        """Lines strictly before a moment."""
        return self.take(slice(0, int(np.searchsorted(self.times, moment))))

    def interactions(self, customer_ids: NDArray[np.object_]) -> Interactions:
        """Everything but lists and checkouts, as training reads it."""
        part = self.of(Action)
        unknown = Labels.unknown(len(part))
        kinds = part.kinds.astype(np.int32)
        return Interactions(part.customers, part.items, kinds, part.times, unknown, unknown, customer_ids)


@dataclass(frozen=True)
class Clock:
    """Orders rows by somebody (a customer, a session) and then by time, as whole numbers.

    Attributes:
        moments: all moments that rows can have, ascending, epoch seconds.
    """

    moments: Floats

    def keys(self, numbers: NDArray[np.integer], times: Floats) -> NDArray[np.int64]:
        """One key per row; of one number, a row strictly before another has the lower key."""
        return numbers.astype(np.int64) * (len(self.moments) + 1) + np.searchsorted(self.moments, times)


@dataclass(frozen=True)
class Histories:
    """Interactions of all customers, grouped by customer and in order of time, with their keys of the clock."""

    lines: Lines
    keys: NDArray[np.int64]
    clock: Clock

    @classmethod
    def of(cls, log: Log) -> Histories:
        """From everything that happened."""
        lines = log.lines.of(Action)
        keys = log.clock.keys(lines.customers, lines.times)
        order = np.argsort(keys, kind="stable")
        return cls(lines.take(order), keys[order], log.clock)

    def before(self, customers: Codes, moments: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the rows of each customer strictly before each moment begin and end."""
        starts = np.searchsorted(self.keys, self.clock.keys(customers, np.full(len(customers), -np.inf)))
        return starts, np.searchsorted(self.keys, self.clock.keys(customers, moments))


@dataclass(frozen=True)
class Log:
    """All that queries are made of and models may learn from.

    Attributes:
        lines: what happened to products.
        starts: time of each session's first event, epoch seconds.
        countries, devices: of each session, None if unknown.
        ids: products by code.
        customer_ids: customers by number.
        since: when each product was first heard of, in an event or in the catalogue, epoch seconds.
        categories: of the products, as the catalogue has them last, None if unknown.
    """

    lines: Lines
    starts: Floats
    countries: NDArray[np.object_]
    devices: NDArray[np.object_]
    ids: tuple[str, ...]
    customer_ids: NDArray[np.object_]
    since: Floats
    categories: NDArray[np.object_]

    @cached_property
    def clock(self) -> Clock:
        """The moments at which something happened."""
        return Clock(np.unique(self.lines.times))

    @cached_property
    def histories(self) -> Histories:
        """What each customer did to products."""
        return Histories.of(self)

    def with_lines(self, lines: Lines) -> Log:
        """The same shop, in which other things happened."""
        return replace(self, lines=lines)


def read_log(archive: EventLog) -> Log:
    """Read the archive of the present installation."""
    connection, ids = archive.connection, archive.product_ids()
    connection.register("kinds", pa.table({"event": list(_KINDS), "kind": pa.array(_KINDS.values(), pa.int8())}))
    connection.register("codes", pa.table({"product_id": ids, "code": np.arange(len(ids), dtype=np.int32)}))
    _make_steps(archive)
    sessions = connection.execute(
        """SELECT min(moment) AS starts, arg_min(country, number) AS country, arg_min(device, number) AS device
           FROM steps GROUP BY session ORDER BY session"""
    ).fetchnumpy()
    customers = connection.execute("SELECT DISTINCT customer, customer_id FROM steps ORDER BY customer").fetchnumpy()
    columns = connection.execute(
        """SELECT moment, number, customer, session, code, kind
           FROM (SELECT moment, number, customer, session, code, kind, place
                 FROM (SELECT moment, number, customer, session, kind, unnest(products).product_id AS product_id,
                              unnest(range(len(products))) AS place
                       FROM steps JOIN kinds USING (event) WHERE kind <> $checkout)
                 JOIN codes USING (product_id)
                 UNION ALL
                 SELECT moment, number, customer, session, $unknown, kind, 0
                 FROM steps JOIN kinds USING (event) WHERE kind = $checkout)
           ORDER BY number, place""",
        {"checkout": CHECKED_OUT, "unknown": UNKNOWN},
    ).fetchnumpy()
    lines = Lines(
        times=np.asarray(columns["moment"], dtype=float),
        events=np.asarray(columns["number"], dtype=np.int64),
        customers=np.asarray(columns["customer"], dtype=np.int32),
        sessions=np.asarray(columns["session"], dtype=np.int32),
        items=np.asarray(columns["code"], dtype=np.int32),
        kinds=np.asarray(columns["kind"], dtype=np.int8),
    )
    since, categories = _catalogue(archive, ids)
    known = lines.items != UNKNOWN
    np.minimum.at(since, lines.items[known], lines.times[known])
    return Log(
        lines=lines,
        starts=np.asarray(sessions["starts"], dtype=float),
        countries=unmasked(sessions["country"]),
        devices=unmasked(sessions["device"]),
        ids=ids,
        customer_ids=unmasked(customers["customer_id"]),
        since=since,
        categories=categories,
    )


def _make_steps(archive: EventLog) -> None:
    """Make the table ``steps(number, customer, session, customer_id, event, country, device, products, moment)``, by time."""
    archive.connection.execute(
        """CREATE OR REPLACE TABLE steps AS
        WITH ordered AS (
            SELECT row_number() OVER (ORDER BY timestamp, message_id) - 1 AS number, customer_id, event, country, device,
                   products, epoch_us(timestamp) / 1e6 AS moment, nullif(session_id, '') AS tracked
            FROM track WHERE customer_id IS NOT NULL
        ), begun AS (
            SELECT *, tracked IS NULL AND NOT coalesce(
                moment - lag(moment) OVER (PARTITION BY customer_id, tracked ORDER BY number) <= $idle, false) AS begins
            FROM ordered
        ), parted AS (
            SELECT *, count(*) FILTER (begins) OVER (PARTITION BY customer_id, tracked ORDER BY number) AS part
            FROM begun
        )
        SELECT number, dense_rank() OVER (ORDER BY customer_id) - 1 AS customer,
               dense_rank() OVER (ORDER BY customer_id, tracked, part) - 1 AS session,
               customer_id, event, country, device, products, moment
        FROM parted ORDER BY number""",
        {"idle": IDLE_SECONDS},
    )


def _catalogue(archive: EventLog, ids: tuple[str, ...]) -> tuple[Floats, NDArray[np.object_]]:
    """When the catalogue first had each product (infinity: never), and the newest category."""
    rows = archive.connection.execute(
        f"""SELECT product_id, min(epoch_us(event_timestamp)) / 1e6 AS since,
                   arg_max(category, event_timestamp) FILTER (category IS NOT NULL) AS category
            FROM delta_scan('{tables.CATALOG.uri}') GROUP BY product_id"""
    ).fetchnumpy()
    codes = encode(rows["product_id"], ids)
    known = codes != UNKNOWN
    since, categories = np.full(len(ids), np.inf), np.full(len(ids), None, dtype=object)
    since[codes[known]] = rows["since"][known]
    categories[codes[known]] = unmasked(rows["category"])[known]
    return since, categories
