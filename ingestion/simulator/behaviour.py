"""What visitors do: see lists, click what they like, view, put into the cart, log in, order.

A visit is a small fixed machine: page, then for each list (log in) (search) list and for each product of it perhaps
click, view, add, wish; then (remove) cart, checkout, order. Everything is drawn for many visits at once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from ingestion.simulator.lists import LIST_LENGTH, NO_PRODUCT, ListKind, Lists, show_lists
from ingestion.simulator.shop import Shop
from ingestion.simulator.visits import Visits

CLICK_BASE, CLICK_TASTE, CLICK_POPULARITY, CLICK_INTENT = -3.5, 1.2, 0.3, 0.5
POSITION_FADE = 0.12
VIEW_SHARE = 0.94
CART_BASE, CART_TASTE = -3.3, 0.9
WISH_BASE, WISH_TASTE = -3.4, 0.7
SECOND_PIECE = 0.12
REMOVE_SHARE = 0.13
OPEN_CART, START_CHECKOUT, COMPLETE_ORDER = 0.8, 0.7, 0.75
PAGE_SHARE = 0.7
GAP_SPREAD = 0.7
NONE = -1


class Kind(IntEnum):
    """A kind of event, with the typical seconds since the one before in ``GAP_SECONDS``."""

    PAGE = 0
    IDENTIFY = 1
    ALIAS = 2
    SEARCH = 3
    LIST = 4
    CLICK = 5
    VIEW = 6
    ADD = 7
    WISH = 8
    REMOVE = 9
    CART = 10
    CHECKOUT = 11
    ORDER = 12


GAP_SECONDS = np.array([0.0, 8.0, 0.2, 6.0, 4.0, 9.0, 0.8, 22.0, 12.0, 10.0, 6.0, 9.0, 60.0])
STEPS_PER_LIST = 100
STEPS_PER_PRODUCT = 4


@dataclass(frozen=True)
class Happenings:
    """Columns over events, ordered by visit and then as they happened.

    Attributes:
        visit, kind: row of the visit; a ``Kind``.
        time: seconds since 1970.
        known: whether the customer is logged in at that moment.
        list: row in ``lists`` that the event belongs to, or NONE.
        product, position, quantity: of a single-product event, or NONE; positions from 1.
        basket_visit, basket_product, basket_quantity: what each visit's cart held in the end, ordered by visit.
    """

    visits: Visits
    lists: Lists
    visit: npt.NDArray[np.int_]
    kind: npt.NDArray[np.int_]
    time: npt.NDArray[np.float64]
    known: npt.NDArray[np.bool_]
    list: npt.NDArray[np.int_]
    product: npt.NDArray[np.int_]
    position: npt.NDArray[np.int_]
    quantity: npt.NDArray[np.int_]
    basket_visit: npt.NDArray[np.int_]
    basket_product: npt.NDArray[np.int_]
    basket_quantity: npt.NDArray[np.int_]

    def __len__(self) -> int:
        return len(self.visit)


class _Steps:
    """Collects events in any order; ``step`` is an event's place within its visit."""

    def __init__(self) -> None:
        self._columns: dict[str, list[npt.NDArray[np.int_]]] = defaultdict(list)

    def add(self, kind: Kind, visit: npt.NDArray[np.int_], step: Any, **details: npt.NDArray[np.int_]) -> None:
        columns: dict[str, Any] = {"list": NONE, "product": NONE, "position": NONE, "quantity": NONE}
        columns.update(details, kind=kind, visit=visit, step=step)
        for name, values in columns.items():
            self._columns[name].append(np.broadcast_to(np.asarray(values, dtype=np.int64), visit.shape))

    def in_order(self) -> dict[str, npt.NDArray[np.int_]]:
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        most = STEPS_PER_LIST * (STEPS_PER_LIST + 1)
        order = np.argsort(columns["visit"] * most + columns["step"], kind="stable")
        return {name: values[order] for name, values in columns.items()}


def behave(shop: Shop, rng: np.random.Generator, visits: Visits, available: npt.NDArray[np.bool_]) -> Happenings:
    """All that happens in ``visits``; ``available`` says which products may be shown."""
    lists = show_lists(rng, shop.catalog, visits, available)
    steps = _Steps()
    steps.add(Kind.PAGE, np.flatnonzero(rng.random(len(visits)) < PAGE_SHARE), 0)
    block = STEPS_PER_LIST * (lists.place + 1)
    searched = np.flatnonzero(lists.kind == ListKind.SEARCH)
    steps.add(Kind.SEARCH, lists.visit[searched], block[searched] + 2, list=searched)
    shown = np.flatnonzero(lists.products[:, 0] != NO_PRODUCT)
    steps.add(Kind.LIST, lists.visit[shown], block[shown] + 3, list=shown)
    login_step = _log_in(rng, steps, visits, lists)
    bought = _browse(shop, rng, steps, visits, lists)
    basket = _settle(rng, steps, *bought)
    columns = steps.in_order()
    known = visits.known[columns["visit"]] | (columns["step"] >= login_step[columns["visit"]])
    del columns["step"]
    return Happenings(
        visits, lists, **columns, time=_times(rng, visits, columns["visit"], columns["kind"]), known=known, **basket
    )


def _log_in(rng: np.random.Generator, steps: _Steps, visits: Visits, lists: Lists) -> npt.NDArray[np.int_]:
    """Log-ins before one of the visit's lists; returns each visit's step of it, beyond all steps if there is none."""
    list_count = np.bincount(lists.visit, minlength=len(visits))
    step = STEPS_PER_LIST * (1 + (rng.random(len(visits)) * list_count).astype(int))
    visit = np.flatnonzero(visits.logs_in)
    steps.add(Kind.IDENTIFY, visit, step[visit])
    new = np.flatnonzero(visits.signs_up)
    steps.add(Kind.ALIAS, new, step[new] + 1)
    return np.where(visits.logs_in, step, np.iinfo(np.int64).max)


def _browse(
    shop: Shop, rng: np.random.Generator, steps: _Steps, visits: Visits, lists: Lists
) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_], npt.NDArray[np.int_]]:
    """Clicks and what follows them; returns visit, product and quantity of all that went into carts."""
    customer = visits.customer[lists.visit]
    taste = shop.affinity(customer[:, None], lists.products)
    wanted = shop.catalog.shelf[lists.products] == visits.intent[lists.visit][:, None]
    pull = CLICK_BASE + CLICK_TASTE * taste + CLICK_POPULARITY * (lists.attraction + 4) + CLICK_INTENT * wanted
    looked_at = 1 / (1 + POSITION_FADE * np.arange(LIST_LENGTH))
    clicked = rng.random(taste.shape) < looked_at * _sigmoid(pull)
    shown, position = np.nonzero(clicked & (lists.products != NO_PRODUCT))
    product, liking, visit = lists.products[shown, position], taste[shown, position], lists.visit[shown]
    step = STEPS_PER_LIST * (lists.place[shown] + 1) + STEPS_PER_PRODUCT * (position + 1)
    steps.add(Kind.CLICK, visit, step, list=shown, product=product, position=position + 1)

    luck = rng.random((4, len(shown)))
    viewed = luck[0] < VIEW_SHARE
    added = viewed & (luck[1] < _sigmoid(CART_BASE + CART_TASTE * liking))
    wished = viewed & ~added & (luck[2] < _sigmoid(WISH_BASE + WISH_TASTE * liking))
    quantity = 1 + (luck[3] < SECOND_PIECE)
    steps.add(Kind.VIEW, visit[viewed], step[viewed] + 1, product=product[viewed])
    steps.add(Kind.ADD, visit[added], step[added] + 2, product=product[added], quantity=quantity[added])
    steps.add(Kind.WISH, visit[wished], step[wished] + 3, product=product[wished])
    return visit[added], product[added], quantity[added]


def _settle(
    rng: np.random.Generator,
    steps: _Steps,
    visit: npt.NDArray[np.int_],
    product: npt.NDArray[np.int_],
    quantity: npt.NDArray[np.int_],
) -> dict[str, npt.NDArray[np.int_]]:
    """What becomes of the carts; returns the baskets that reach the checkout, ordered by visit."""
    end = STEPS_PER_LIST * STEPS_PER_LIST
    removed = rng.random(len(visit)) < REMOVE_SHARE
    steps.add(Kind.REMOVE, visit[removed], end, product=product[removed], quantity=quantity[removed])
    with_cart = np.unique(visit)
    filled = np.isin(with_cart, visit[~removed])
    luck = rng.random((3, len(with_cart)))
    opened = luck[0] < OPEN_CART
    checkout = opened & filled & (luck[1] < START_CHECKOUT)
    ordered = checkout & (luck[2] < COMPLETE_ORDER)
    for kind, happens in ((Kind.CART, opened), (Kind.CHECKOUT, checkout), (Kind.ORDER, ordered)):
        steps.add(kind, with_cart[happens], end + int(kind))
    kept = np.flatnonzero(~removed)
    kept = kept[np.argsort(visit[kept], kind="stable")]
    return {"basket_visit": visit[kept], "basket_product": product[kept], "basket_quantity": quantity[kept]}


def _times(
    rng: np.random.Generator, visits: Visits, visit: npt.NDArray[np.int_], kind: npt.NDArray[np.int_]
) -> npt.NDArray[np.float64]:
    """Each event some while after the one before it in the visit."""
    gaps = GAP_SECONDS[kind] * np.exp(GAP_SPREAD * rng.standard_normal(len(kind)))
    since = np.cumsum(gaps)
    first = np.searchsorted(visit, visit, side="left")
    times: npt.NDArray[np.float64] = visits.start[visit] + since - since[first] + gaps[first]
    return times


def _sigmoid(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 1 / (1 + np.exp(-values))
