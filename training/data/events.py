"""Reading the event archive of the offline store for training."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import numpy as np
import pandas as pd
from duckdb_extensions import import_extension
from numpy.typing import NDArray

from feature_repo import tables
from feature_repo.aggregates import ACTION_OF_EVENT
from feature_repo.contract import LIST_VIEWED
from feature_repo.errors import InputError
from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.ranking.visitors import SESSION_GAP_HOURS
from feature_repo.reading import Floats

_VISIT_SECONDS = SESSION_GAP_HOURS * 3600
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """The part of history that training may see: from ``since`` up to, but not including, ``until``."""

    since: datetime = BEGINNING
    until: datetime = END


@dataclass(frozen=True)
class Labels:
    """A word for each of n rows: ``codes`` are places in ``words``, :data:`UNKNOWN` where there is none; shape (n,)."""

    codes: Codes
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, words: NDArray[np.object_]) -> Labels:
        """From words as DuckDB gives them."""
        codes, known = pd.factorize(unmasked(words))
        return cls(codes.astype(np.int32), tuple(known))

    @classmethod
    def unknown(cls, count: int) -> Labels:
        """Of rows of which nothing is known."""
        return cls(np.full(count, UNKNOWN, dtype=np.int32))

    def plain(self) -> list[str | None]:
        """The words themselves."""
        return [None if code == UNKNOWN else self.words[code] for code in self.codes]

    def part(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Labels:
        """Of some rows."""
        return Labels(self.codes[rows], self.words)


@dataclass(frozen=True)
class Interactions:
    """What customers did to products, in order of time; arrays of shape (n,).

    Attributes:
        customers: customer numbers.
        items: product codes.
        actions: codes of :class:`feature_repo.aggregates.Action`.
        times: epoch seconds.
        countries, devices: of the visitor at that time.
        customer_ids: the customers by number.
    """

    customers: Codes
    items: Codes
    actions: Codes
    times: Floats
    countries: Labels
    devices: Labels
    customer_ids: NDArray[np.object_]

    def before(self, moment: float) -> Interactions:
        """Those before a moment."""
        return self.part(slice(0, int(np.searchsorted(self.times, moment))))

    def part(self, rows: slice | NDArray[np.integer]) -> Interactions:
        """Some rows."""
        return Interactions(
            self.customers[rows],
            self.items[rows],
            self.actions[rows],
            self.times[rows],
            self.countries.part(rows),
            self.devices.part(rows),
            self.customer_ids,
        )

    def visits(self) -> tuple[Interactions, NDArray[np.int64]]:
        """The same customer by customer, and the number of the visit that each is part of, ascending.

        A visit ends where the customer does nothing for longer than half an hour.
        """
        ordered = self.part(np.argsort(self.customers, kind="stable"))
        begins = np.ones(len(self), dtype=bool)
        begins[1:] = ordered.customers[1:] != ordered.customers[:-1]
        begins[1:] |= np.diff(ordered.times) > _VISIT_SECONDS
        return ordered, np.cumsum(begins) - 1

    def __len__(self) -> int:
        return len(self.times)


class EventLog:
    """The archive's ``track`` events within a window, queried by DuckDB. Use as a context manager.

    ``connection`` has a view ``track`` with columns ``message_id, customer_id, session_id, event, timestamp, country,
    device, products``.

    Raises:
        InputError: the archive is missing or has no event within the window.
    """

    def __init__(self, window: Window) -> None:
        if not tables.EVENTS.exists():
            raise InputError(_nothing_to_learn_from("there are no events yet"))
        import_extension("delta")
        self.connection = duckdb.connect()
        self.connection.load_extension("delta")
        self.connection.execute("SET TimeZone = 'UTC'")
        # A view cannot take parameters; the two moments are rendered by Python's own ISO format.
        self.connection.execute(
            f"""CREATE VIEW track AS
                SELECT message_id, customer_id, session_id, event, timestamp, country, device, products
                FROM delta_scan('{tables.EVENTS.uri}')
                WHERE type = 'track' AND timestamp >= TIMESTAMPTZ '{window.since.isoformat()}'
                  AND timestamp < TIMESTAMPTZ '{window.until.isoformat()}'"""
        )
        names = [*ACTION_OF_EVENT, LIST_VIEWED]
        found = self.connection.execute(
            "SELECT count(*), min(timestamp), max(timestamp) FROM track WHERE event IN (SELECT unnest(?))", [names]
        ).fetchall()[0]
        self.count: int = found[0]
        if not self.count:
            raise InputError(_nothing_to_learn_from("no events lie within the window"))
        self.first: datetime = found[1]
        self.last: datetime = found[2]

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def product_ids(self) -> tuple[str, ...]:
        """Every product of the catalogue and of the interactions, sorted."""
        rows = self.connection.execute(
            f"""SELECT product_id FROM delta_scan('{tables.CATALOG.uri}')
                UNION
                SELECT product.product_id FROM (SELECT unnest(products) AS product FROM track WHERE event <> ?)
                ORDER BY ALL""",
            [LIST_VIEWED],
        ).fetchnumpy()
        return tuple(product_id for product_id in rows["product_id"] if product_id)

    def interactions(self, ids: tuple[str, ...]) -> Interactions:
        """All interactions with the products in ``ids``, whose places there become the codes."""
        columns = self.connection.execute(
            """SELECT customer_id, event, epoch_us(timestamp) AS at, product.product_id AS product_id, country, device
               FROM (SELECT message_id, customer_id, event, timestamp, country, device, unnest(products) AS product
                     FROM track WHERE event IN (SELECT unnest(?)))
               WHERE customer_id IS NOT NULL AND product.product_id IS NOT NULL
               ORDER BY timestamp, message_id, product_id""",
            [list(ACTION_OF_EVENT)],
        ).fetchnumpy()
        items = encode(columns["product_id"], ids)
        kept = items != UNKNOWN
        customer_ids, customers = np.unique(columns["customer_id"].astype(object)[kept], return_inverse=True)
        return Interactions(
            customers.astype(np.int32),
            items[kept],
            encode(columns["event"], tuple(ACTION_OF_EVENT), list(ACTION_OF_EVENT.values()))[kept],
            columns["at"][kept] / 1e6,
            Labels.of(columns["country"]).part(kept),
            Labels.of(columns["device"]).part(kept),
            customer_ids,
        )


def encode(words: NDArray[np.object_], vocabulary: tuple[str, ...], codes: list[int] | None = None) -> Codes:
    """The place of each word in the vocabulary, or the code at that place.

    Others are :data:`UNKNOWN`, and so is what is missing: None, NaN, or masked as DuckDB does it.
    """
    numbers = dict(zip(vocabulary, codes or range(len(vocabulary)), strict=True))
    return np.array([numbers.get(word, UNKNOWN) for word in unmasked(words)], dtype=np.int32)


def unmasked(words: NDArray[np.object_]) -> NDArray[np.object_]:
    """Words as DuckDB gives them, with None for what it masks; under the mask may lie anything."""
    plain = np.array(np.ma.getdata(words), dtype=object)
    plain[np.ma.getmaskarray(words)] = None
    return plain


def _nothing_to_learn_from(what: str) -> str:
    return (
        f"{what}: load history with `python -m ingestion backfill PATH` "
        "(`python -m ingestion simulate history PATH` invents some), or widen --from and --until"
    )
