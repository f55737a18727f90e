"""Why a product is recommended, in words that a shop can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN, Shelf
from feature_repo.ranking.visitors import Visitors
from training.candidates.segments import Segment
from training.candidates.sources import Source, favourite_department
from training.scenarios import About


class Reasons:
    """Finds the words for one answer.

    Args:
        shelf: the catalogue, for names.
        visitor: whom the answer is for.
        about: what the recommendations go with.
        category: the path that the request is confined to, if it is.
        segments: what the visitor is counted among.
    """

    POPULAR: ClassVar[str] = "popular with other customers"
    _OWN: ClassVar[dict[int, str]] = {
        Action.ADDED: "you put this into your cart",
        Action.WISHLISTED: "it is on your wish list",
        Action.ORDERED: "you bought this before",
    }
    _GOES_WITH: ClassVar[dict[Source, str]] = {
        Source.BOUGHT_TOGETHER: "often bought with {}",
        Source.SIMILAR: "similar to {}",
        Source.ALIKE: "an alternative to {}",
    }
    _TOGETHER: ClassVar[dict[About, str]] = {
        About.PAGE: "often viewed with {}",
        About.CART: "goes with {} in your cart",
        About.ORDER: "because you bought {}",
    }

    def __init__(
        self,
        shelf: Shelf,
        visitor: Visitors,
        about: About = About.VISITOR,
        category: str | None = None,
        segments: Sequence[Segment] = (),
    ) -> None:
        self._shelf = shelf
        self._visitor = visitor
        self._about = about
        self._within = _last_level(category) if category else None
        self._words = {segment.kind: segment.word for segment in segments}
        # The latest last, so that it is what remains.
        self._last_actions = dict(zip(visitor.items[0, ::-1].tolist(), visitor.actions[0, ::-1].tolist(), strict=True))

    def of(self, source: Source, row: int, anchor: int) -> str:
        """The reason for one product, by what proposed it and the product it goes with."""
        if source is Source.RECENT or (source is Source.GIVEN and self._last_action(row)):
            return self._OWN.get(self._last_action(row), "you viewed this recently")
        if source is Source.GIVEN and anchor == UNKNOWN:
            return "in this list"
        if source is Source.BOUGHT:
            return "you bought this before"
        if source is Source.TRENDING:
            return f"trending in {self._within}" if self._within else "trending now"
        if source is Source.SHOWN:
            return "on the pages you are looking at"
        if source is Source.NEW:
            category = self._shelf.items.category[row]
            return (
                "new" if category == UNKNOWN else f"new in {_last_level(self._shelf.words.categories.word(category))}"
            )
        if source is Source.SEGMENT:
            return (
                f"popular in {self._within or self._shelf.words.departments.word(favourite_department(self._visitor))}"
            )
        if source is Source.COUNTRY:
            return f"popular in {self._words['country']}"
        if source is Source.DEVICE:
            return f"popular on {self._words['device']}"
        if source is Source.POPULAR or anchor == UNKNOWN:
            return f"popular in {self._within}" if self._within else self.POPULAR
        return self._with(source, anchor)

    def _with(self, source: Source, anchor: int) -> str:
        name = self._shelf.title(anchor)
        if source in self._GOES_WITH:
            return self._GOES_WITH[source].format(name)
        if self._about in self._TOGETHER:
            return self._TOGETHER[self._about].format(name)
        bought = self._last_action(anchor) == Action.ORDERED
        return f"because you bought {name}" if bought else f"because you viewed {name}"

    def _last_action(self, row: int) -> int:
        return self._last_actions.get(row, 0)


def _last_level(path: str) -> str:
    return path.strip("/").rpartition("/")[2]
