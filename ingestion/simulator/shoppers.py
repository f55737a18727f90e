"""Customers who react to recommendations: they ask the service, see its answer, click what they like, and perhaps order it.

How much more they click on what a variant of an experiment shows is known, and so is all that they did.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
import urllib3

from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED
from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion.simulator.behaviour import CART_BASE, CART_TASTE, CLICK_BASE, CLICK_TASTE, POSITION_FADE
from ingestion.simulator.sender import REQUEST_SECONDS, Collector
from ingestion.simulator.shop import Shop
from ingestion.stopping import StopRequest

if TYPE_CHECKING:
    from rich.table import Table

# What was recommended is clicked more readily than what any list shows.
CLICK_READINESS = 1.5
ORDER_SHARE = 0.6
NO_VARIANT = "-"

Bools = npt.NDArray[np.bool_]


@dataclass
class Done:
    """What shoppers of a variant did."""

    visits: int = 0
    shown: int = 0
    clicks: int = 0
    carts: int = 0
    orders: int = 0


@dataclass(frozen=True)
class Reaction:
    """What customers do with what they are shown, shape (customers, products): each of these is part of the one before."""

    clicked: Bools
    carted: Bools
    ordered: Bools


def react(taste: npt.NDArray[Any], rng: np.random.Generator, lift: Any = 1.0) -> Reaction:
    """Reactions of customers to lists.

    Args:
        taste: how much each customer likes each product of his list, in order of their places, shape (customers, products).
        rng: chance.
        lift: how many times as likely a click is, shape (customers, 1) or one for all.
    """
    looked_at = 1 / (1 + POSITION_FADE * np.arange(taste.shape[1]))
    chance = looked_at / (1 + np.exp(-(CLICK_BASE + CLICK_READINESS + CLICK_TASTE * taste)))
    luck = rng.random((3, *taste.shape))
    clicked = luck[0] < np.minimum(lift * chance, 1.0)
    carted = clicked & (luck[1] < 1 / (1 + np.exp(-(CART_BASE + CLICK_READINESS + CART_TASTE * taste))))
    return Reaction(clicked, carted, carted & (luck[2] < ORDER_SHARE))


class Shoppers:
    """Registered customers of a shop, who come one after the other.

    Attributes:
        done: what was done, by variant.
    """

    def __init__(self, shop: Shop, lifts: Mapping[str, float], seed: int | None = None) -> None:
        self.done: dict[str, Done] = {}
        self._shop, self._lifts = shop, lifts
        self._rng = np.random.default_rng(seed)
        self._http = urllib3.PoolManager(maxsize=1, retries=False, timeout=REQUEST_SECONDS)

    def visit(
        self, service: str, collector: Collector, scenario: str, k: int, visits: int, rate: float, stop: StopRequest
    ) -> None:
        """Let so many customers come, at most ``rate`` a second.

        Raises:
            UnavailableError: the service or the collector does not take what it is sent.
        """
        registered = np.flatnonzero(self._shop.customers.registered)
        ids = self._shop.customers.user_ids()
        begun = time.monotonic()
        for number, row in enumerate(self._rng.permutation(registered)[np.arange(visits) % len(registered)]):
            if stop:
                return
            body = {"user_id": ids[row], "scenario": scenario, "k": k}
            answer = self._ask(service, body)
            if answer["items"]:
                collector.send(self._events(int(row), ids[row], answer))
            stop.wait(max(0.0, begun + (number + 1) / rate - time.monotonic()))

    def _ask(self, service: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{service.rstrip('/')}/recommend"
        try:
            response = self._http.request("POST", url, json=body, headers=get_settings().serving.authorization)
        except urllib3.exceptions.HTTPError as error:
            raise UnavailableError(
                f"{url} does not answer ({type(error).__name__}); `make up` starts the service"
            ) from error
        if response.status != 200:
            raise UnavailableError(f"{url} answered {response.status}: {response.data[:300]!r}")
        answer: dict[str, Any] = orjson.loads(response.data)
        return answer

    def _events(self, row: int, customer: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """What the customer's tracker sends."""
        catalog = self._shop.catalog
        ids = [item["product_id"] for item in answer["items"]]
        rows = np.array([catalog.row_of.get(product, -1) for product in ids])
        taste = np.where(rows >= 0, self._shop.affinity(np.array([row]), np.maximum(rows, 0)), 0.0)[None, :]
        variant = answer["variant"] or NO_VARIANT
        reaction = react(taste, self._rng, self._lifts.get(variant, 1.0))
        products = [
            {"product_id": product, "price": float(catalog.price[at]) if at >= 0 else None, "quantity": 1}
            for product, at in zip(ids, rows, strict=True)
        ]
        products = [{name: value for name, value in one.items() if value is not None} for one in products]
        shown = [{**one, "position": place + 1} for place, one in enumerate(products)]
        events = [self._event(customer, LIST_VIEWED, request_id=answer["request_id"], products=shown)]
        for place in np.flatnonzero(reaction.clicked[0]):
            names = (CLICKED, VIEWED, ADDED) if reaction.carted[0, place] else (CLICKED, VIEWED)
            events += [self._event(customer, name, products=[products[place]]) for name in names]
        if ordered := [products[place] for place in np.flatnonzero(reaction.ordered[0])]:
            events.append(self._event(customer, ORDERED, order_id=f"o-{self._id()}", products=ordered))
        done = self.done.setdefault(variant, Done())
        done.visits += 1
        done.shown += len(ids)
        done.clicks += int(reaction.clicked.sum())
        done.carts += int(reaction.carted.sum())
        done.orders += int(reaction.ordered.sum())
        return events

    def _event(self, customer: str, name: str, **properties: Any) -> dict[str, Any]:
        return {"type": "track", "event": name, "messageId": self._id(), "userId": customer, "properties": properties}

    def _id(self) -> str:
        return uuid.uuid4().hex  # not by the seed: what is sent twice is a duplicate


def as_table(done: Mapping[str, Done]) -> Table:
    """For people."""
    from rich.table import Table

    table = Table("variant", title="what shoppers really did", title_justify="left")
    names = list(vars(Done()))
    for name in names:
        table.add_column(name, justify="right")
    for variant, one in sorted(done.items()):
        table.add_row(variant, *(f"{getattr(one, name):,}" for name in names))
    return table
