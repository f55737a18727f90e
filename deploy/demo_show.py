"""The point of the demo: a new customer's recommendations before and after a few clicks, with the time in between."""

from __future__ import annotations

import base64
import json
import random
import statistics
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from deploy.errors import StackError
from deploy.services import collector_listener, serving_listener
from feature_repo.settings import Settings

K = 10
ROUNDS = 5
CLICKED_PRODUCTS = 3
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 60.0

Product = dict[str, Any]  # a row of the catalogue
Answer = dict[str, Any]  # what POST /recommend gives


@dataclass(frozen=True)
class Round:
    """One new customer: the category clicked, both answers, and the seconds from the first click to the second one."""

    customer: str
    category: str
    before: Answer
    after: Answer
    seconds: float


class Show:
    """Plays customers against the running stack, through its public HTTP interfaces only."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._console = console
        self._collector = collector_listener(settings).url
        self._serving = serving_listener(settings).url
        key = settings.collector.write_key.get_secret_value()
        self._authorization = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
        rows = pq.read_table(settings.home / "simulator" / "catalog.parquet").to_pylist()
        self._products: dict[str, Product] = {row["product_id"]: row for row in rows}

    def recommend(self, customer: str) -> Answer:
        """What the service recommends to an anonymous customer now."""
        return _post(f"{self._serving}/recommend", {"anonymous_id": customer, "k": K})

    def play(self) -> Round:
        """Play a handful of customers, show the first one's lists and everybody's times; returns the first round.

        Raises:
            StackError: a server does not answer, or clicks change nothing.
        """
        rounds = []
        for number in range(ROUNDS):
            with self._console.status(f"customer {number + 1} of {ROUNDS}"):
                rounds.append(self._round())
            if number == 0:
                self._console.print(self._side_by_side(rounds[0]))
        times = [played.seconds for played in rounds]
        self._console.print(
            f"From click to changed recommendation: [bold]{statistics.median(times):.2f} s[/] median of {ROUNDS} new "
            f"customers ({', '.join(f'{seconds:.2f}' for seconds in times)})",
            highlight=False,
        )
        return rounds[0]

    def _round(self) -> Round:
        customer = f"demo-{uuid.uuid4().hex[:12]}"
        before = self.recommend(customer)
        shown = {item["product_id"] for item in before["items"]}
        liked = self._choose(shown)
        category = liked[0]["category"]
        begun = time.monotonic()
        for product in liked:
            self._track("Product Clicked", customer, product)
            self._track("Product Viewed", customer, product)
        while time.monotonic() - begun < PATIENCE_SECONDS:
            after = self.recommend(customer)
            if self._in_category(after, category) > self._in_category(before, category):
                return Round(customer, category, before, after, time.monotonic() - begun)
            time.sleep(POLL_SECONDS)
        raise StackError(
            f"{2 * CLICKED_PRODUCTS} clicks on {category} were accepted, but changed no recommendation within "
            f"{PATIENCE_SECONDS:.0f} s; `make logs` shows what the stream and the service say"
        )

    def _choose(self, shown: set[str]) -> list[Product]:
        """A few products in stock of a category that is not recommended anyway."""
        common = {self._products[product]["category"] for product in shown if product in self._products}
        shelves: dict[str, list[Product]] = {}
        for product in self._products.values():
            if product["stock"] and product["category"] not in common:
                shelves.setdefault(product["category"], []).append(product)
        # A shelf must have more to recommend than what was just looked at.
        worthwhile = [shelf for shelf in shelves.values() if len(shelf) >= CLICKED_PRODUCTS + K]
        return random.sample(random.choice(worthwhile), CLICKED_PRODUCTS)

    def _in_category(self, answer: Answer, category: str) -> int:
        return sum(self._products.get(item["product_id"], {}).get("category") == category for item in answer["items"])

    def _track(self, event: str, customer: str, product: Product) -> None:
        fields = ("product_id", "name", "category", "brand", "price")
        body = {
            "event": event,
            "anonymousId": customer,
            "messageId": str(uuid.uuid4()),
            "timestamp": datetime.now(UTC).isoformat(),
            "properties": {field: product[field] for field in fields},
        }
        _post(f"{self._collector}/v1/track", body, {"Authorization": self._authorization})

    def _side_by_side(self, played: Round) -> Table:
        table = Table(
            title=f"A new customer before, and {played.seconds:.2f} s after the first of {2 * CLICKED_PRODUCTS} "
            f"clicks on {played.category}",
            title_justify="left",
        )
        table.add_column("#", justify="right")
        for moment in ("before", "after"):
            table.add_column(moment, ratio=3, no_wrap=True)
            table.add_column("price", justify="right", no_wrap=True)
            table.add_column("why", ratio=2, no_wrap=True)
        for rank in range(K):
            table.add_row(
                str(rank + 1),
                *self._cells(played.before, rank, ""),
                *self._cells(played.after, rank, played.category),
            )
        return table

    def _cells(self, answer: Answer, rank: int, category: str) -> tuple[str, str, str]:
        if rank >= len(answer["items"]):
            return "", "", ""
        item = answer["items"][rank]
        product = self._products.get(item["product_id"], {})
        name = f"{product.get('name') or item['product_id']} [dim]{product.get('category') or ''}[/]"
        if category and product.get("category") == category:
            name = f"[green]{name}[/]"
        price = product.get("price")
        reason = f"{item['source']}: {item['reason']}"
        return name, "" if price is None else f"{price:.2f}", reason


def _post(url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            decoded: dict[str, Any] = json.loads(answer.read() or b"{}")
            return decoded
    except urllib.error.HTTPError as error:
        raise StackError(f"{url} answered {error.code}: {error.read().decode(errors='replace')[:500]}") from error
    except OSError as error:
        raise StackError(f"{url} does not answer: {error}") from error
