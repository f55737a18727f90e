"""A shop's traffic without end: the events of visits that overlap as they do in a real shop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.simulator.behaviour import behave
from ingestion.simulator.history import events_per_visit
from ingestion.simulator.shop import Shop
from ingestion.simulator.tables import MOMENT, EventTables
from ingestion.simulator.visits import Clientele

LOGGED_IN_SHARE = 0.75
WARM_UP_SECONDS = 300.0
WINDOW_SECONDS = 1.0


class Traffic:
    """Iterate over it for contract events, in order, with the visits of about ``rate`` events a second interleaved.

    Their timestamps are of the simulation's own clock; a sender replaces them. Chance is drawn anew in each process,
    so that a restart repeats no message id.
    """

    def __init__(self, shop: Shop, rate: float) -> None:
        self._shop = shop
        self._rng = np.random.default_rng()
        self._tables = EventTables(shop)
        self._in_stock = shop.catalog.stock > 0
        self._clientele = Clientele(shop, self._rng, LOGGED_IN_SHARE, time.time())
        self._visits_per_second = rate / events_per_visit(shop)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Visits begin in short windows; an event waits until no visit that begins later can come before it.

        The first visitors are met in the middle of their visits, as if the shop had been open before.
        """
        start = time.time()
        waiting = _from(self._happening(start - WARM_UP_SECONDS, start), start)
        while True:
            end = start + WINDOW_SECONDS
            events = pa.concat_tables([waiting, self._happening(start, end)])
            due = pc.less(events["timestamp"], _moment(end))
            now = events.filter(due)
            yield from map(_without_nulls, now.take(pc.sort_indices(now["timestamp"])).to_pylist())
            waiting = _from(events, end)
            start = end

    def _happening(self, start: float, end: float) -> pa.Table:
        visits = self._rng.poisson(self._visits_per_second * (end - start))
        times = np.sort(self._rng.uniform(start, end, visits))
        happenings = behave(self._shop, self._rng, self._clientele.visit(self._rng, times), self._in_stock)
        return self._tables.table(happenings, self._rng)


def _from(events: pa.Table, moment: float) -> pa.Table:
    return events.filter(pc.greater_equal(events["timestamp"], _moment(moment))).combine_chunks()


def _moment(seconds: float) -> pa.Scalar:
    return pa.scalar(datetime.fromtimestamp(round(seconds, 3), UTC), MOMENT)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
