"""What the benchmarks of the service share: a shop to recommend of, real services, requests, and traffic meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import orjson
import psutil
from stream_stack import ROOT, StreamProcess, free_ports, progress, run, simulate

from feature_repo.settings import get_settings

UNKNOWN_SHARE = 0.1
# What is measured is the whole answer, and nothing is refused.
WHOLE_ANSWERS = {
    "SERVING__READ_TIMEOUT_MS": 1_000,
    "SERVING__DEADLINE_MS": 10_000,
    "SERVING__MAX_CONCURRENCY": 1_000,
}


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        name: for the tables.
        port: on this machine.
        process: the one that was started; its children count as well.
        started_in: seconds from its start until it was ready.
    """

    name: str
    port: int
    process: psutil.Process
    started_in: float

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Used so far."""
        return sum(times.user + times.system for times in (one.cpu_times() for one in self.processes()))

    def memory(self) -> int:
        """Resident bytes of the largest process: the worker."""
        return max(one.memory_info().rss for one in self.processes())


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
def started(name: str, port: int, log: Path, *arguments: str) -> Iterator[Service]:
    """A service, until it is ready and then for a while."""
    command = [sys.executable, "-m", *arguments]
    begun = time.monotonic()
    with log.open("w") as output:
        # In a session of its own, as `make up` starts it.
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
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
        yield Service(name, port, psutil.Process(process.pid), time.monotonic() - begun)
    finally:
        process.terminate()
        process.wait(timeout=60)


def our_service(folder: Path) -> AbstractContextManager[Service]:
    """The real service, by the settings of this process."""
    return started("POST /recommend", get_settings().serving.port, folder / "serving.log", "serving")


def empty_service(folder: Path) -> AbstractContextManager[Service]:
    """The empty endpoint of BentoML: the baseline."""
    (port,) = free_ports(1)
    where = ("--port", str(port), "--host", "127.0.0.1", "--working-dir", str(ROOT / "benchmarks"))
    return started(
        "empty BentoML endpoint", port, folder / "empty.log", "bentoml", "serve", "empty_service:Empty", *where
    )


@contextmanager
def live_events(rate: float) -> Iterator[StreamProcess]:
    """The shop's traffic through collector, Kafka and the stream."""
    progress.print("starting collector, stream and traffic ...")
    run("deploy", "up", "collector")
    with StreamProcess() as stream:
        stream.wait_until_ready()
        command = [sys.executable, "-m", "ingestion", "simulate", "live", "--rate", str(rate)]
        traffic = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield stream
            stream.check()
        finally:
            traffic.terminate()
            traffic.wait(timeout=30)
