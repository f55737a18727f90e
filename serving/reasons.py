"""Why a product is recommended, in words that a shop can show."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from feature_repo.aggregates import Action
from feature_repo.shelf import UNKNOWN, Shelf
from feature_repo.visitors import Visitors
from training.candidates import Source


class Reasons:
    """Finds the words for one answer.

    Args:
        shelf: the catalogue, for names.
        visitor: whom the answer is for; None if for nobody in particular.
        cart: whether what he looks at now is his cart.
    """

    POPULAR: ClassVar[str] = "popular with other customers"
    _OWN: ClassVar[dict[int, str]] = {
        Action.ADDED: "you put this into your cart",
        Action.ORDERED: "you bought this before",
        Action.WISHLISTED: "it is on your wish list",
    }

    def __init__(self, shelf: Shelf, visitor: Visitors | None = None, cart: bool = False) -> None:
        self._shelf = shelf
        self._visitor = visitor
        self._cart = cart

    def of(self, source: Source, row: int, anchor: int) -> str:
        """The reason for one product, by what proposed it and the product it goes with."""
        if source is Source.RECENT:
            return self._own_history(row)
        if source is Source.TRENDING:
            return "trending now"
        if source is Source.POPULAR or anchor == UNKNOWN:
            return self.POPULAR
        name = self._shelf.title(anchor)
        if source is Source.SIMILAR:
            return f"goes with {name}"
        return (
            f"goes with {name} in your cart" if self._cart and self._in_context(anchor) else self._because(anchor, name)
        )

    def _because(self, anchor: int, name: str) -> str:
        bought = self._visitor is not None and self._last_action(anchor) == Action.ORDERED
        return f"because you bought {name}" if bought else f"because you viewed {name}"

    def _own_history(self, row: int) -> str:
        return self._OWN.get(self._last_action(row), "you viewed this recently")

    def _last_action(self, row: int) -> int:
        if self._visitor is None:
            return 0
        places = np.flatnonzero(self._visitor.items[0] == row)
        return int(self._visitor.actions[0][places[0]]) if len(places) else 0

    def _in_context(self, row: int) -> bool:
        if self._visitor is None:
            return False
        now = self._visitor.items[0][self._visitor.hours[0] == 0]
        return bool((now == row).any())
