"""What is liked more in a country, or on a kind of device, than by all visitors: for whom nothing else is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from feature_repo.ranking.shelf import UNKNOWN, Shelf
from feature_repo.reading import Floats

if TYPE_CHECKING:
    from training.data.events import Interactions

# So many interactions as would be expected of all visitors are added to a segment's own for each product; a segment with few
# of its own is taken to be like all others. On the real shop, more or less of either changes little.
SHRINKAGE = 100.0
FEWEST_INTERACTIONS = 500
# Of each kind, the largest ones.
MOST_SEGMENTS = 50


@dataclass(frozen=True)
class Segment:
    """Some visitors: those of one country, or with one kind of device."""

    kind: str
    word: str

    def __str__(self) -> str:
        return f"{self.kind} {self.word}"


def segments_of(country: str | None, device: str | None) -> tuple[Segment, ...]:
    """The segments of a visitor."""
    words = {"country": country, "device": device}
    return tuple(Segment(kind, word) for kind, word in words.items() if word is not None)


@dataclass(frozen=True)
class Segments:
    """How many times as often a product is asked for in a segment as by all visitors, shape (segments, items)."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    lifts: NDArray[np.float32]

    @classmethod
    def fit(cls, interactions: Interactions, ids: tuple[str, ...], before: float) -> Segments:
        """From what happened before a moment (epoch seconds)."""
        past = interactions.before(before)
        share = np.bincount(past.items, minlength=len(ids)) / max(len(past), 1)
        names, lifts = [], [np.empty((0, len(ids)))]
        for kind, labels in (("country", past.countries), ("device", past.devices)):
            counts = np.bincount(labels.codes[labels.codes != UNKNOWN], minlength=len(labels.words))
            large = np.argsort(-counts, kind="stable")[:MOST_SEGMENTS]
            for code in large[counts[large] >= FEWEST_INTERACTIONS]:
                own = np.bincount(past.items[labels.codes == code], minlength=len(ids))
                names.append(str(Segment(kind, labels.words[code])))
                lifts.append(((own + SHRINKAGE) / (counts[code] * share + SHRINKAGE))[None])
        return cls(ids, tuple(names), np.concatenate(lifts).astype(np.float32))

    def on(self, shelf: Shelf) -> PlacedSegments:
        """The same by the rows of a shelf; a product that is not known is liked alike everywhere."""
        rows = shelf.encode(self.ids)
        there = rows != UNKNOWN
        lifts = np.ones((len(self.names), len(shelf)), dtype=np.float32)
        lifts[:, rows[there]] = self.lifts[:, there]
        return PlacedSegments(dict(zip(self.names, lifts, strict=True)))


@dataclass(frozen=True)
class PlacedSegments:
    """Lifts by segment, each of shape (len(shelf),)."""

    lifts: dict[str, NDArray[np.float32]]

    def lift(self, segment: Segment) -> Floats | None:
        """Of one segment; None if too little is known of it."""
        found = self.lifts.get(str(segment))
        return None if found is None else found.astype(float)
