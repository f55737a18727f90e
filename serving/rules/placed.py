"""A shop's rules on a catalogue: which rows each is about, worked out once, and asked at every request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from feature_repo.filters import Mask
from feature_repo.ranking.shelf import UNKNOWN, Codes, Shelf
from feature_repo.reading import Floats
from serving.answering.answers import Item
from serving.rules.declared import Boost, Exclusion, Pin, Rulebook
from training.candidates.sources import Source
from training.scenarios import Cap


@dataclass(frozen=True)
class PlacedRules:
    """Rules with the rows of a shelf that they are about."""

    shelf: Shelf
    book: Rulebook
    boosts: tuple[tuple[Boost, Mask], ...]
    exclusions: tuple[tuple[Exclusion, Mask], ...]

    @classmethod
    def of(cls, book: Rulebook, shelf: Shelf) -> PlacedRules:
        """The rules on a shelf."""
        return cls(
            shelf,
            book,
            tuple((boost, boost.on(shelf)) for boost in book.boosts),
            tuple((exclusion, exclusion.on(shelf)) for exclusion in book.exclusions),
        )

    def now_in(self, scenario: str, at: float) -> RulesInForce:
        """Those that count in a scenario at a moment (epoch seconds)."""
        now = datetime.fromtimestamp(at, tz=UTC)
        return RulesInForce(
            self.shelf,
            [(boost.factor, meant) for boost, meant in self.boosts if boost.counts(scenario, now)],
            [meant for exclusion, meant in self.exclusions if exclusion.counts(scenario, now)],
            [pin for pin in self.book.pins if pin.counts(scenario, now)],
            [cap for cap in self.book.caps if cap.counts(scenario, now)],
        )


@dataclass(frozen=True)
class RulesInForce:
    """What counts for one request.

    Attributes:
        boosts: factor and rows.
        exclusions: rows.
        pins: products and their places.
        caps: most products of one kind.
    """

    shelf: Shelf
    boosts: list[tuple[float, Mask]]
    exclusions: list[Mask]
    pins: list[Pin]
    caps: list[Cap]

    def exclude(self, allowed: Mask) -> None:
        """Take excluded rows out of what is allowed, in place."""
        for meant in self.exclusions:
            allowed &= ~meant

    def boost(self, rows: Codes) -> Floats:
        """The product of all factors of each row, shape (n,)."""
        factors = np.ones(len(rows))
        for factor, meant in self.boosts:
            factors[meant[rows]] *= factor
        return factors

    def pin(self, items: list[Item], allowed: Mask, k: int) -> list[Item]:
        """A list with pinned products, as far as they are allowed, at their places; at most ``k``.

        Of two pins to one place, the one that the file names later goes behind.
        """
        taken = 0
        for pin in sorted(self.pins, key=lambda pin: pin.place):
            row = self.shelf.rows.get(pin.product, UNKNOWN)
            if row == UNKNOWN or not allowed[row]:
                continue
            items = [item for item in items if item.product_id != pin.product]
            place = min(max(pin.place - 1, taken), len(items))
            score = items[min(place, len(items) - 1)].score if items else 0.0
            items.insert(place, Item(pin.product, score, Source.PINNED.name.lower(), pin.reason))
            taken = place + 1
        return items[:k]
