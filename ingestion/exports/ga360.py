"""Universal Analytics 360's BigQuery export (tables ``ga_sessions_*``): one row is a session, with its hits inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from feature_repo import contract
from ingestion.exports.ga_values import (
    MICROS,
    Event,
    Row,
    amount,
    in_parts,
    integer,
    moment,
    path_of,
    record,
    records,
    stable_id,
    text,
    without_nothing,
)
from ingestion.exports.large_orders import fitted

EVENT_OF_ACTION = {
    "1": contract.CLICKED,
    "2": contract.VIEWED,
    "3": contract.ADDED,
    "4": contract.REMOVED,
    "5": contract.CHECKOUT,
    "6": contract.ORDERED,
}
_NO_ACTION = "0"


class GA360:
    """Maps the rows of an export, in any order.

    Attributes:
        passed_over: how many rows, hits or products gave nothing, by reason.
    """

    name = "ga360"
    marker = "hits"
    columns: tuple[str, ...] = (
        "fullVisitorId",
        "userId",
        "visitId",
        "visitStartTime",
        "channelGrouping",
        "device",
        "geoNetwork",
        "hits",
    )

    def __init__(self) -> None:
        self.passed_over: Counter[str] = Counter()

    def events(self, row: Row) -> Iterator[Event]:
        """The events of a session; what only the contract can judge is passed on for it to refuse."""
        if self.marker not in row:
            yield row
            return
        found = [event for hit in records(row[self.marker]) for event in self._of_hit(row, hit)]
        if found and text(row.get("userId")) is not None:
            tie = stable_id(self.name, *_visit(row), "identify", row["userId"])
            yield without_nothing({"type": "identify", "messageId": tie, **_shared(row, {})})
        yield from found

    def _of_hit(self, row: Row, hit: Row) -> Iterator[Event]:
        """Lists that were shown, a search, and an action may all be in one hit."""
        found = list(self._properties(hit))
        if not found and _action_of(hit) == _NO_ACTION:
            self.passed_over[f"hit of type {hit.get('type')}: nothing of a shop"] += 1
        for number, (event, properties) in enumerate(found):
            identity = (*_visit(row), integer(hit.get("hitNumber")), event, number)
            envelope = {"type": "track", "event": event, "messageId": stable_id(self.name, *identity)}
            yield without_nothing({**envelope, **_shared(row, hit), "properties": properties})

    def _properties(self, hit: Row) -> Iterator[tuple[str, Event]]:
        products = records(hit.get("product"))
        lists: dict[Any, list[Event]] = {}
        for product in products:
            if product.get("isImpression"):
                lists.setdefault(text(product.get("productListName")), []).append(product)
        for name, shown in lists.items():
            for part in in_parts(self._products(shown)):
                yield contract.LIST_VIEWED, {"list_id": name, "products": part}
        if hit.get("type") == "PAGE" and (query := text(record(hit.get("page")).get("searchKeyword"))) is not None:
            yield contract.SEARCHED, {"query": query}
        yield from self._action(hit, [product for product in products if not product.get("isImpression")])

    def _action(self, hit: Row, products: list[Row]) -> Iterator[tuple[str, Event]]:
        kind, step = _action_of(hit), integer(record(hit.get("eCommerceAction")).get("step"))
        event = EVENT_OF_ACTION.get(kind)
        if event is None:
            if kind != _NO_ACTION:
                self.passed_over[f"action of type {kind}: no event of the contract"] += 1
        elif event == contract.CHECKOUT and step not in (None, 0, 1):
            self.passed_over["later step of a checkout"] += 1
        else:
            properties: Event = {"products": fitted(self._products(products)) or None}
            if event == contract.CLICKED and products:
                properties["list_id"] = text(products[0].get("productListName"))
            yield event, properties | (_order(hit) if event == contract.ORDERED else {})

    def _products(self, products: list[Row]) -> list[Event]:
        known = [product for product in products if text(product.get("productSKU")) is not None]
        if len(known) < len(products):
            self.passed_over["product without productSKU"] += len(products) - len(known)
        return [_product(product) for product in known]


def _action_of(hit: Row) -> str:
    return str(record(hit.get("eCommerceAction")).get("action_type") or _NO_ACTION)


def _visit(row: Row) -> tuple[Any, ...]:
    """A session that lasts past midnight is two rows, which start at different times."""
    return text(row.get("fullVisitorId")), integer(row.get("visitId")), integer(row.get("visitStartTime"))


def _shared(row: Row, hit: Row) -> Event:
    """Who, when and where. ``time`` of a hit is in milliseconds since the start of the session, which is in seconds."""
    visitor, visit, start = _visit(row)
    since = integer(hit.get("time") or 0)
    known = isinstance(start, int) and isinstance(since, int)
    device = record(row.get("device"))
    return {
        "userId": text(row.get("userId")),
        "anonymousId": visitor,
        "timestamp": moment(start * MICROS + since * 1_000) if known else start,
        "context": {
            "sessionId": f"{visitor}.{visit}" if visit is not None else None,
            "country": text(record(row.get("geoNetwork")).get("country")),
            "device": text(device.get("deviceCategory")),
            "os": text(device.get("operatingSystem")),
            "locale": text(device.get("language")),
            "channel": text(row.get("channelGrouping")),
            "pagePath": path_of(record(hit.get("page")).get("pagePath")),
        },
    }


def _order(hit: Row) -> Event:
    order = record(hit.get("transaction"))
    local, converted = amount(order.get("localTransactionRevenue")), amount(order.get("transactionRevenue"))
    return {
        "order_id": text(order.get("transactionId")),
        "revenue": converted if local is None else local,
        "currency": text(order.get("currencyCode")),
    }


def _product(product: Row) -> Event:
    local, converted = amount(product.get("localProductPrice")), amount(product.get("productPrice"))
    return {
        "product_id": product["productSKU"],
        "name": text(product.get("v2ProductName")),
        "category": text(product.get("v2ProductCategory")),
        "brand": text(product.get("productBrand")),
        "variant": text(product.get("productVariant")),
        "price": converted if local is None else local,
        "quantity": integer(product.get("productQuantity")),
        "coupon": text(product.get("productCouponCode")),
        "position": integer(product.get("productListPosition")),
    }
