"""Google Analytics 4's BigQuery export (tables ``events_*``) as events of the contract: one row is one event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from feature_repo import contract
from ingestion.exports.ga_values import (
    Event,
    Row,
    in_parts,
    integer,
    moment,
    number,
    path_of,
    record,
    records,
    stable_id,
    text,
    without_nothing,
)
from ingestion.exports.large_orders import fitted

EVENT_OF_NAME = {
    "view_item_list": contract.LIST_VIEWED,
    "select_item": contract.CLICKED,
    "view_item": contract.VIEWED,
    "add_to_cart": contract.ADDED,
    "remove_from_cart": contract.REMOVED,
    "view_cart": contract.CART_VIEWED,
    "begin_checkout": contract.CHECKOUT,
    "purchase": contract.ORDERED,
    "add_to_wishlist": contract.WISHLISTED,
    "search": contract.SEARCHED,
    "view_search_results": contract.SEARCHED,
}
# What tells two rows of a visitor apart that were sent with one time; older exports lack some of it.
_PLACE = ("event_bundle_sequence_id", "batch_page_id", "batch_ordering_id", "batch_event_index")
_MOST_TIED = 200_000
_CATEGORIES = ("item_category", "item_category2", "item_category3", "item_category4", "item_category5")


class GA4:
    """Maps the rows of an export, in any order.

    Attributes:
        passed_over: how many rows, or items of rows, gave nothing, by reason.
    """

    name = "ga4"
    marker = "event_name"
    columns: tuple[str, ...] = (
        "event_name",
        "event_timestamp",
        "event_params",
        "user_id",
        "user_pseudo_id",
        "stream_id",
        "device",
        "geo",
        "collected_traffic_source",
        "ecommerce",
        "items",
        *_PLACE,
    )

    def __init__(self) -> None:
        self.passed_over: Counter[str] = Counter()
        self._tied: dict[tuple[Any, ...], Any] = {}

    def events(self, row: Row) -> Iterator[Event]:
        """The events of a row; what only the contract can judge is passed on for it to refuse."""
        name = row.get(self.marker)
        if not isinstance(name, str):
            yield row
        elif name not in EVENT_OF_NAME:
            self.passed_over[f"{name}: no event of a shop"] += 1
        elif text(row.get("user_pseudo_id")) is None and text(row.get("user_id")) is None:
            self.passed_over["nobody's: neither user_pseudo_id nor user_id, as without consent"] += 1
        else:
            yield from self._events(row, EVENT_OF_NAME[name])

    def _events(self, row: Row, event: str) -> Iterator[Event]:
        params = _params(row)
        visitor, customer = text(row.get("user_pseudo_id")), text(row.get("user_id"))
        session = text(params.get("ga_session_id"))
        shared = {
            "userId": customer,
            "anonymousId": visitor,
            "timestamp": moment(row.get("event_timestamp")),
            "context": _context(row, params, f"{visitor or customer}.{session}" if session is not None else None),
        }
        # The export knows no call that ties a visitor to a customer. The earliest row of a session that has both is one:
        # rows come in any order, and of events with one id the earliest counts.
        session_of = (visitor, customer, session)
        if visitor is not None and customer is not None and self._is_earliest(session_of, shared["timestamp"]):
            tie = {"type": "identify", "messageId": stable_id(self.name, "identify", *session_of)}
            yield without_nothing({**tie, **shared})
        found = self._products(row, event)
        # An order must stay one: of two reports of it, only one counts.
        for products in in_parts(found) if event == contract.LIST_VIEWED else [fitted(found) or None]:
            properties = _properties(row, params, event, products)
            yield without_nothing({**_envelope(self.name, row, event, properties), **shared, "properties": properties})

    def _is_earliest(self, session: tuple[Any, ...], timestamp: Any) -> bool:
        if len(self._tied) >= _MOST_TIED:
            self._tied.clear()  # what is tied once more counts once all the same
        known = self._tied.get(session)
        if isinstance(timestamp, str) and (known is None or timestamp < known):
            self._tied[session] = timestamp
            return True
        return False

    def _products(self, row: Row, event: str) -> list[Event]:
        items = records(row.get("items"))
        known = [item for item in items if text(item.get("item_id")) is not None]
        if len(known) < len(items):
            self.passed_over[f"{row[self.marker]}: item without item_id"] += len(items) - len(known)
        products = [_product(item) for item in known]
        if event == contract.LIST_VIEWED:
            _number_from_one(products)
        return products


def _envelope(export: str, row: Row, event: str, properties: Event) -> Event:
    details = [
        [product["product_id"], product["quantity"], product.get("position")]
        for product in properties["products"] or []
    ]
    identity = (
        text(row.get("stream_id")),
        text(row.get("user_pseudo_id")) or text(row.get("user_id")),
        row["event_name"],
        integer(row.get("event_timestamp")),
        *(integer(row.get(name)) for name in _PLACE),
        [properties[name] for name in ("list_id", "order_id", "query")],
        details,
    )
    return {"type": "track", "event": event, "messageId": stable_id(export, *identity)}


def _properties(row: Row, params: Row, event: str, products: list[Event] | None) -> Event:
    ordered, first = event == contract.ORDERED, next(iter(records(row.get("items"))), {})
    order = record(row.get("ecommerce")) if ordered else {}
    lists = (
        params.get("item_list_id"),
        params.get("item_list_name"),
        first.get("item_list_id"),
        first.get("item_list_name"),
    )
    in_list = event in (contract.LIST_VIEWED, contract.CLICKED)
    revenue = number(order.get("purchase_revenue"))
    return {
        "list_id": next((one for one in map(text, lists) if one is not None), None) if in_list else None,
        "query": text(params.get("search_term")) if event == contract.SEARCHED else None,
        "order_id": (text(order.get("transaction_id")) or text(params.get("transaction_id"))) if ordered else None,
        "revenue": (number(params.get("value")) if revenue is None else revenue) if ordered else None,
        "currency": text(params.get("currency")),
        "products": products,
    }


def _product(item: Row) -> Event:
    levels = [level for level in (text(item.get(name)) for name in _CATEGORIES) if level is not None]
    return {
        "product_id": item["item_id"],
        "name": text(item.get("item_name")),
        "category": "/".join(map(str, levels)) or None,
        "brand": text(item.get("item_brand")),
        "variant": text(item.get("item_variant")),
        "price": number(item.get("price")),
        "quantity": integer(item.get("quantity")),
        "coupon": text(item.get("coupon")),
        "position": integer(item.get("item_list_index")),
    }


def _number_from_one(products: list[Event]) -> None:
    """Shops count the places of a list from 0 or from 1, or not at all; the contract counts from 1."""
    places = [product["position"] for product in products]
    if not all(isinstance(place, int) for place in places):
        places = list(range(len(products)))
    first = 1 if 0 in places else 0
    for product, place in zip(products, places, strict=True):
        product["position"] = place + first


def _context(row: Row, params: Row, session: str | None) -> Event:
    device = record(row.get("device"))
    return {
        "sessionId": session,
        "country": text(record(row.get("geo")).get("country")),
        "device": text(device.get("category")),
        "os": text(device.get("operating_system")),
        "locale": text(device.get("language")),
        "channel": text(record(row.get("collected_traffic_source")).get("manual_medium")),
        "pagePath": path_of(params.get("page_location")),
    }


def _params(row: Row) -> Row:
    """The event's parameters by name. Each has one value, in a field by its type."""
    found: dict[str, Any] = {}
    for param in records(row.get("event_params")):
        value = record(param.get("value"))
        readings = (
            value.get("string_value"),
            integer(value.get("int_value")),
            number(value.get("float_value")),
            number(value.get("double_value")),
        )
        found[str(param.get("key"))] = next((reading for reading in readings if reading is not None), None)
    return found
