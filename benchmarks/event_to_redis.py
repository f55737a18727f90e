"""How long after Kafka has accepted an event its customer's features can be read in Redis, beside a plain Kafka consumer.

Real parts only: `python -m ingestion stream` runs while events of an invented shop (impressions, clicks, views, carts and so on,
as the simulator mixes them) are put into Kafka at a steady rate, dated now. Among them are probes: a product view of a
customer nobody has seen before. A probe's clock starts when the broker's acknowledgement reaches the producer, and ends when
the customer's key is there in Redis, which is asked for all awaited keys every 5 ms. The baseline is a plain consumer of the
same topic at the same time: no stream could be faster. It has an event about when the producer has the acknowledgement, so the
two are compared from the moment of sending. At each rate, some seconds pass before the first probe.

Processor time is that of the stream, Spark's Java included: 1.0 is one core kept busy. Events are sent by Python processes;
where they cannot keep the rate, the table shows what they achieved. Senders, consumer, Kafka and Redis share the machine with
the stream, all in a temporary folder and on free ports.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.table import Table
from stream_stack import StreamProcess, connect_redis, progress, show, simulate, stack

from feature_repo.settings import get_settings

WARM_UP_RATE = 200.0
SETTLE_SECONDS = 5.0
PROBES_PER_SECOND = 20.0
POLL_SECONDS = 0.005
TICK_SECONDS = 0.005
LINGER_MS = 2
BATCH_BYTES = 64 * 1024
MAX_UNACKNOWLEDGED = 20_000
DELIVERY_SECONDS = 30.0
PATIENCE_SECONDS = 60.0
EVENTS_PER_SENDER = 2_500.0
PROBE = "probe-"
SPAWN = get_context("spawn")


class Traffic:
    """Processes that together send ``rate`` events per second; a context manager that ends them."""

    def __init__(self, history: Path, senders: int) -> None:
        # Without locks: a process that is killed while it holds one would stop the others for ever.
        self._rate = SPAWN.RawValue("d", 0.0)
        self._stop = SPAWN.RawValue("b", 0)
        self._counts = SPAWN.RawArray("q", senders)
        self._processes = [
            SPAWN.Process(target=_send, args=(history, place, senders, self._rate, self._counts, self._stop))
            for place in range(senders)
        ]

    def __enter__(self) -> Traffic:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.value = 1
        _end(self._processes)

    def set_rate(self, rate: float) -> None:
        """Events per second from now on."""
        self._rate.value = rate

    @property
    def acknowledged(self) -> int:
        """How many events Kafka has accepted so far."""
        return sum(self._counts[:])


class PlainConsumer:
    """When a plain consumer of the events topic gets each probe, in a process of its own; a context manager."""

    def __init__(self) -> None:
        self._seen = SPAWN.Queue()
        self._stop = SPAWN.RawValue("b", 0)
        self._process = SPAWN.Process(target=_consume, args=(self._seen, self._stop))

    def __enter__(self) -> PlainConsumer:
        self._process.start()
        self._seen.get(timeout=PATIENCE_SECONDS)  # it knows its partitions
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.value = 1
        self._seen.cancel_join_thread()
        _end([self._process])

    def next(self) -> tuple[str, float]:
        """The next probe and when it came, on the monotonic clock, which all processes share."""
        customer, moment = self._seen.get(timeout=PATIENCE_SECONDS)
        return customer, moment


def _end(processes: list[SpawnProcess]) -> None:
    for process in processes:
        process.join(DELIVERY_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _left_to_parent() -> None:
    """Let Ctrl-C and SIGTERM be the parent's business, which ends this process in its turn."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _ended(stop: Any) -> bool:
    parent = parent_process()
    return bool(stop.value) or parent is None or not parent.is_alive()


def _send(history: Path, place: int, senders: int, rate: Any, counts: Any, stop: Any) -> None:
    """Send every ``senders``-th event of the history from ``place`` on, as fast as ``rate`` says at the moment."""
    from ingestion.producer import open_producer

    _left_to_parent()
    kafka = get_settings().kafka
    producer = open_producer(kafka, linger_ms=LINGER_MS, batch_bytes=BATCH_BYTES, delivery_seconds=DELIVERY_SECONDS)
    events = _bodies(history, place, senders)
    sent = acknowledged = 0

    def acknowledge(_: object) -> None:
        nonlocal acknowledged
        acknowledged += 1

    due, before = 0.0, time.monotonic()
    while not _ended(stop):
        time.sleep(TICK_SECONDS)
        now = time.monotonic()
        # Not more than a second's events at once: what could not be sent in time is left out, and shows in the rate.
        due = min(due + rate.value / senders * (now - before), rate.value / senders)
        before = now
        while due >= 1 and sent - acknowledged < MAX_UNACKNOWLEDGED:
            key, body = next(events)
            producer.send(kafka.events_topic, _dated(body), key=key).add_callback(acknowledge)
            sent, due = sent + 1, due - 1
        counts[place] = acknowledged
    producer.close(DELIVERY_SECONDS)


def _bodies(history: Path, place: int, senders: int) -> Iterator[tuple[bytes | None, dict[str, Any]]]:
    """Keys and contents of recorded events in order of time, over and over."""
    from ingestion.recorded.files import discover
    from ingestion.recorded.reader import Days, EventReader

    while True:
        number = 0
        with EventReader(discover(history), Days(), get_settings().home) as reader:
            for part in reader.plan():
                for event in reader.read(part):
                    if number % senders == place:
                        yield event.key, orjson.loads(event.body)
                    number += 1


def _dated(event: dict[str, Any]) -> bytes:
    """The event as if it happened now, for the first time."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fresh = {
        "messageId": str(uuid.uuid4()),
        "timestamp": now,
        "receivedAt": now,
        "originalTimestamp": now,
        "sentAt": now,
    }
    return orjson.dumps({**event, **{name: value for name, value in fresh.items() if name in (*event, "receivedAt")}})


def _consume(seen: Any, stop: Any) -> None:
    from kafka import KafkaConsumer, TopicPartition

    _left_to_parent()
    kafka = get_settings().kafka
    consumer = KafkaConsumer(bootstrap_servers=kafka.servers, fetch_max_wait_ms=20)
    partitions = [TopicPartition(kafka.events_topic, one) for one in consumer.partitions_for_topic(kafka.events_topic)]
    consumer.assign(partitions)
    consumer.seek_to_end(*partitions)
    for partition in partitions:
        consumer.position(partition)
    seen.put("ready")
    while not _ended(stop):
        polled = consumer.poll(timeout_ms=200)
        now = time.monotonic()
        for records in polled.values():
            for record in records:
                if record.key and record.key.startswith(PROBE.encode()):
                    seen.put((record.key.decode(), now))
    consumer.close()


class Probes:
    """Sends probes and watches Redis for them; a context manager, which watches from its beginning to its end.

    Attributes:
        sent: when each probe was handed to the producer, by customer.
        acknowledged: when Kafka had accepted it.
        readable: when each customer's key was first seen in Redis.
    """

    def __init__(self, product: dict[str, Any]) -> None:
        from ingestion.online import open_applied_store
        from ingestion.producer import open_producer

        self._topic = get_settings().kafka.events_topic
        self._producer = open_producer(
            get_settings().kafka, linger_ms=0, batch_bytes=BATCH_BYTES, delivery_seconds=DELIVERY_SECONDS
        )
        self._project = open_applied_store().project
        self._product = product
        self._redis = connect_redis()
        self._awaited: dict[str, bytes] = {}
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.sent: dict[str, float] = {}
        self.acknowledged: dict[str, float] = {}
        self.readable: dict[str, float] = {}

    def __enter__(self) -> Probes:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()
        self._producer.close(DELIVERY_SECONDS)

    def send(self) -> str:
        """Send one; returns its customer."""
        from feature_repo.feast_parts.stores import entity_keys

        customer = f"{PROBE}{uuid.uuid4().hex}"
        [self._awaited[customer]] = entity_keys("customer_id", [customer], self._project)
        event = {
            "messageId": str(uuid.uuid4()),
            "type": "track",
            "event": "Product Viewed",
            "anonymousId": customer,
            "timestamp": "",
            "properties": {"products": [self._product]},
        }
        self.sent[customer] = time.monotonic()
        future = self._producer.send(self._topic, _dated(event), key=customer.encode())
        future.add_callback(lambda _: self.acknowledged.setdefault(customer, time.monotonic()))
        return customer

    def wait(self, customers: list[str]) -> None:
        """Until they are all readable, or not within a minute."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while any(customer in self._awaited for customer in customers) and time.monotonic() < give_up:
            time.sleep(POLL_SECONDS)

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            awaited = list(self._awaited.items())
            if not awaited:
                continue
            with self._redis.pipeline(transaction=False) as pipeline:
                for _, key in awaited:
                    pipeline.exists(key)
                found = pipeline.execute()
            now = time.monotonic()
            for (customer, _), there in zip(awaited, found, strict=True):
                if there:
                    self.readable[customer] = now
                    del self._awaited[customer]


@dataclass(frozen=True)
class Outcome:
    """What was measured at one rate.

    Attributes:
        rate: events per second wanted.
        achieved: events per second that Kafka accepted, probes included.
        lost: probes that were not readable within a minute.
        accepted_to_redis: seconds from acknowledgement to Redis, per probe.
        sent_to_redis: seconds from sending to Redis, per probe.
        sent_to_consumer: seconds from sending to the plain consumer, per probe.
        cores: processor seconds per second of the stream.
    """

    rate: float
    achieved: float
    lost: int
    accepted_to_redis: np.ndarray
    sent_to_redis: np.ndarray
    sent_to_consumer: np.ndarray
    cores: float


def measure(
    rate: float, seconds: float, traffic: Traffic, probes: Probes, consumer: PlainConsumer, stream: StreamProcess
) -> Outcome:
    """Send at a rate and watch the probes."""
    traffic.set_rate(rate - PROBES_PER_SECOND)
    time.sleep(SETTLE_SECONDS)
    customers: list[str] = []
    begun, cpu, accepted = time.monotonic(), stream.cpu_seconds(), traffic.acknowledged
    while (elapsed := time.monotonic() - begun) < seconds:
        customers.append(probes.send())
        # At random moments, so that they meet micro-batches at any point.
        time.sleep(float(np.random.default_rng().uniform(0, 2 / PROBES_PER_SECOND)))
    cores = (stream.cpu_seconds() - cpu) / elapsed
    achieved = (traffic.acknowledged - accepted + len(customers)) / elapsed
    probes.wait(customers)
    traffic.set_rate(WARM_UP_RATE)
    stream.check()
    seen = dict(consumer.next() for _ in customers)
    there = [customer for customer in customers if customer in probes.readable]
    return Outcome(
        rate,
        achieved,
        len(customers) - len(there),
        np.array([probes.readable[customer] - probes.acknowledged[customer] for customer in there]),
        np.array([probes.readable[customer] - probes.sent[customer] for customer in there]),
        np.array([seen[customer] - probes.sent[customer] for customer in customers]),
        cores,
    )


@contextmanager
def running(history: Path, senders: int) -> Iterator[tuple[StreamProcess, Traffic, PlainConsumer]]:
    """The stream, ready, with a consumer beside it, and senders that do not send yet."""
    with StreamProcess() as stream:
        stream.wait_until_ready()
        with PlainConsumer() as consumer, Traffic(history, senders) as traffic:
            yield stream, traffic, consumer


def _a_product(history: Path) -> dict[str, Any]:
    for _, event in _bodies(history, 0, 1):
        if event.get("event") == "Product Viewed":
            product: dict[str, Any] = event["properties"]["products"][0]
            return product
    raise AssertionError("the history goes on for ever")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[100, 1_000, 5_000], help="events per second, in turn"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each is measured (default: %(default)g)")
    parser.add_argument(
        "--warm-up", type=float, default=60.0, help=f"seconds at {WARM_UP_RATE:g}/s first (default: 60)"
    )
    parser.add_argument("--customers", type=int, default=20_000, help="customers of the shop (default: %(default)s)")
    parser.add_argument("--products", type=int, default=5_000, help="its products (default: %(default)s)")
    args = parser.parse_args()
    if min(args.rates) <= PROBES_PER_SECOND:
        raise SystemExit(f"probes alone make {PROBES_PER_SECOND:g} events per second; give higher rates")
    senders = max(1, round(max(args.rates) / EVENTS_PER_SENDER))
    # As many as will be sent, so that no event comes twice.
    events = WARM_UP_RATE * args.warm_up + sum(args.rates) * (args.seconds + 2 * SETTLE_SECONDS)
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder)):
        progress.print("inventing a shop, starting the stream ...")
        history = simulate(round(events) + 10_000, args.customers, args.products)
        with running(history, senders) as (stream, traffic, consumer), Probes(_a_product(history)) as probes:
            progress.print(f"{args.warm_up:g} s of traffic first, in which Java compiles what it runs often ...")
            traffic.set_rate(WARM_UP_RATE)
            time.sleep(args.warm_up)
            outcomes = []
            for rate in args.rates:
                progress.print(f"{rate:,g} events/s ...")
                outcomes.append(measure(rate, args.seconds, traffic, probes, consumer, stream))
    show(_table(outcomes))


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="from Kafka to Redis, milliseconds", title_justify="left")
    table.add_column("events per second")
    for outcome in outcomes:
        table.add_column(f"{outcome.rate:,g}", justify="right")

    def add(name: str, values: Iterable[str]) -> None:
        table.add_row(name, *values)

    add("achieved", (f"{one.achieved:,.0f}" for one in outcomes))
    add("probes (not there within a minute)", (f"{len(one.sent_to_consumer)} ({one.lost})" for one in outcomes))
    for name, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        add(f"accepted to Redis: {name}", (_milliseconds(one.accepted_to_redis, share) for one in outcomes))
    for name, share in (("median", 0.5), ("p99", 0.99)):
        add(f"sent to Redis: {name}", (_milliseconds(one.sent_to_redis, share) for one in outcomes))
        add(f"sent to plain consumer: {name}", (_milliseconds(one.sent_to_consumer, share) for one in outcomes))
        ratios = (_quantile(one.sent_to_redis, share) / _quantile(one.sent_to_consumer, share) for one in outcomes)
        add(f"ratio: {name}", (f"{ratio:,.0f}x" for ratio in ratios))
    add("cores kept busy by the stream", (f"{one.cores:.2f}" for one in outcomes))
    return table


def _milliseconds(seconds: np.ndarray, share: float) -> str:
    return f"{_quantile(seconds, share) * 1000:,.1f}"


def _quantile(seconds: np.ndarray, share: float) -> float:
    return float(np.quantile(seconds, share)) if len(seconds) else float("nan")


if __name__ == "__main__":
    main()
