"""``POST /recommend`` under an open load, beside an empty BentoML endpoint: latency, highest rate, processor, memory.

Both are real ``bentoml serve`` processes on this machine, and so is the load generator. A shop is invented, loaded and learnt
from first, by the project's own commands, in a temporary folder and on free ports; nothing that runs already is touched.
Customers ask by Zipf's law, one in ten of them unknown, while the shop's events come in through collector and stream.

  latency    at a fixed rate, from when a request was due (open_loop.py); in turns, so that other work meets both alike
  highest    rates are raised until the 99th percentile is above the limit
  processor  of the service's processes per request, without what it needs when nobody asks
  floors     an empty endpoint of BentoML that returns 20 ids; Redis and Feast's SDK reading what one request reads
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import orjson
import psutil
from open_loop import Load, run_load
from rich.table import Table
from stream_stack import ROOT, StreamProcess, free_ports, progress, run, show, simulate, stack

from feature_repo.online_reading import OnlineReader
from feature_repo.settings import get_settings

SHARES = (0.5, 0.9, 0.99, 0.999)
TURNS = 3
RATES = (50, 100, 150, 200, 300, 400, 500, 700, 1_000, 1_400)
UNKNOWN_SHARE = 0.1
READS = 1_000


@dataclass
class Service:
    """One of the two services.

    Attributes:
        name: for the tables.
        port: on this machine.
        process: the one that was started; its children count as well.
        loads: what it was asked at the fixed rate.
        highest: the highest rate within the limit, requests per second.
    """

    name: str
    port: int
    process: psutil.Process
    loads: list[Load] = field(default_factory=list)
    highest: float = 0.0

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Used so far."""
        return sum(times.user + times.system for times in (one.cpu_times() for one in self.processes()))

    def memory(self) -> int:
        """Resident bytes of the largest process: the worker."""
        return max(one.memory_info().rss for one in self.processes())

    def quantile(self, share: float) -> float:
        """Milliseconds, over all turns."""
        return float(np.quantile(np.concatenate([load.seconds for load in self.loads]), share)) * 1000


def prepare(events: int, customers: int, products: int) -> list[str]:
    """A shop, loaded and learnt from, in a running stack; returns its customers."""
    progress.print(f"inventing a shop of {products:,} products and {events:,} events ...")
    history = simulate(events, customers, products)
    progress.print("loading it ...")
    run("ingestion", "catalog", str(history.parent / "catalog.parquet"))
    run("ingestion", "backfill", str(history))
    progress.print("training ...")
    run("training", "run")
    return _customers()


def _customers() -> list[str]:
    import duckdb

    from feature_repo.tables import CUSTOMER_ACTIVITY

    rows = duckdb.sql(f"select distinct customer_id from delta_scan('{CUSTOMER_ACTIVITY.uri}') order by 1").fetchall()
    return [customer for (customer,) in rows]


def bodies(customers: list[str], k: int) -> Callable[[int], bytes]:
    """The body of the n-th request."""
    rng = np.random.default_rng(1)
    popularity = 1 / np.arange(1, len(customers) + 1)
    ranks = rng.choice(len(customers), 20_000, p=popularity / popularity.sum())
    asked = [customers[rank] for rank in rng.permutation(len(customers))[ranks]]
    unknown = rng.random(len(asked)) < UNKNOWN_SHARE

    def body(number: int) -> bytes:
        place = number % len(asked)
        user = f"nobody-{place}" if unknown[place] else asked[place]
        return orjson.dumps({"user_id": user, "k": k})

    return body


@contextmanager
def started(name: str, log: Path, *arguments: str) -> Iterator[Service]:
    """A service, until it is ready and then for a while."""
    (port,) = free_ports(1) if name.startswith("empty") else (get_settings().serving.port,)
    command = [sys.executable, "-m", *(argument.format(port=port) for argument in arguments)]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        for _ in range(600):
            with httpx.Client() as client:
                try:
                    if client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
            time.sleep(0.1)
        else:
            raise SystemExit(f"{name} did not start:\n{log.read_text()}")
        yield Service(name, port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(timeout=60)


def at_rate(services: list[Service], body: Callable[[int], bytes], rate: float, seconds: float) -> None:
    """All services at the same rate, in turns."""
    for turn in range(TURNS):
        for service in services:
            progress.print(f"  {rate:g} requests/s, turn {turn + 1} of {TURNS}: {service.name}")
            load = run_load(service.port, body, rate, seconds / TURNS)
            if set(load.statuses) != {200}:
                raise SystemExit(f"{service.name} answered {dict(load.statuses)}")
            service.loads.append(load)


def find_highest(service: Service, body: Callable[[int], bytes], limit_ms: float, seconds: float) -> None:
    """The highest of some rates at which the 99th percentile is within a limit; the next two are above it."""
    misses = 0
    for rate in RATES:
        load = run_load(service.port, body, rate, seconds)
        progress.print(f"  {service.name} at {rate}/s: p99 {load.quantile(0.99):.1f} ms")
        if load.quantile(0.99) <= limit_ms and set(load.statuses) == {200}:
            service.highest, misses = rate, 0
        else:
            misses += 1
        if misses == 2:
            return


def cpu_per_request(service: Service, body: Callable[[int], bytes], rate: float, seconds: float) -> tuple[float, float]:
    """Milliseconds of a processor per request, and the share of one that is used when nobody asks."""
    begun, used = time.monotonic(), service.cpu_seconds()
    time.sleep(seconds / 2)
    idle = (service.cpu_seconds() - used) / (time.monotonic() - begun)
    begun, used = time.monotonic(), service.cpu_seconds()
    requests = sum(run_load(service.port, body, rate, seconds, warm_up=0.1).statuses.values())
    busy = service.cpu_seconds() - used - idle * (time.monotonic() - begun)
    return busy / requests * 1000, idle


def reads(customers: list[str]) -> dict[str, list[float]]:
    """Milliseconds of single reads of what a request reads of a customer, by way of reading."""
    from feature_repo.feast_stores import entity_keys
    from feature_repo.store import open_store

    store = open_store()
    service, reader = store.get_feature_service("customer_features"), OnlineReader(store, "customer_features")
    asked = [customers[number % len(customers)] for number in range(READS)]
    keys = entity_keys("customer_id", asked, store.config.project)

    async def measure() -> dict[str, list[float]]:
        client = await store._get_provider().online_store._get_client_async(store.config.online_store)
        ways = {
            "Redis: HGETALL": lambda number: client.hgetall(keys[number]),
            "as the service reads": lambda number: reader.read_async([asked[number]]),
            "Feast's SDK": lambda number: store.get_online_features_async(service, [{"customer_id": asked[number]}]),
        }
        took: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(READS):
            for way, read in ways.items():
                begun = time.perf_counter()
                await read(number)
                took[way].append((time.perf_counter() - begun) * 1000)
        return took

    return asyncio.run(measure())


def steps(port: int) -> dict[str, float]:
    """Mean milliseconds of each step of a request, by the service's own metrics."""
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for line in httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines():
        if line.startswith("shelfwise_step_seconds_") and "_bucket" not in line:
            name, value = line.rsplit(" ", 1)
            step = name.split('step="')[1].split('"')[0]
            into = sums if name.startswith("shelfwise_step_seconds_sum") else counts
            into[step] = into.get(step, 0.0) + float(value)
    return {step: sums[step] / counts[step] * 1000 for step in sums if counts.get(step)}


def latency_table(services: list[Service], rate: float, limit_ms: float, cpu: list[tuple[float, float]]) -> Table:
    table = Table(title=f"at {rate:g} requests/s, milliseconds from when due", title_justify="left")
    for heading in (
        "endpoint",
        "p50",
        "p90",
        "p99",
        "p99.9",
        f"highest rate, p99 <= {limit_ms:g} ms",
        "CPU/request",
        "idle CPU",
        "MB",
    ):
        table.add_column(heading, justify="left" if heading == "endpoint" else "right")
    for service, (busy, idle) in zip(services, cpu, strict=True):
        quantiles = (f"{service.quantile(share):.2f}" for share in SHARES)
        memory = f"{service.memory() / 1e6:,.0f}"
        table.add_row(service.name, *quantiles, f"{service.highest:g}/s", f"{busy:.2f} ms", f"{idle:.0%}", memory)
    ours, empty = services
    ratios = (f"{ours.quantile(share) / empty.quantile(share):.1f}x" for share in SHARES)
    highest = f"{ours.highest / empty.highest:.2f}x" if empty.highest else "-"
    table.add_row("ratio", *ratios, highest, f"{cpu[0][0] / cpu[1][0]:.1f}x", "", "")
    late = max(load.late for service in services for load in service.loads)
    table.caption = f"the load generator itself was behind by at most {late * 1000:.1f} ms"
    return table


def small_table(title: str, values: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in values.items():
        table.add_row(name, value)
    return table


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=20_000, help="of the shop (default: %(default)s)")
    parser.add_argument("--events", type=int, default=300_000, help="of its history (default: %(default)s)")
    parser.add_argument("--customers", type=int, default=20_000, help="who were there (default: %(default)s)")
    parser.add_argument("--candidates", type=int, default=500, help="ranked per request (default: %(default)s)")
    parser.add_argument("--k", type=int, default=20, help="recommendations per request (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured at this rate (default: %(default)s)")
    parser.add_argument("--limit-ms", type=float, default=10.0, help="limit of the p99 (default: %(default)s)")
    parser.add_argument(
        "--live",
        type=float,
        default=20.0,
        metavar="N",
        help="events per second meanwhile; 0: none (default: %(default)s)",
    )
    args = parser.parse_args()
    # What is measured is the whole answer, and nothing is refused.
    serving = {"READ_TIMEOUT_MS": 1_000, "DEADLINE_MS": 10_000, "MAX_CONCURRENCY": 1_000}
    settings = {"TRAINING__CANDIDATES": args.candidates, **{f"SERVING__{name}": at for name, at in serving.items()}}
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder), settings), ExitStack() as running:
        customers = prepare(args.events, args.customers, args.products)
        logs, enter = Path(folder), running.enter_context
        empty = ["bentoml", "serve", "empty_service:Empty", "--port", "{port}", "--host", "127.0.0.1"]
        services = [
            enter(started("POST /recommend", logs / "serving.log", "serving")),
            enter(started("empty BentoML endpoint", logs / "empty.log", *empty, "--working-dir", "benchmarks")),
        ]
        if args.live:
            enter(live_events(args.live))
        body = bodies(customers, args.k)
        at_rate(services, body, args.rate, args.seconds)
        cpu = [cpu_per_request(service, body, args.rate, args.seconds / TURNS) for service in services]
        by_step = steps(services[0].port)
        for service in services:
            find_highest(service, body, args.limit_ms, args.seconds / 6)
        took = reads(customers)
        show(
            latency_table(services, args.rate, args.limit_ms, cpu),
            small_table(
                "where the time of a request goes, mean ms", {step: f"{ms:.2f}" for step, ms in by_step.items()}
            ),
            small_table(
                "reading a customer, one after the other, median ms",
                {way: f"{np.median(times):.2f}" for way, times in took.items()},
            ),
        )


@contextmanager
def live_events(rate: float) -> Iterator[None]:
    """The shop's traffic through collector, Kafka and the stream."""
    progress.print("starting collector, stream and traffic ...")
    run("deploy", "up", "collector")
    with StreamProcess() as stream:
        stream.wait_until_ready()
        command = [sys.executable, "-m", "ingestion", "simulate", "live", "--rate", str(rate)]
        traffic = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
            stream.check()
        finally:
            traffic.terminate()
            traffic.wait(timeout=30)


if __name__ == "__main__":
    main()
