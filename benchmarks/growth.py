"""How memory, storage and time grow with the number of events and customers.

For each size a shop is invented and put into Kafka, in a stack of its own: temporary folder, free ports, everything at its
beginning. A shop has a customer per ten events; those who did something are the table's customers, with the anonymous visitors.
Then, with the project's own commands:

  start      `python -m ingestion stream --once` on an empty topic, from process start to end, the quickest of three runs
  stream     the same on the full topic; the rate is events by the seconds beyond those of the start
  Redis      how much `used_memory_dataset` grew, and the mean MEMORY USAGE of 1,000 customers' keys
  Delta      live data files after `ingestion.compaction.compact()`, beside the same events as recorded in Parquet
  load       `stream --once` with nothing new, the quickest of three: the seconds beyond those of the start load the state
  recompute  `python -m ingestion backfill --recompute`, from process start to end
  rebuild    `python -m ingestion rebuild-online` into an emptied Redis, in its own words; the baseline puts as many hashes,
             copies of 5,000 of them, into an emptied Redis with plain HSET commands, 5,000 to a round trip

In a second experiment, as many customers as told, with ten recent interactions each and the 24 products that they were shown
last, are written to an empty Redis through `ingestion.online.OnlineStore.fill`, and their memory is scaled to a million
customers.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from rich.table import Table
from stream_stack import connect_redis, progress, run, show, simulate, stack, timed

from feature_repo import tables
from feature_repo.aggregates import Entity, decayed_sums, last_k

SIZES = (100_000, 1_000_000)
LARGE = 10_000_000
EVENTS_PER_CUSTOMER = 10
STARTS = 3
SAMPLED_KEYS = 5_000
SAMPLED_CUSTOMERS = 1_000
ROWS_PER_ROUND_TRIP = 5_000
# What the customers of the second experiment have done, and been shown.
ELEMENTS = {Entity.CUSTOMER: 10, Entity.EXPOSURE: 24}
MEGABYTE = 1e6
REBUILT = re.compile(r"in ([\d.,]+) s \(([\d,]+) rows/s\)")


@dataclass(frozen=True)
class Grown:
    """What was measured at one size; seconds and bytes.

    Attributes:
        start_seconds: a stream with nothing to do in an empty installation.
        stream_seconds: the stream over all events.
        load_seconds: a stream with nothing new to do, with everything stored.
        redis_bytes: all data in Redis.
        customer_bytes: a customer's key in Redis.
        table_bytes: of each Delta table, by name.
        recorded_bytes: of the same events in the recorded history.
        rebuild_seconds, rebuild_rate: as ``rebuild-online`` says.
        hset_seconds: the same number of hashes with plain HSET.
    """

    events: int
    customers: int
    start_seconds: float
    stream_seconds: float
    load_seconds: float
    redis_bytes: int
    customer_bytes: float
    table_bytes: dict[str, int]
    recorded_bytes: int
    recompute_seconds: float
    rebuild_seconds: float
    rebuild_rate: float
    hset_seconds: float


def grow(events: int, customers: int, products: int) -> Grown:
    """Measure one size, in a running stack where nothing has happened yet."""
    from ingestion.compaction import compact

    server = connect_redis()
    progress.print("  inventing a shop ...")
    history = simulate(events, customers, products)
    start_seconds = _nothing_to_do()
    empty = _data_bytes(server)
    progress.print("  filling the topic ...")
    run("ingestion", "replay", str(history), "--speed", "max")
    progress.print("  the stream ...")
    stream_seconds, _ = timed("ingestion", "stream", "--once")
    redis_bytes = _data_bytes(server) - empty
    progress.print("  merging files, loading the state ...")
    compact()
    table_bytes = {table.name: _live_bytes(table) for table in tables.ALL_TABLES}
    stored_customers, customer_bytes = _customers(server)
    load_seconds = _nothing_to_do()
    progress.print("  rebuild-online, and plain HSET ...")
    server.flushall()
    output = run("ingestion", "rebuild-online")
    if not (said := REBUILT.search(output)):
        raise SystemExit(f"rebuild-online did not say how long it took:\n{output}")
    rebuild_seconds, rebuild_rate = (float(number.replace(",", "")) for number in said.groups())
    hset_seconds = _plain_hset(server)
    progress.print("  recomputing all features ...")
    recompute_seconds, _ = timed("ingestion", "backfill", "--recompute")
    return Grown(
        events,
        stored_customers,
        start_seconds,
        stream_seconds,
        load_seconds,
        redis_bytes,
        customer_bytes,
        table_bytes,
        sum(file.stat().st_size for file in history.rglob("*.parquet")),
        recompute_seconds,
        rebuild_seconds,
        rebuild_rate,
        hset_seconds,
    )


def _nothing_to_do() -> float:
    """Seconds of a stream that finds nothing new: the quickest of several runs, whose start varies by seconds."""
    return min(timed("ingestion", "stream", "--once")[0] for _ in range(STARTS))


def _data_bytes(server: Any) -> int:
    return int(_memory(server)["used_memory_dataset"])


def _memory(server: Any) -> dict[str, Any]:
    memory: dict[str, Any] = server.info("memory")
    return memory


def _live_bytes(table: tables.Table) -> int:
    """Size of the files that make up the table's latest version."""
    sizes = DeltaTable(table.uri).get_add_actions(flatten=True)
    return int(sum(pa.table(sizes)["size_bytes"].to_pylist()))


def _customers(server: Any) -> tuple[int, float]:
    """How many customers are stored, and the mean size of a sample of their keys in Redis."""
    with duckdb.connect() as connection:
        connection.register("activity", DeltaTable(tables.CUSTOMER_ACTIVITY.uri).to_pyarrow_dataset())
        names = [name for (name,) in connection.sql("SELECT DISTINCT customer_id FROM activity").fetchall()]
    chosen = np.random.default_rng(1).permutation(len(names))[:SAMPLED_CUSTOMERS]
    with server.pipeline(transaction=False) as pipeline:
        for key in _keys([names[one] for one in chosen]):
            pipeline.memory_usage(key, samples=0)
        sizes = [size for size in pipeline.execute() if size]
    return len(names), float(np.mean(sizes))


def _keys(customers: list[str]) -> list[bytes]:
    from feature_repo.feast_parts.stores import entity_keys
    from ingestion.online import open_applied_store

    return entity_keys(Entity.CUSTOMER.key, customers, open_applied_store().project)


def _plain_hset(server: Any) -> float:
    """Seconds to put as many hashes as there are into an emptied Redis, each a copy of one of them."""
    count = server.dbsize()
    keys = list(islice(server.scan_iter(count=1_000), SAMPLED_KEYS))
    with server.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hgetall(key)
        hashes = pipeline.execute()
    server.flushall()
    seconds = 0.0
    for start in range(0, count, ROWS_PER_ROUND_TRIP):
        numbers = range(start, min(count, start + ROWS_PER_ROUND_TRIP))
        begun = time.monotonic()
        with server.pipeline(transaction=False) as pipeline:
            for number in numbers:
                sampled = number % len(keys)
                # The number is as long as what it replaces, so that the key is, too.
                pipeline.hset(keys[sampled][:-8] + number.to_bytes(8, "big"), mapping=hashes[sampled])
            pipeline.execute()
        seconds += time.monotonic() - begun
    return seconds


@dataclass(frozen=True)
class Filled:
    """Synthetic customers in an empty Redis: how many, bytes (of data; of all memory), seconds (and with plain HSET)."""

    customers: int
    data_bytes: int
    all_bytes: int
    seconds: float
    hset_seconds: float


def fill(customers: int) -> Filled:
    """Write synthetic customers through the online store."""
    from ingestion.online import open_online_store

    server, online = connect_redis(), open_online_store()
    rows = {entity: _synthetic(entity, customers) for entity in ELEMENTS}
    server.flushall()
    before = _memory(server)
    begun = time.monotonic()
    for entity, values in rows.items():
        online.fill(tables.ACTIVITY[entity], values, entity.value)
    seconds = time.monotonic() - begun
    after = _memory(server)
    data_bytes, all_bytes = (int(after[name] - before[name]) for name in ("used_memory_dataset", "used_memory"))
    return Filled(customers, data_bytes, all_bytes, seconds, _plain_hset(server))


def _synthetic(entity: Entity, customers: int) -> pa.Table:
    """Rows of a table of customers with values as they come from events."""
    declared, length = last_k(entity), ELEMENTS[entity]
    assert declared
    rng = np.random.default_rng(1)
    now = time.time()
    size = customers * length
    last = np.round(now - rng.exponential(86_400, customers), 3)
    ends = pa.array(np.arange(customers + 1) * length, pa.int32())
    moments = np.repeat((last * 1000).astype(np.int64), length)
    lists = (
        pa.array([f"p{number:05d}" for number in rng.integers(0, 20_000, size)]),
        pa.array(rng.choice([1, 2, 3], size).astype(np.int32)),
        pa.array(moments - 60_000 * np.tile(np.arange(length), customers)),
    )
    columns: dict[str, pa.Array] = {
        entity.key: pa.array([f"customer-{number:08d}" for number in range(customers)]),
        "event_timestamp": pa.array((last * 1000).astype(np.int64)).cast(pa.timestamp("ms", tz="UTC")),
        "last_event_at": pa.array(last),
        "event_count": pa.array(rng.integers(length, 40, customers)),
        **{one.name: pa.array(rng.exponential(3, customers)) for one in decayed_sums(entity)},
        **{name: pa.ListArray.from_arrays(ends, values) for name, values in zip(declared.columns, lists, strict=True)},
    }
    schema = tables.ACTIVITY[entity].schema
    missing = {field.name: pa.nulls(customers, field.type) for field in schema if field.name not in columns}
    columns |= missing
    return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help=f"also {LARGE:,} events of {LARGE // 10:,} customers")
    parser.add_argument("--only", type=int, nargs="*", metavar="EVENTS", help="these sizes instead; none: no sizes")
    parser.add_argument("--products", type=int, default=20_000, help="products of the shops (default: %(default)s)")
    online = "customers of the second experiment; 0: leave it out (default: %(default)s)"
    parser.add_argument("--customers-online", type=int, default=200_000, metavar="N", help=online)
    args = parser.parse_args()
    sizes = args.only if args.only is not None else [*SIZES, *([LARGE] if args.large else [])]
    results: list[Table] = []
    grown = []
    for events in sizes:
        progress.print(f"{events:,} events ...")
        with tempfile.TemporaryDirectory() as folder, stack(Path(folder)):
            grown.append(grow(events, max(1, events // EVENTS_PER_CUSTOMER), args.products))
    if grown:
        results += [_growth(grown), _storage(grown)]
    if args.customers_online:
        progress.print(f"{args.customers_online:,} customers online ...")
        with tempfile.TemporaryDirectory() as folder, stack(Path(folder)):
            results.append(_memory_table(fill(args.customers_online)))
    show(*results)


def _table(title: str, headings: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _growth(grown: list[Grown]) -> Table:
    headings = ["events", "customers", "start", "stream", "events/s", "load", "recompute"]
    headings += ["rebuild-online", "rows/s", "plain HSET", "ratio"]
    table = _table("time, seconds", headings)
    for one in grown:
        table.add_row(
            f"{one.events:,}",
            f"{one.customers:,}",
            f"{one.start_seconds:.1f}",
            f"{one.stream_seconds:.1f}",
            f"{one.events / (one.stream_seconds - one.start_seconds):,.0f}",
            f"{one.load_seconds - one.start_seconds:.1f}",
            f"{one.recompute_seconds:.1f}",
            f"{one.rebuild_seconds:.1f}",
            f"{one.rebuild_rate:,.0f}",
            f"{one.hset_seconds:.1f}",
            f"{one.rebuild_seconds / one.hset_seconds:.1f}x",
        )
    return table


def _storage(grown: list[Grown]) -> Table:
    names = [tables.EVENTS.name, *(table.name for table in tables.ACTIVITY.values())]
    headings = ["events", "Redis, MB", "its bytes per customer", "recorded Parquet"]
    headings += [name.removesuffix("_activity") for name in names]
    headings += ["other tables", "events to recorded"]
    table = _table("storage; recorded events and Delta tables in MB per million events", headings)
    for one in grown:
        per_million = one.events / 1e6 * MEGABYTE
        others = sum(one.table_bytes.values()) - sum(one.table_bytes[name] for name in names)
        sizes = [one.recorded_bytes, *(one.table_bytes[name] for name in names), others]
        table.add_row(
            f"{one.events:,}",
            f"{one.redis_bytes / MEGABYTE:,.1f}",
            f"{one.customer_bytes:,.0f}",
            *(f"{size / per_million:,.1f}" for size in sizes),
            f"{one.table_bytes[tables.EVENTS.name] / one.recorded_bytes:.2f}x",
        )
    return table


def _memory_table(filled: Filled) -> Table:
    table = Table(title=f"{filled.customers:,} customers online, what they did and were shown")
    table.title_justify = "left"
    table.add_column("what")
    table.add_column("value", justify="right")
    for what, size in (("data", filled.data_bytes), ("all memory", filled.all_bytes)):
        table.add_row(f"{what}, bytes per customer", f"{size / filled.customers:,.0f}")
        scaled = size / filled.customers * 1e6 / MEGABYTE
        table.add_row(f"{what}, MB per million customers (scaled)", f"{scaled:,.0f}")
    table.add_row("customers/s through the online store", f"{filled.customers / filled.seconds:,.0f}")
    table.add_row("customers/s with plain HSET", f"{filled.customers / filled.hset_seconds:,.0f}")
    table.add_row("ratio of the times", f"{filled.seconds / filled.hset_seconds:.1f}x")
    return table


if __name__ == "__main__":
    main()
