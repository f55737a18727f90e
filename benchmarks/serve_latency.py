"""``POST /recommend`` under an open load, beside an empty BentoML endpoint: latency, highest rate, processor, memory.

Both are real ``bentoml serve`` processes on this machine, and so is the load generator. A shop is invented, loaded and learnt
from first, by the project's own commands, in a temporary folder and on free ports; nothing that runs already is touched.
Customers ask by Zipf's law, one in ten of them unknown, while the shop's events come in through collector and stream.

  latency    at a fixed rate, from when a request was due (open_loop.py); in turns, so that other work meets both alike
  highest    rates are raised until the 99th percentile is above the limit
  processor  of the service's processes per request, without what it needs when nobody asks
  ready      from the start of the process, with nothing in memory
  floors     an empty endpoint of BentoML that returns 20 ids; Redis and Feast's SDK reading what one request reads
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from open_loop import Load, run_load
from rich.table import Table
from serving_stack import WHOLE_ANSWERS, Service, bodies, empty_service, live_events, our_service, prepare
from stream_stack import progress, show, stack

from feature_repo.online.reading import OnlineReader

SHARES = (0.5, 0.9, 0.99, 0.999)
TURNS = 3
RATES = (50, 100, 150, 200, 300, 400, 500, 700, 1_000, 1_400)
READS = 1_000
# A stream runs for days; in its first minute, its Java compiles itself and leaves others little of two cores.
SETTLE_SECONDS = 60


@dataclass
class Endpoint:
    """What was measured of one of the two services.

    Attributes:
        service: which.
        loads: what it was asked at the fixed rate.
        highest: the highest rate within the limit, requests per second.
    """

    service: Service
    loads: list[Load] = field(default_factory=list)
    highest: float = 0.0

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def port(self) -> int:
        return self.service.port

    def quantile(self, share: float) -> float:
        """Milliseconds, over all turns."""
        return float(np.quantile(np.concatenate([load.seconds for load in self.loads]), share)) * 1000


def at_rate(services: list[Endpoint], body: Callable[[int], bytes], rate: float, seconds: float) -> None:
    """All services at the same rate, in turns."""
    for turn in range(TURNS):
        for service in services:
            progress.print(f"  {rate:g} requests/s, turn {turn + 1} of {TURNS}: {service.name}")
            load = run_load(service.port, body, rate, seconds / TURNS)
            if set(load.statuses) != {200}:
                raise SystemExit(f"{service.name} answered {dict(load.statuses)}")
            service.loads.append(load)


def find_highest(service: Endpoint, body: Callable[[int], bytes], limit_ms: float, seconds: float) -> None:
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
    from feature_repo.feast_parts.stores import entity_keys
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


def latency_table(services: list[Endpoint], rate: float, limit_ms: float, cpu: list[tuple[float, float]]) -> Table:
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
        "ready after",
    ):
        table.add_column(heading, justify="left" if heading == "endpoint" else "right")
    for service, (busy, idle) in zip(services, cpu, strict=True):
        quantiles = (f"{service.quantile(share):.2f}" for share in SHARES)
        memory, ready = f"{service.service.memory() / 1e6:,.0f}", f"{service.service.started_in:.1f} s"
        table.add_row(
            service.name, *quantiles, f"{service.highest:g}/s", f"{busy:.2f} ms", f"{idle:.0%}", memory, ready
        )
    ours, empty = services
    ratios = (f"{ours.quantile(share) / empty.quantile(share):.1f}x" for share in SHARES)
    highest = f"{ours.highest / empty.highest:.2f}x" if empty.highest else "-"
    table.add_row("ratio", *ratios, highest, f"{cpu[0][0] / cpu[1][0]:.1f}x", "", "", "")
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
    settings = {"TRAINING__CANDIDATES": args.candidates, **WHOLE_ANSWERS}
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder), settings), ExitStack() as running:
        customers = prepare(args.events, args.customers, args.products)
        enter = running.enter_context
        services = [Endpoint(enter(start(Path(folder)))) for start in (our_service, empty_service)]
        if args.live:
            enter(live_events(args.live))
            progress.print(f"{SETTLE_SECONDS} s for the stream to settle ...")
            time.sleep(SETTLE_SECONDS)
        body = bodies(customers, args.k)
        at_rate(services, body, args.rate, args.seconds)
        cpu = [cpu_per_request(service.service, body, args.rate, args.seconds / TURNS) for service in services]
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


if __name__ == "__main__":
    main()
