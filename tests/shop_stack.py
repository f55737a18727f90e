"""The tiny shop of :mod:`offline_data` in a stack of its own: history written, features online, model trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import offline_data
import pandas as pd
from offline_data import Shop
from own_stack import OwnStack, variables_of

from feature_repo.settings import PROJECT_ROOT
from feature_repo.tables import CATALOG, CATALOG_INDEX, CUSTOMER_ACTIVITY, Table


@dataclass(frozen=True)
class ShopStack:
    """A stack whose offline store holds a shop's history.

    Attributes:
        stack: home and ports.
        shop: the products.
        events: the history, as rows of the ``events`` table.
    """

    stack: OwnStack
    shop: Shop
    events: list[dict[str, Any]]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python -m ...`` on this stack; its output, errors included, is in ``stdout``."""
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=PROJECT_ROOT,
            env=self.stack.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )

    def deploy(self, *arguments: str) -> None:
        """``python -m deploy ...``; must succeed."""
        done = self.stack.deploy(*arguments)
        assert done.returncode == 0, done.stdout

    def materialise(self) -> None:
        """Bring the latest features online, by Feast's own command."""
        since = (self.events[0]["timestamp"] - timedelta(days=2)).isoformat()
        until = (offline_data.now() + timedelta(minutes=1)).isoformat()
        done = self.run("feast.cli.cli", "-c", "feature_repo", "materialize", since, until)
        assert done.returncode == 0, done.stdout

    def train(self) -> None:
        """``python -m training run``; must succeed."""
        done = self.run("training", "run")
        assert done.returncode == 0, done.stdout

    def push_customer(self, customer: str, actions: list[tuple[str, str]], days_ago: float = 0.0) -> None:
        """Put a customer online who did just these things: (event name, product id), oldest first."""
        at = offline_data.now() - timedelta(days=days_ago)
        products = {self.shop.product(index)["product_id"]: index for index in range(self.shop.products)}
        events = [
            {
                "event": name,
                "customer_id": customer,
                "timestamp": at - timedelta(seconds=len(actions) - place),
                "products": [self.shop.product(products[product_id])],
            }
            for place, (name, product_id) in enumerate(actions)
        ]
        self._push("customer_activity_push", CUSTOMER_ACTIVITY, offline_data.customer_rows(events)[-1:])

    def push_stock(self, product_id: str, stock: int | None) -> None:
        """Change what is in stock of a product, online."""
        rows = offline_data.catalog_rows(self.shop, offline_data.now(), {product_id: stock})
        first_seen_at = (self.events[0]["timestamp"] - timedelta(days=1)).timestamp()
        changed = [{**row, "first_seen_at": first_seen_at} for row in rows if row["product_id"] == product_id]
        self._push("catalog_push", CATALOG, changed)

    def push_prices(self, factor: float) -> None:
        """Change all prices, online."""
        rows = offline_data.catalog_rows(self.shop, offline_data.now())
        self._push("catalog_push", CATALOG, [{**row, "price": row["price"] * factor} for row in rows])

    def push_arrival(self) -> str:
        """Put one more product online, which has just come; gives its id."""
        more, at = Shop(self.shop.products + 1, self.shop.seed), offline_data.now()
        self._push("catalog_push", CATALOG, offline_data.catalog_rows(more, at)[-1:])
        self._push("catalog_index_push", CATALOG_INDEX, [offline_data.index_row(more, at)])
        return str(more.product(self.shop.products)["product_id"])

    def _push(self, source: str, table: Table, rows: list[dict[str, Any]]) -> None:
        from feast.data_source import PushMode

        from feature_repo.store import open_store

        frame: pd.DataFrame = offline_data.arrow(table, rows).to_pandas()
        open_store().push(source, frame, to=PushMode.ONLINE)


@contextmanager
def shop_stack(
    home: Path, products: int = 60, customers: int = 250, settings: Mapping[str, object] | None = None
) -> Iterator[ShopStack]:
    """A stack with a shop's history and Redis running; settings of this process are those of the stack meanwhile.

    Args:
        home: where it keeps its data.
        products: of the shop.
        customers: who were there.
        settings: further settings by the end of their variables' names, for example ``SERVING__DEADLINE_MS``.
    """
    stack = OwnStack({**OwnStack.at(home).variables, **variables_of(settings or {})})
    shop = Shop(products, seed=3)
    with stack.exported():
        try:
            events = offline_data.shop_events(shop, customers, offline_data.now())
            offline_data.write_history(shop, events)
            place = ShopStack(stack, shop, events)
            place.deploy("up", "redis")
            applied = place.run("feast.cli.cli", "-c", "feature_repo", "apply")
            assert applied.returncode == 0, applied.stdout
            yield place
        finally:
            stack.deploy("down")
