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
from rich.text import Text

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
        self._may_ask = settings.serving.authorization
        key = settings.collector.write_key.get_secret_value()
        self._authorization = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
        rows = pq.read_table(settings.home / "simulator" / "catalog.parquet").to_pylist()
        self._products: dict[str, Product] = {row["product_id"]: row for row in rows}

    def recommend(self, customer: str) -> Answer:
        """What the service recommends to an anonymous customer now."""
        return _post(f"{self._serving}/recommend", {"anonymous_id": customer, "k": K}, self._may_ask)

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
            expand=True,
        )
        table.add_column("#", justify="right", min_width=2, vertical="top")
        table.add_column("before", ratio=1, no_wrap=True)
        table.add_column("after", ratio=1, no_wrap=True)
        for rank in range(max(len(played.before["items"]), len(played.after["items"]))):
            cells = (self._cell(answer, rank, played.category) for answer in (played.before, played.after))
            table.add_row(str(rank + 1), *cells)
        return table

    def _cell(self, answer: Answer, rank: int, clicked: str) -> Text:
        """One recommendation in two lines: name and price, then category, source and reason."""
        if rank >= len(answer["items"]):
            return Text()
        item = answer["items"][rank]
        product = self._products.get(item["product_id"], {})
        category = product.get("category") or ""
        name = Text(product.get("name") or item["product_id"], style="bold green" if category == clicked else "bold")
        price = f"  {product['price']:.2f} {product['currency']}" if product.get("price") is not None else ""
        why = Text(f"\n{category} | {item['source']}: {item['reason']}", style="dim")
        return Text.assemble(name, price, why)


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
