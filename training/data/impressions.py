"""Impressions with labels: which products were shown to whom, and what became of them.

A product of a list was chosen if the customer turned to it before he saw the next page with lists, and within 30 minutes: what
he turns to later, he may have found elsewhere. Clicks and views count as clicked; what becomes of the product within the 30
minutes, and before another list shows it, counts as well, so that the strongest interaction is the product's strength.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.aggregates import ACTION_OF_EVENT, Action
from feature_repo.contract import LIST_VIEWED
from feature_repo.errors import InputError
from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.ranking.visitors import DEVICES
from feature_repo.reading import Floats
from feature_repo.sections.training import TrainingSettings
from training.data.events import EventLog, encode

CREDIT_MINUTES = 30
# A page with several lists reports them one after the other.
PAGE_SECONDS = 2
STRENGTHS = {Action.CLICKED: 1, Action.VIEWED: 1, Action.ADDED: 2, Action.WISHLISTED: 2, Action.ORDERED: 3}
# At most this latest share of the clicked lists become rows of the ranker, so that the candidate model whose scores they carry
# has a past of its own to learn from.
RANKER_SHARE = 0.6


@dataclass(frozen=True)
class Impressions:
    """Lists in order of time, and their products.

    Per list, shape (lists,): ``customer_ids``, ``times`` (epoch seconds), ``device`` (index in DEVICES, NaN unknown).
    Per product shown, shape (rows,), grouped by list: ``owner`` (number of the list), ``items`` (product codes),
    ``position`` (from 1, NaN unknown) and ``strength`` (0 unclicked, 1 clicked, 2 carted, 3 ordered).
    """

    customer_ids: NDArray[np.object_]
    times: Floats
    device: Floats
    owner: NDArray[np.int64]
    items: Codes
    position: Floats
    strength: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.times)

    def between(self, since: float, until: float) -> Impressions:
        """Lists from ``since`` up to, but not including, ``until``, renumbered from 0."""
        first, last = np.searchsorted(self.times, [since, until])
        return self.lists(np.arange(first, last))

    def lists(self, numbers: NDArray[np.integer]) -> Impressions:
        """The given lists (ascending) with all their rows, renumbered from 0."""
        place = np.full(len(self), -1)
        place[numbers] = np.arange(len(numbers))
        kept = self.rows(np.flatnonzero(place[self.owner] >= 0))
        return replace(
            kept,
            customer_ids=self.customer_ids[numbers],
            times=self.times[numbers],
            device=self.device[numbers],
            owner=place[kept.owner],
        )

    def rows(self, numbers: NDArray[np.integer]) -> Impressions:
        """All lists, with the given rows (ascending) only."""
        return replace(
            self,
            owner=self.owner[numbers],
            items=self.items[numbers],
            position=self.position[numbers],
            strength=self.strength[numbers],
        )


def read_impressions(log: EventLog, ids: tuple[str, ...], settings: TrainingSettings) -> Impressions:
    """The latest lists with a click.

    Raises:
        InputError: fewer lists with a click than ``settings.min_lists``.
    """
    clicked = _clicked(log)
    if len(clicked) < settings.min_lists:
        raise InputError(
            f"only {len(clicked)} impression lists (Product List Viewed) have a click within {CREDIT_MINUTES} minutes; "
            f"training needs {settings.min_lists} (SHELFWISE_TRAINING__MIN_LISTS): load more history, or widen the window"
        )
    latest = min(settings.max_lists, max(int(len(clicked) * RANKER_SHARE), 1))
    return _rows_of(log, clicked[-latest:].astype(object), ids)


def count_clicked(log: EventLog) -> int:
    """How many lists have a click."""
    return len(_clicked(log))


def _clicked(log: EventLog) -> NDArray[np.object_]:
    """Message ids of the lists with a click, in order of time."""
    _credit(log)
    found: NDArray[np.object_] = log.connection.execute(
        """SELECT message_id FROM track
           WHERE event = ? AND customer_id IS NOT NULL AND message_id IN (SELECT list FROM credit)
           ORDER BY timestamp, message_id""",
        [LIST_VIEWED],
    ).fetchnumpy()["message_id"]
    return found


def _credit(log: EventLog) -> None:
    """Make the table ``credit(list, product_id, strength)``."""
    scored = {name: STRENGTHS[action] for name, action in ACTION_OF_EVENT.items() if action in STRENGTHS}
    log.connection.register("scored", pa.table({"event": list(scored), "strength": list(scored.values())}))
    log.connection.execute(
        """CREATE OR REPLACE TABLE credit AS
        WITH acts AS (
            SELECT customer_id, product.product_id AS product_id, timestamp, strength
            FROM (SELECT customer_id, strength, timestamp, unnest(products) AS product
                  FROM track JOIN scored USING (event))
        ), shown AS (
            SELECT customer_id, product.product_id AS product_id, timestamp, min(message_id) AS list
            FROM (SELECT message_id, customer_id, timestamp, unnest(products) AS product FROM track
                  WHERE event = $list_viewed AND customer_id IN (SELECT customer_id FROM acts))
            WHERE (customer_id, product.product_id) IN (SELECT (customer_id, product_id) FROM acts)
            GROUP BY ALL
        ), pages AS (
            SELECT DISTINCT customer_id, timestamp FROM track
            WHERE event = $list_viewed AND customer_id IN (SELECT customer_id FROM acts)
        ), credited AS (
            SELECT acts.customer_id, acts.timestamp, shown.timestamp AS shown_at, list, product_id, strength
            FROM acts ASOF JOIN shown USING (customer_id, product_id, timestamp)
            WHERE acts.timestamp <= shown.timestamp + $minutes * INTERVAL 1 MINUTE
        )
        SELECT list, product_id, max(strength)::TINYINT AS strength
        FROM credited ASOF JOIN pages
            ON credited.customer_id = pages.customer_id AND credited.timestamp >= pages.timestamp
        GROUP BY ALL HAVING bool_or(pages.timestamp <= shown_at + $seconds * INTERVAL 1 SECOND)""",
        {"list_viewed": LIST_VIEWED, "minutes": CREDIT_MINUTES, "seconds": PAGE_SECONDS},
    )


def _rows_of(log: EventLog, message_ids: NDArray[np.object_], ids: tuple[str, ...]) -> Impressions:
    log.connection.register("chosen", pa.table({"list": message_ids, "number": np.arange(len(message_ids))}))
    lists = log.connection.execute(
        """SELECT customer_id, epoch_us(timestamp) AS at, device
           FROM chosen JOIN track ON message_id = list WHERE event = ? ORDER BY number""",
        [LIST_VIEWED],
    ).fetchnumpy()
    rows = log.connection.execute(
        """SELECT number, product.product_id AS product_id, min(product.position)::DOUBLE AS position,
                  coalesce(max(strength), 0)::TINYINT AS strength
           FROM (SELECT number, list, unnest(products) AS product FROM chosen JOIN track ON message_id = list
                 WHERE event = ?) AS shown
           LEFT JOIN credit ON credit.list = shown.list AND credit.product_id = shown.product.product_id
           WHERE product.product_id IS NOT NULL
           GROUP BY ALL ORDER BY number, position, product_id""",
        [LIST_VIEWED],
    ).fetchnumpy()
    device = encode(lists["device"], DEVICES)
    items = encode(rows["product_id"], ids)
    kept = items != UNKNOWN
    return Impressions(
        lists["customer_id"].astype(object),
        lists["at"] / 1e6,
        np.where(device == UNKNOWN, np.nan, device),
        rows["number"][kept],
        items[kept],
        np.ma.filled(rows["position"], np.nan)[kept],
        rows["strength"][kept],
    )
