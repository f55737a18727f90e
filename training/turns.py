"""Turns: the moments at which a customer turned to another product, and what else he could have turned to.

Impressions teach the ranker to choose among products of one list, which are much alike. When serving it has to choose
among candidates from everywhere. So it learns from turns too: the product that was turned to, among a sample of the
candidates that would have been proposed at that moment. They have no position; both kinds get the neutral one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.ranking import NEUTRAL_POSITION
from feature_repo.settings import TrainingSettings
from feature_repo.shelf import UNKNOWN, Codes, Items, Shelf
from feature_repo.visitors import Visitors
from training.candidates import propose
from training.events import Interactions
from training.examples import Examples, Shelves
from training.history import History
from training.impressions import Impressions
from training.space import ItemSpace


def turns(interactions: Interactions) -> NDArray[np.integer]:
    """Where a customer shows interest in a product that his previous interaction was not about, as row numbers."""
    order = np.lexsort((np.arange(len(interactions)), interactions.customers))
    customers, items = interactions.customers[order], interactions.items[order]
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (customers[1:] == customers[:-1]) & (items[1:] == items[:-1])
    interest = np.isin(interactions.actions[order], (Action.CLICKED, Action.VIEWED, Action.ADDED))
    return np.sort(order[interest & ~same])


def sample_turns(interactions: Interactions, since: float, until: float, most: int, seed: int) -> Interactions:
    """At most ``most`` turns between two moments, chosen by the seed, in order of time."""
    rows = turns(interactions)
    rows = rows[(interactions.times[rows] >= since) & (interactions.times[rows] < until)]
    return interactions.part(np.sort(np.random.default_rng(seed).permutation(rows)[:most]))


def visitors_at(history: History, shelves: Shelves, moments: Interactions) -> Visitors:
    """The customers of some turns, just before them."""
    columns = history.customers(moments.customer_ids[moments.customers], moments.times)
    return shelves.visitors(columns, moments.times, np.full(len(moments), np.nan))


def on_sale(shelf: Shelf) -> NDArray[np.bool_]:
    """Rows in stock of products that the catalogue said anything of by then."""
    items = shelf.items
    known = np.isfinite(items.price) | (items.category != UNKNOWN) | (items.brand != UNKNOWN)
    return items.available & (known | np.isfinite(items.rates["age_days"]))


def read_turns(
    history: History, shelves: Shelves, moments: Interactions, space: ItemSpace, settings: TrainingSettings
) -> Examples:
    """Turns of customers with a history, as lists of the product turned to and ``turn_negatives`` others."""
    visitors = visitors_at(history, shelves, moments)
    known = np.flatnonzero((visitors.items != UNKNOWN).any(axis=1))
    moments, visitors = moments.part(known), visitors.take(known)
    others = _others(shelves, moments, visitors, space, settings)
    lengths = [1 + len(other) for other in others]
    owner = np.repeat(np.arange(len(moments)), lengths)
    first = np.cumsum([0, *lengths[:-1]])[: len(moments)]
    items = np.concatenate([np.r_[item, other] for item, other in zip(moments.items, others, strict=True)] or [[]])
    items = items.astype(np.int32)
    strength = np.zeros(len(owner), dtype=np.int8)
    strength[first] = 1
    columns = history.items(items, moments.times[owner])
    lists = Impressions(
        moments.customer_ids[moments.customers],
        moments.times,
        visitors.device,
        owner,
        items,
        np.full(len(owner), NEUTRAL_POSITION),
        strength,
    )
    return Examples(lists, visitors, Items.from_columns(columns, moments.times[owner], history.words))


def _others(
    shelves: Shelves, moments: Interactions, visitors: Visitors, space: ItemSpace, settings: TrainingSettings
) -> list[Codes]:
    """Per turn, a seeded sample of the candidates at that moment without the product turned to."""
    rng = np.random.default_rng(settings.seed)
    numbers = shelves.number(moments.times)
    others = []
    # Every shelf lists the same products in the same order, so the model has to be placed once only.
    placed = space.on(shelves.shelves[0])
    for turn in range(len(moments)):
        shelf = shelves.shelves[numbers[turn]]
        visitor = visitors.take(slice(turn, turn + 1))
        there = placed.at(shelf)
        proposed, _ = propose(shelf, there, visitor, there.embed(visitor), on_sale(shelf), settings.candidates)
        proposed = proposed[proposed != moments.items[turn]]
        others.append(rng.permutation(proposed)[: settings.turn_negatives])
    return others
