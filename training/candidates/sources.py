"""The sources of candidates: each proposes products for one visitor at the moment of the request.

A source is a function from a :class:`Situation` and a number to that many allowed products, best first, each once, with
scores in 0..1. What needs a model proposes nothing without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.filters import Mask
from feature_repo.kernel import kernel
from feature_repo.ranking.features import Embeddings
from feature_repo.ranking.shelf import UNKNOWN, Codes, Items, Shelf, log_prices
from feature_repo.ranking.ties import Ties
from feature_repo.ranking.visitors import SESSION_GAP_HOURS, Visitors
from feature_repo.reading import Floats
from training.candidates.repurchases import DUE_SHARE, last_bought
from training.candidates.space import PlacedSpace
from training.choosing import NO_ROWS, among, best, first_allowed, first_places, once, strongest

# A new product has had its chance once it was shown about so often.
FAIR_IMPRESSIONS = 100.0
# What a new product counts to whom it does not suit by any attribute, beside at most 1 for suiting.
_UNSUITED = 0.1
# So many new products are looked at, of those that were shown least: enough to find some that suit.
_ARRIVALS = 1_000
# Where nothing is known of how soon a product is bought again, it is not offered again before.
_USUAL_CYCLE_HOURS = 30 * 24.0
# How much the products that a page is about count in turn: 1, 1/2, 1/3, ...; so many of them.
_SEEDS = 20


class Source(IntEnum):
    """What proposed a product."""

    RECENT = 0
    BOUGHT = 1
    FOLLOWING = 2
    TOGETHER = 3
    BOUGHT_TOGETHER = 4
    TASTE = 5
    SIMILAR = 6
    ALIKE = 7
    SHOWN = 8
    NEW = 9
    TRENDING = 10
    SEGMENT = 11
    POPULAR = 12
    PINNED = 13
    GIVEN = 14
    COUNTRY = 15
    DEVICE = 16


@dataclass(frozen=True)
class Situation:
    """What sources look at.

    Attributes:
        shelf: the catalogue.
        visitor: one row.
        seeds: the products that proposals should go with, each once, the most important first.
        allowed: which rows may be proposed, shape (len(shelf),).
        space: what was learnt of products; None without a model.
        embeddings: of the visitor; None without a model.
        together: how much products are turned to together with the seeds, as of visitor 0; None without a model.
        given: the products that are to be put in order, each once, if the request names them.
        lifts: how many times as often each row is asked for in the visitor's country, and on his kind of device, as by all,
            shape (len(shelf),), as far as known; only for a visitor of whom nothing else is.
    """

    shelf: Shelf
    visitor: Visitors
    seeds: Codes
    allowed: Mask
    space: PlacedSpace | None = None
    embeddings: Embeddings | None = None
    together: Ties | None = None
    given: Codes = field(default_factory=lambda: NO_ROWS)
    lifts: Mapping[Source, Floats] = field(default_factory=dict)

    def popularity(self) -> Floats:
        """Of each row, where the visitor comes from, shape (len(shelf),)."""
        popularity = self.shelf.items.rates["popularity"]
        if not self.lifts:
            return popularity
        interest = np.expm1(popularity)  # popularity is a logarithm
        for lift in self.lifts.values():
            interest = interest * lift
        return np.log1p(interest)


Proposal = tuple[Codes, Floats]
_NOTHING: Proposal = (NO_ROWS, np.empty(0))


def own_products(visitor: Visitors) -> Codes:
    """Products of the visitor's sequence that are on the shelf, each once, newest first."""
    return once(visitor.items[0])


def recent(situation: Situation, most: int) -> Proposal:
    """What the visitor viewed, carted or wished for and has not bought since, newest first."""
    visitor = situation.visitor
    known = visitor.items[0] != UNKNOWN
    codes, actions = visitor.items[0][known], visitor.actions[0][known]
    first = first_places(codes)
    return _in_order(codes[first[actions[first] != Action.ORDERED]], situation, most)


def bought(situation: Situation, most: int) -> Proposal:
    """What the visitor bought and is due to buy again.

    First what has a known cycle, nearest to its time; then what was bought a month ago or earlier.
    """
    codes, hours = last_bought(situation.visitor)
    if not len(codes):
        return _NOTHING
    cycles = situation.space.cycles[codes] if situation.space else np.full(len(codes), np.nan)
    due = hours >= DUE_SHARE * cycles
    off = np.abs(np.log(np.where(due, hours / np.where(due, cycles, 1.0), 1.0)))
    due_codes = codes[due][np.argsort(off[due], kind="stable")]
    return _in_order(
        np.concatenate([due_codes, codes[np.isnan(cycles) & (hours >= _USUAL_CYCLE_HOURS)]]), situation, most
    )


def given(situation: Situation, most: int) -> Proposal:
    """What the request asks to put in order."""
    return _in_order(situation.given, situation, most)


def together(situation: Situation, most: int) -> Proposal:
    """What is looked at in the same visits as the seeds."""
    if situation.together is None:
        return _NOTHING
    return _tied(situation.together, situation, most)


def following(situation: Situation, most: int) -> Proposal:
    """What customers turn to next, from what the visitor turned to in this visit."""
    if situation.embeddings is None:
        return _NOTHING
    return _tied(situation.embeddings.following_session, situation, most)


def shown(situation: Situation, most: int) -> Proposal:
    """What the pages that the visitor is looking at show: he may not have got to it yet."""
    codes, hours = situation.visitor.shown[0], situation.visitor.shown_hours[0]
    return _in_order(once(codes[hours <= SESSION_GAP_HOURS]), situation, most)


def bought_together(situation: Situation, most: int) -> Proposal:
    """What is bought with the seeds."""
    if situation.space is None or not len(situation.seeds):
        return _NOTHING
    return _tied(situation.space.copurchases.towards(situation.seeds), situation, most)


def taste(situation: Situation, most: int) -> Proposal:
    """What lies in the direction of the visitor's interests, by ALS with the visitor folded in."""
    if situation.space is None or situation.embeddings is None or not situation.embeddings.visitors[0].any():
        return _NOTHING
    cells = situation.space.factors.cells
    rows, scores = cells.towards(situation.embeddings.visitors[0], situation.allowed, most)
    first = strongest(rows, scores, most)
    return rows[first], np.clip(scores[first].astype(float), 0.0, 1.0)


def similar(situation: Situation, most: int) -> Proposal:
    """What customers treat like the seeds: the direction of the ALS factors."""
    if situation.space is None or not len(situation.seeds):
        return _NOTHING
    directions = situation.space.factors.directions
    seeds = situation.seeds[:_SEEDS]
    towards = (directions[seeds] / np.arange(1, len(seeds) + 1)[:, None]).sum(axis=0)
    length = np.linalg.norm(towards)
    return _strongest(directions @ (towards / length), situation, most) if length else _NOTHING


def alike(situation: Situation, most: int) -> Proposal:
    """What has the attributes of one of the seeds; works for products that nobody has seen yet."""
    if not len(situation.seeds):
        return _NOTHING
    seeds = situation.seeds[:_SEEDS]
    departments = situation.shelf.items.department
    near = departments[seeds][departments[seeds] != UNKNOWN]
    rows = np.flatnonzero(situation.allowed & np.isin(departments, near)).astype(np.int32)
    scores = np.zeros(len(situation.shelf))
    scores[rows] = likeness(situation.shelf.items, rows, seeds).max(axis=1)
    return _strongest(scores, situation, most)


def new(situation: Situation, most: int) -> Proposal:
    """New arrivals that have not been shown often yet: those first that suit by attributes and were shown least.

    Where a thousand are waiting, the others' turn comes when these have been shown.
    """
    visitor, items = situation.visitor, situation.shelf.items
    rows, scores = _chances(
        first_allowed(situation.shelf.arrivals, situation.allowed, max(most, _ARRIVALS)),
        items.sums["impressions_7d"],
        (items.category, items.department, items.brand),
        visitor.interest[0],
        (visitor.categories[0], visitor.departments[0], visitor.brands[0]),
    )
    first = strongest(np.arange(len(rows), dtype=np.int32), scores, most)
    return rows[first], scores[first]


@kernel
def _chances(
    rows: Codes,
    impressions: Floats,
    kinds: tuple[Codes, Codes, Codes],
    interest: Floats,
    of_visitor: tuple[Codes, Codes, Codes],
) -> Proposal:
    """Those of some rows that have not had their chance, and how much each deserves it.

    Args:
        rows: of the shelf.
        impressions: of every row of the shelf.
        kinds: category, department and brand of every row of the shelf.
        interest: of what the visitor did.
        of_visitor: category, department and brand of the same.
    """
    waiting = rows[impressions[rows] < FAIR_IMPRESSIONS]
    suits, total = np.zeros(len(waiting)), interest.sum()
    shares = interest / total if total > 0 else interest
    for kind in range(len(kinds)):
        own, theirs = kinds[kind][waiting], of_visitor[kind]
        known = theirs != UNKNOWN
        by_code = np.bincount(theirs[known], shares[known], minlength=own.max() + 1 if len(own) else 0)
        for place in range(len(waiting)):
            if own[place] != UNKNOWN:
                suits[place] += by_code[own[place]] / len(kinds)
    scores = (_UNSUITED + suits) / (1 + _UNSUITED) / (1 + impressions[waiting] / FAIR_IMPRESSIONS)
    return waiting, scores


def trending(situation: Situation, most: int) -> Proposal:
    """What is asked for more now than usual."""
    return _in_order(situation.shelf.trending, situation, most)


def segment(situation: Situation, most: int) -> Proposal:
    """What is popular in the department that interests the visitor most."""
    liked = favourite_department(situation.visitor)
    if liked == UNKNOWN:
        return _NOTHING
    there = first_allowed(situation.shelf.popular_in(liked), situation.allowed, most)
    return there, _popularity(situation.shelf, there)


def country(situation: Situation, most: int) -> Proposal:
    """What is popular where the visitor is, more than elsewhere; for visitors of whom nothing is known."""
    return _more_than_elsewhere(Source.COUNTRY, situation, most)


def device(situation: Situation, most: int) -> Proposal:
    """The same on what he holds."""
    return _more_than_elsewhere(Source.DEVICE, situation, most)


def popular(situation: Situation, most: int) -> Proposal:
    """What everybody likes."""
    rows = first_allowed(situation.shelf.popular, situation.allowed, most)
    return rows, _popularity(situation.shelf, rows)


PROPOSE: Mapping[Source, Callable[[Situation, int], Proposal]] = {
    Source.RECENT: recent,
    Source.BOUGHT: bought,
    Source.FOLLOWING: following,
    Source.TOGETHER: together,
    Source.BOUGHT_TOGETHER: bought_together,
    Source.TASTE: taste,
    Source.SIMILAR: similar,
    Source.ALIKE: alike,
    Source.NEW: new,
    Source.TRENDING: trending,
    Source.SEGMENT: segment,
    Source.COUNTRY: country,
    Source.DEVICE: device,
    Source.SHOWN: shown,
    Source.POPULAR: popular,
    Source.GIVEN: given,
}


def likeness(items: Items, rows: Codes, others: Codes) -> Floats:
    """How alike products are by category, brand and price, in 0..1, shape (rows, others)."""

    def same(codes: Codes) -> NDArray[np.bool_]:
        return (codes[rows][:, None] == codes[others][None, :]) & (codes[rows] != UNKNOWN)[:, None]

    near = np.exp2(-np.abs(log_prices(items.price[rows])[:, None] - log_prices(items.price[others])[None, :]))
    return (
        0.4 * same(items.category) + 0.2 * same(items.department) + 0.2 * same(items.brand) + 0.2 * np.nan_to_num(near)
    )


def favourite_department(visitor: Visitors) -> int:
    """The department that most of one visitor's interest lies in; :data:`UNKNOWN` if there is none."""
    departments, interest = visitor.departments[0], visitor.interest[0]
    known = (departments != UNKNOWN) & (interest > 0)
    return int(np.bincount(departments[known], interest[known]).argmax()) if known.any() else UNKNOWN


def _more_than_elsewhere(source: Source, situation: Situation, most: int) -> Proposal:
    lift = situation.lifts.get(source)
    if lift is None:
        return _NOTHING
    scores = situation.popularity() * (lift > 1)
    return _strongest(scores / max(scores.max(initial=0.0), np.finfo(float).tiny), situation, most)


def _popularity(shelf: Shelf, rows: Codes) -> Floats:
    """Popularity of rows that are in order of it, the highest on the shelf being 1."""
    popularity = shelf.items.rates["popularity"]
    highest = popularity[shelf.popular[0]] if len(shelf) else 0.0
    return popularity[rows] / highest if highest > 0 else np.zeros(len(rows))


def _in_order(codes: Codes, situation: Situation, most: int) -> Proposal:
    """The allowed of some products in their order, with scores 1, 1/2, 1/3, ..."""
    rows = first_allowed(codes, situation.allowed, most)
    return rows, 1 / np.arange(1, len(rows) + 1)


def _tied(ties: Ties, situation: Situation, most: int) -> Proposal:
    """The allowed products that the visitor is tied to most."""
    codes, strengths = among(situation.allowed, *ties.of(0))
    order = strongest(codes, strengths, most)
    return codes[order], np.minimum(strengths[order].astype(float), 1.0)


def _strongest(scores: NDArray[np.floating], situation: Situation, most: int) -> Proposal:
    """The allowed products with the highest scores above 0."""
    rows = best(scores, situation.allowed & (scores > 0), most)
    return rows, np.minimum(scores[rows].astype(float), 1.0)
