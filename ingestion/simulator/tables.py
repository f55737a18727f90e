"""Happenings as contract events in an Arrow table: the columns of the history files, and the source of live events."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, REMOVED, SEARCHED, VIEWED, WISHLISTED
from ingestion.simulator.behaviour import NONE, Happenings, Kind
from ingestion.simulator.catalog import BRANDS, CURRENCY, SHELVES
from ingestion.simulator.lists import NO_PRODUCT, ListKind
from ingestion.simulator.shop import Shop
from ingestion.simulator.vocabulary import CHANNELS, COUNTRIES, DEVICES

CALLS = {Kind.PAGE: "page", Kind.IDENTIFY: "identify", Kind.ALIAS: "alias"}
NAMES = {
    Kind.SEARCH: SEARCHED,
    Kind.LIST: LIST_VIEWED,
    Kind.CLICK: CLICKED,
    Kind.VIEW: VIEWED,
    Kind.ADD: ADDED,
    Kind.WISH: WISHLISTED,
    Kind.REMOVE: REMOVED,
    Kind.CART: "Cart Viewed",
    Kind.CHECKOUT: "Checkout Started",
    Kind.ORDER: ORDERED,
}
MOMENT = pa.timestamp("ms", tz="UTC")
UUID_DASHES = (8, 13, 18, 23)

Ints = npt.NDArray[np.int_]
Bools = npt.NDArray[np.bool_]


class EventTables:
    """Turns happenings of one shop into tables; keeps the shop's texts for all of them."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        catalog = shop.catalog
        self._product_texts = {
            "product_id": (pa.array(catalog.ids), None),
            "name": (pa.array(catalog.names), None),
            "category": (pa.array([path for _, path, _ in SHELVES]), catalog.shelf),
            "brand": (pa.array(BRANDS), catalog.brand),
        }

    @cached_property
    def _user_ids(self) -> pa.Array:
        return pa.array(self._shop.customers.user_ids())

    @cached_property
    def _anonymous_ids(self) -> pa.Array:
        return pa.array(self._shop.customers.anonymous_ids())

    def table(self, events: Happenings, rng: np.random.Generator) -> pa.Table:
        """The events in order of time; ids (message, session, order) are drawn from ``rng``."""
        kind, customer = events.kind, events.visits.customer[events.visit]
        device = 2 * customer + events.visits.slot[events.visit]
        types = [CALLS.get(number, "track") for number in Kind]
        table = pa.table(
            {
                "messageId": _uuids(rng, len(events)),
                "type": _pick(types, kind),
                "event": _pick([NAMES.get(number, "") for number in Kind], kind, kind < Kind.SEARCH),
                "userId": _pick(self._user_ids, customer, ~events.known),
                "anonymousId": _pick(self._anonymous_ids, device),
                "previousId": _pick(self._anonymous_ids, device, kind != Kind.ALIAS),
                "timestamp": pa.array((events.time * 1000).astype(np.int64)).cast(MOMENT),
                "properties": self._properties(events, rng),
                "context": self._context(events, rng),
            }
        )
        return table.take(pa.array(np.argsort((events.time * 1000).astype(np.int64), kind="stable")))

    def _properties(self, events: Happenings, rng: np.random.Generator) -> pa.Array:
        kind, place = events.kind, events.list
        list_kind = events.lists.kind[place]
        shelf = events.lists.shelf[place]
        listed = (place != NONE) & (kind != Kind.SEARCH)
        about_shelf = (place != NONE) & (list_kind <= ListKind.SEARCH)
        paths = [path for _, path, _ in SHELVES]
        queries = [path.rpartition("/")[2].lower() for path in paths]
        order_ids = _hex_ids(rng, len(events.visits), 6, "O")
        ordered = kind == Kind.ORDER
        columns = {
            "list_id": _pick([number.name.lower() for number in ListKind], list_kind, ~listed),
            "category": _pick(paths, shelf, ~(about_shelf & (kind == Kind.LIST))),
            "query": _pick(queries, shelf, kind != Kind.SEARCH),
            "order_id": order_ids.take(pa.array(events.visit, mask=~ordered)),
            "revenue": pa.array(self._revenue(events)[events.visit], pa.float64(), mask=~ordered),
            "currency": _pick([CURRENCY], np.zeros(len(events), dtype=int), kind <= Kind.SEARCH),
            "products": self._products(events),
        }
        empty = np.isin(kind, (Kind.PAGE, Kind.IDENTIFY, Kind.ALIAS))
        return _struct(columns, empty)

    def _revenue(self, events: Happenings) -> npt.NDArray[np.float64]:
        value = self._shop.catalog.price[events.basket_product] * events.basket_quantity
        return np.round(np.bincount(events.basket_visit, weights=value, minlength=len(events.visits)), 2)

    def _products(self, events: Happenings) -> pa.Array:
        """The ``products`` lists: what was shown, the single product, or the basket; null where there is none."""
        event, product, position, quantity = _product_rows(events)
        order = np.argsort(event, kind="stable")
        product = product[order]
        fields: dict[str, Any] = {
            name: _pick(texts, product if codes is None else codes[product])
            for name, (texts, codes) in self._product_texts.items()
        }
        fields["price"] = pa.array(self._shop.catalog.price[product])
        fields["quantity"] = _numbers(quantity[order], pa.int64())
        fields["position"] = _numbers(position[order], pa.int32())
        counts = np.bincount(event, minlength=len(events))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        values = _struct(fields, np.zeros(len(product), dtype=bool))
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(counts == 0))

    def _context(self, events: Happenings, rng: np.random.Generator) -> pa.Array:
        visits, visit = events.visits, events.visit
        customers = self._shop.customers
        device = customers.devices[visits.customer, visits.slot][visit]
        columns = {
            "sessionId": _hex_ids(rng, len(visits), 8, "s").take(pa.array(visit)),
            "device": _pick([name for name, _ in DEVICES], device),
            "country": _pick([name for name, _ in COUNTRIES], customers.country[visits.customer][visit]),
            "channel": _pick([name for name, _ in CHANNELS], visits.channel[visit]),
            "pagePath": _pick(["/"], np.zeros(len(events), dtype=int), events.kind != Kind.PAGE),
        }
        return _struct(columns, np.zeros(len(events), dtype=bool))


def _product_rows(events: Happenings) -> tuple[Ints, Ints, Ints, Ints]:
    """(event, product, position, quantity) of every product in every event, those of one event in order."""
    of_list = np.flatnonzero(events.kind == Kind.LIST)
    products = events.lists.products[events.list[of_list]]
    row, place = np.nonzero(products != NO_PRODUCT)
    single = np.flatnonzero(events.product != NONE)
    with_basket = np.flatnonzero((events.kind == Kind.CHECKOUT) | (events.kind == Kind.ORDER))
    first = np.searchsorted(events.basket_visit, events.visit[with_basket], side="left")
    last = np.searchsorted(events.basket_visit, events.visit[with_basket], side="right")
    basket_event = np.repeat(with_basket, last - first)
    within = np.arange(len(basket_event)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    item = np.repeat(first, last - first) + within
    none = np.full(len(item), NONE)
    return (
        np.concatenate([of_list[row], single, basket_event]),
        np.concatenate([products[row, place], events.product[single], events.basket_product[item]]),
        np.concatenate([place + 1, events.position[single], none]),
        np.concatenate([np.full(len(row), NONE), events.quantity[single], events.basket_quantity[item]]),
    )


def _pick(texts: pa.Array | Sequence[str], codes: Ints, missing: Bools | None = None) -> pa.Array:
    """``texts[codes]``, null where ``missing``, as a dictionary array: the texts themselves are not copied."""
    if not isinstance(texts, pa.Array):
        # A dictionary must not hold a text twice: Parquet would be written without it, and not the same each time.
        distinct, of_text = np.unique(list(texts), return_inverse=True)
        texts, codes = pa.array(distinct.tolist(), pa.string()), of_text[codes]
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=missing), texts)


def _numbers(values: Ints, kind: pa.DataType) -> pa.Array:
    return pa.array(values, mask=values == NONE).cast(kind)


def _struct(columns: dict[str, pa.Array], missing: Bools) -> pa.Array:
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns), mask=pa.array(missing))


def _uuids(rng: np.random.Generator, size: int) -> pa.Array:
    digits = np.frombuffer(rng.bytes(16 * size).hex().encode(), dtype=np.uint8).reshape(size, 32)
    text = np.full((size, 36), ord("-"), dtype=np.uint8)
    text[:, [place for place in range(36) if place not in UUID_DASHES]] = digits
    offsets = np.arange(0, 36 * (size + 1), 36, dtype=np.int32)
    return pa.StringArray.from_buffers(size, pa.py_buffer(offsets), pa.py_buffer(text))


def _hex_ids(rng: np.random.Generator, size: int, length: int, prefix: str) -> pa.Array:
    """Ids of ``length`` random bytes each."""
    text = rng.bytes(length * size).hex()
    return pa.array(
        [prefix + text[at : at + 2 * length] for at in range(0, 2 * length * size, 2 * length)], pa.string()
    )
