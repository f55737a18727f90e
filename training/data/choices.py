"""Choices: moments at which a recommendation is asked for, what the customer turned to or bought then, and what else he could.

Impressions teach to choose among products of one list, which are much alike. When serving, the choice is among candidates from
everywhere. So rankers learn from choices too: what was chosen, among a sample of the candidates that would have been proposed.

A turn is asked for right after the customer's last interaction, when the page with that product is shown; what he is shown on
the way to the next product would give it away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN, Codes, Items, Shelf
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from feature_repo.sections.training import TrainingSettings
from training.candidates.gathering import propose
from training.candidates.space import Spaces
from training.data.events import Interactions
from training.data.examples import Examples, Shelves
from training.data.history import History
from training.data.impressions import Impressions

# The contract's times are in milliseconds.
_RIGHT_AFTER = 0.001
_INTEREST = (Action.CLICKED, Action.VIEWED, Action.ADDED)
_TAKEN = (Action.ADDED, Action.ORDERED)


@dataclass(frozen=True)
class Choices:
    """Choices in order of their moments.

    Attributes:
        customer_ids: who chose, shape (n,).
        times: when it is asked, epoch seconds, shape (n,); what happens at that moment is not known yet.
        chosen: the products of each, distinct.
    """

    customer_ids: NDArray[np.object_]
    times: Floats
    chosen: tuple[Codes, ...]

    def __len__(self) -> int:
        return len(self.times)

    def take(self, numbers: NDArray[np.integer]) -> Choices:
        """The given ones, by ascending numbers."""
        return Choices(self.customer_ids[numbers], self.times[numbers], tuple(self.chosen[one] for one in numbers))

    def sample(self, since: float, until: float, most: int, seed: int) -> Choices:
        """At most ``most`` between two moments, chosen by the seed."""
        within = np.flatnonzero((self.times >= since) & (self.times < until))
        return self.take(np.sort(np.random.default_rng(seed).permutation(within)[:most]))

    @classmethod
    def in_order(cls, customer_ids: NDArray[np.object_], times: Floats, chosen: list[Codes]) -> Choices:
        """From choices in any order."""
        order = np.argsort(times, kind="stable")
        return cls(customer_ids[order], times[order], tuple(chosen[one] for one in order))


def turns(interactions: Interactions) -> Choices:
    """Each time that a customer shows interest in a product that his previous interaction was not about."""
    ordered, visits = interactions.visits()

    def as_before(values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows have the same value as the row before."""
        return np.diff(values, prepend=values[:1] - 1) == 0

    repeated = as_before(ordered.customers) & as_before(ordered.items)
    rows = np.flatnonzero(np.isin(ordered.actions, _INTEREST) & ~repeated)
    times = ordered.times[rows]
    right_after = np.minimum(ordered.times[rows - 1] + _RIGHT_AFTER, times)
    asked = np.where(as_before(visits)[rows], right_after, times)
    items = list(ordered.items[rows][:, None])
    return Choices.in_order(interactions.customer_ids[ordered.customers[rows]], asked, items)


def purchases(interactions: Interactions) -> Choices:
    """Each visit in which anything was put into the cart or bought: all of that, asked just before the first of it."""
    ordered, visits = interactions.visits()
    taken = np.flatnonzero(np.isin(ordered.actions, _TAKEN))
    _, first, counts = np.unique(visits[taken], return_index=True, return_counts=True)
    chosen = [
        np.unique(ordered.items[taken[begin : begin + count]]) for begin, count in zip(first, counts, strict=True)
    ]
    start = taken[first]
    return Choices.in_order(interactions.customer_ids[ordered.customers[start]], ordered.times[start], chosen)


def visitors_at(history: History, shelves: Shelves, choices: Choices) -> Visitors:
    """The customers, just before they chose."""
    columns = history.customers(choices.customer_ids, choices.times)
    return shelves.visitors(columns, choices.times, np.full(len(choices), np.nan))


def on_sale(shelf: Shelf) -> NDArray[np.bool_]:
    """Rows in stock of products that the catalogue said anything of by then."""
    items = shelf.items
    known = np.isfinite(items.price) | (items.category != UNKNOWN) | (items.brand != UNKNOWN)
    return items.available & (known | np.isfinite(items.rates["age_days"]))


def read_choices(
    history: History, shelves: Shelves, choices: Choices, spaces: Spaces, settings: TrainingSettings
) -> Examples:
    """Choices of customers with a history, as lists of what was chosen and ``turn_negatives`` others."""
    visitors = visitors_at(history, shelves, choices)
    known = np.flatnonzero((visitors.items != UNKNOWN).any(axis=1))
    choices, visitors = choices.take(known), visitors.take(known)
    others = _others(shelves, choices, visitors, spaces, settings)
    lists = [np.concatenate(parts) for parts in zip(choices.chosen, others, strict=True)]
    owner = np.repeat(np.arange(len(choices)), np.array([len(one) for one in lists], dtype=np.int64))
    items = np.concatenate([np.empty(0, dtype=np.int32), *lists]).astype(np.int32)
    strength = [np.arange(len(one)) < len(chosen) for one, chosen in zip(lists, choices.chosen, strict=True)]
    shown = Impressions(
        choices.customer_ids,
        choices.times,
        visitors.device,
        owner,
        items,
        np.full(len(owner), np.nan),
        np.concatenate([np.empty(0, dtype=bool), *strength]).astype(np.int8),
    )
    columns = history.items(items, choices.times[owner])
    return Examples(shown, visitors, Items.from_columns(columns, choices.times[owner], history.words))


def _others(
    shelves: Shelves, choices: Choices, visitors: Visitors, spaces: Spaces, settings: TrainingSettings
) -> list[Codes]:
    """Per choice, a seeded sample of the candidates at that moment without what was chosen."""
    rng = np.random.default_rng(settings.seed)
    numbers = shelves.number(choices.times)
    others = []
    for space, part in spaces.parts(choices.times):
        for number in range(part.start, part.stop):
            shelf = shelves.shelves[numbers[number]]
            visitor = visitors.take(slice(number, number + 1))
            there = space.at(shelf)
            proposed, _ = propose(shelf, there, visitor, there.embed(visitor), on_sale(shelf), settings.candidates)
            proposed = proposed[~np.isin(proposed, choices.chosen[number])]
            others.append(rng.permutation(proposed)[: settings.turn_negatives])
    return others
