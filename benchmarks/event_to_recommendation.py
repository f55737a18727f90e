"""How long after a click a customer's recommendations change, beside the time the click alone needs to cross Kafka.

Real parts only: Segment's client sends the click to the collector, the stream takes it from Kafka to Redis, and
``POST /recommend`` of the service is asked until its answer has changed. Each round is a customer nobody has seen before.
Meanwhile the same client sends other customers' events at a steady rate. A plain consumer of the events topic notes when
it gets the click: no stream could be faster. A shop of its own is made first, in a temporary folder and on free ports.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kafka import KafkaConsumer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from segment.analytics.client import Client

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from shop_stack import ShopStack, shop_stack  # noqa: E402

from feature_repo.settings import get_settings  # noqa: E402

PATIENCE_SECONDS = 30.0
KINDS = ("Product Viewed", "Product Clicked", "Product Added")


class Arrivals:
    """When a plain consumer of the events topic got each customer's event, epoch seconds."""

    def __init__(self) -> None:
        kafka = get_settings().kafka
        self._consumer = KafkaConsumer(kafka.events_topic, bootstrap_servers=kafka.servers, fetch_max_wait_ms=20)
        self._seen: dict[str, float] = {}
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        for record in self._consumer:
            self._seen.setdefault(record.key.decode(), time.time())

    def of(self, customer: str) -> float:
        """Wait for it."""
        for _ in range(500):
            if customer in self._seen:
                return self._seen[customer]
            time.sleep(0.02)
        raise SystemExit("the click did not reach Kafka")


class Round:
    """One customer's click, sent and waited for."""

    def __init__(self, shop: ShopStack) -> None:
        self._shop = shop
        settings = get_settings()
        self._collector = f"http://127.0.0.1:{settings.collector.port}"
        self._key = settings.collector.write_key.get_secret_value()
        self._service = httpx.Client(base_url=f"http://127.0.0.1:{settings.serving.port}", timeout=10)
        self._tracker = Client(self._key, host=self._collector, sync_mode=True)

    def play(self, arrivals: Arrivals) -> tuple[float, float, float]:
        """Seconds from the call of the client to: its return, the plain consumer, the changed recommendations."""
        customer = f"new-{uuid.uuid4().hex[:12]}"
        before = self._recommended(customer)
        product = self._shop.shop.product(random.randrange(self._shop.shop.products))
        begun = time.time()
        self._tracker.track(anonymous_id=customer, event="Product Viewed", properties={"products": [product]})
        acknowledged = time.time()
        while self._recommended(customer) == before:
            if time.time() - begun > PATIENCE_SECONDS:
                raise SystemExit(f"nothing changed within {PATIENCE_SECONDS:.0f} s of a click")
            time.sleep(0.02)
        changed = time.time()
        return acknowledged - begun, arrivals.of(customer) - begun, changed - begun

    def _recommended(self, customer: str) -> list[str] | None:
        """What is recommended, None as long as it does not come from the customer's own features."""
        response = self._service.post("/recommend", json={"anonymous_id": customer, "k": 10})
        answer: dict[str, Any] = response.raise_for_status().json()
        return None if answer["fallback"] else [item["product_id"] for item in answer["items"]]

    @contextmanager
    def others(self, rate: float) -> Iterator[None]:
        """Other customers' events at ``rate`` a second, for a while."""
        ended = threading.Event()
        tracker = Client(self._key, host=self._collector, upload_interval=0.1, max_queue_size=100_000)

        def send() -> None:
            rng, begun, sent = random.Random(1), time.monotonic(), 0
            while not ended.wait(0.01):
                while sent < (time.monotonic() - begun) * rate:
                    product = self._shop.shop.product(rng.randrange(self._shop.shop.products))
                    event, customer = rng.choice(KINDS), f"c{rng.randrange(500)}"
                    tracker.track(anonymous_id=customer, event=event, properties={"products": [product]})
                    sent += 1

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            ended.set()
            sender.join()
            tracker.shutdown()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="clicks measured")
    parser.add_argument("--rate", type=float, default=100.0, help="other events per second meanwhile")
    parser.add_argument("--products", type=int, default=1_000, help="products of the shop")
    parser.add_argument("--customers", type=int, default=600, help="customers of the shop")
    parser.add_argument("--warm-up", type=float, default=150.0, help="seconds of traffic before the first click")
    parser.add_argument("--json", action="store_true", help="also print every time, in seconds")
    args = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        console.print("making a shop, training and starting the stack ...")
        with shop_stack(Path(folder), args.products, args.customers) as shop:
            shop.materialise()
            shop.train()
            shop.deploy("up")
            arrivals, player = Arrivals(), Round(shop)
            times = []
            with player.others(args.rate):
                console.print(f"{args.warm_up:g} s of traffic first, in which Java compiles what it runs often ...")
                time.sleep(args.warm_up)
                for _ in track(range(args.rounds), "clicks", console=console):
                    times.append(player.play(arrivals))
                    time.sleep(random.uniform(0.2, 1.0))  # so that clicks meet micro-batches at any point
    _show(np.array(times), args.rate)
    if args.json:
        print(json.dumps([[round(seconds, 4) for seconds in row] for row in times]))


def _show(seconds: np.ndarray, rate: float) -> None:
    title = f"{len(seconds)} clicks at {rate:g} other events per second, seconds"
    table = Table(title=title, title_justify="left")
    for heading in ("from the click to", "median", "p95", "max"):
        table.add_column(heading, justify="left" if heading == "from the click to" else "right")
    names = ("acknowledged by the collector", "a plain Kafka consumer", "changed recommendations")
    for name, column in zip(names, seconds.T, strict=True):
        table.add_row(name, *(f"{value:.3f}" for value in (*np.quantile(column, (0.5, 0.95)), column.max())))
    ratio = np.quantile(seconds[:, 2], (0.5, 0.95)) / np.quantile(seconds[:, 1], (0.5, 0.95))
    table.add_row("ratio to the plain consumer", *(f"{value:.0f}x" for value in ratio), "")
    Console().print(table)


if __name__ == "__main__":
    main()
