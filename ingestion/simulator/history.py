"""Writing a shop's history: as many events as asked for, day by day, in the memory that a day needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.simulator.behaviour import behave
from ingestion.simulator.catalog import DAY_SECONDS
from ingestion.simulator.shop import Shop
from ingestion.simulator.tables import MOMENT, EventTables
from ingestion.simulator.visits import Clientele, arrival_times, busyness

CATALOG_FILE = "catalog.parquet"
CUSTOMERS_FILE = "customers.parquet"
HISTORY_FOLDER = "history"

LOGGED_IN_AT_START = 0.7
PILOT_VISITS = 1_500
LAST_DAY_RETRY = 1.3


def write_history(shop: Shop, events: int, folder: Path, progress: Callable[[int], None]) -> None:
    """Write exactly ``events`` events below ``folder``, with the catalogue, the true tastes and the shop's description.

    The same shop and number give the same bytes. What an earlier run wrote there is replaced once all is written.
    ``progress`` is told how many events are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{HISTORY_FOLDER}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    written = 0
    for day, table in _by_date(_slices(shop, events)):
        partition = unfinished / f"dt={day}"
        partition.mkdir(parents=True)
        _write(table, partition / "events.parquet")
        written += len(table)
        progress(written)
    _write(shop.catalog.table(shop.parameters.end_time), folder / CATALOG_FILE)
    _write(shop.customers.table(), folder / CUSTOMERS_FILE)
    shop.save(folder)
    shutil.rmtree(folder / HISTORY_FOLDER, ignore_errors=True)
    unfinished.rename(folder / HISTORY_FOLDER)


def events_per_visit(shop: Shop) -> float:
    """The mean, by trying."""
    rng = np.random.default_rng([shop.parameters.seed, 4])
    start = shop.history_span[0]
    visits = Clientele(shop, rng, LOGGED_IN_AT_START, start).visit(rng, np.full(PILOT_VISITS, start))
    return len(behave(shop, rng, visits, _all_products(shop))) / PILOT_VISITS


def _slices(shop: Shop, events: int) -> Iterator[tuple[float, pa.Table]]:
    """For each 24 hours, their end and the events of visits that begin in them; ``events`` rows in all."""
    start, end = shop.history_span
    edges = [start + DAY_SECONDS * number for number in range(shop.parameters.days + 1)]
    weights = np.array([busyness(*edge).sum() for edge in pairwise(edges)])
    clientele = Clientele(shop, np.random.default_rng([shop.parameters.seed, 3]), LOGGED_IN_AT_START, start)
    tables = EventTables(shop)
    per_visit, left = events_per_visit(shop), events
    for number, (begin, finish) in enumerate(pairwise(edges)):
        rng = np.random.default_rng([shop.parameters.seed, 5, number])
        share = left * weights[number] / weights[number:].sum()
        while True:
            visits = clientele.visit(rng, arrival_times(rng, int(share / per_visit) + 1, begin, finish))
            table = tables.table(behave(shop, rng, visits, _all_products(shop)), rng)
            table = table.filter(pc.less_equal(table["timestamp"], pa.scalar(shop.parameters.end_time, MOMENT)))
            if finish < end or len(table) >= left:
                break
            share *= LAST_DAY_RETRY
        if finish >= end or len(table) > left:
            table = _whole_visits(rng, table, left)
        left -= len(table)
        yield finish, table


def _all_products(shop: Shop) -> npt.NDArray[np.bool_]:
    return np.ones(len(shop.catalog), dtype=bool)


def _whole_visits(rng: np.random.Generator, table: pa.Table, size: int) -> pa.Table:
    """``size`` rows: all events of visits chosen at random, and of one more visit a part."""
    session = pc.struct_field(table["context"], "sessionId").combine_chunks().dictionary_encode().indices.to_numpy()
    rank = rng.permutation(session.max(initial=0) + 1)[session]
    return table.take(pa.array(np.sort(np.argsort(rank, kind="stable")[:size])))


def _by_date(slices: Iterator[tuple[float, pa.Table]]) -> Iterator[tuple[date, pa.Table]]:
    """The events anew by date (UTC), each date in order of time."""
    waiting: list[pa.Table] = []
    for end, table in slices:
        midnight = pa.scalar(datetime.fromtimestamp(end // DAY_SECONDS * DAY_SECONDS, UTC), MOMENT)
        events = pa.concat_tables([*waiting, table])
        complete = pc.less(events["timestamp"], midnight)
        yield from _cut_by_date(events.filter(complete))
        waiting = [events.filter(pc.invert(complete))]
    yield from _cut_by_date(pa.concat_tables(waiting))


def _cut_by_date(events: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    events = events.take(pc.sort_indices(events["timestamp"]))
    day = events["timestamp"].to_numpy().astype("datetime64[D]")
    days, first, counts = np.unique(day, return_index=True, return_counts=True)
    for number, begin, size in zip(days, first, counts, strict=True):
        yield number.astype(date), events.slice(begin, size)


def _write(table: pa.Table, file: Path) -> None:
    pq.write_table(table, file, compression="zstd", compression_level=1, store_schema=False)
