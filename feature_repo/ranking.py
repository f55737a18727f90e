"""What the ranker looks at: the features of a customer and a candidate, computed alike in training and serving.

Training computes them for many customers at many moments, serving for one customer and his candidates now; both call
:func:`features`. Everything is vectorised over rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import RECENT, Action, Entity, decayed_sums
from feature_repo.reading import Floats, Recent, current_sums
from feature_repo.shelf import UNKNOWN, Codes, Items, Shelf

# How much an interaction says of a customer's interest, and for how long.
ACTION_WEIGHTS = {
    Action.CLICKED: 1.0,
    Action.VIEWED: 1.0,
    Action.ADDED: 3.0,
    Action.REMOVED: 0.0,
    Action.ORDERED: 5.0,
    Action.WISHLISTED: 3.0,
}
INTEREST_HALF_LIFE_HOURS = 7 * 24.0
SESSION_GAP_HOURS = 0.5
# The position that every candidate is scored at: as if shown first.
NEUTRAL_POSITION = 1.0
DEVICES = ("desktop", "mobile", "tablet")

_WEIGHT_BY_CODE = np.zeros(max(Action) + 1)
for _action, _weight in ACTION_WEIGHTS.items():
    _WEIGHT_BY_CODE[_action] = _weight
_SEEN, _CARTED, _ORDERED = (
    np.isin(np.arange(max(Action) + 1), kinds)
    for kinds in ((Action.CLICKED, Action.VIEWED), (Action.ADDED, Action.WISHLISTED), (Action.ORDERED,))
)

_CUSTOMER_SUMS = tuple(aggregate.name for aggregate in decayed_sums(Entity.CUSTOMER))

FEATURES: tuple[str, ...] = (
    "als_score",
    "similarity_to_last",
    "similarity_to_session",
    "viewed_together",
    "category_affinity",
    "department_affinity",
    "brand_affinity",
    "price_distance",
    "own_interest",
    "hours_since_seen",
    "hours_since_carted",
    "hours_since_ordered",
    *(f"customer_{name}" for name in _CUSTOMER_SUMS),
    "sequence_length",
    "session_length",
    "hours_since_last",
    "popularity",
    "click_through",
    "trend",
    "price_change",
    "age_days",
    "log_price",
    "impressions_7d",
    "orders_30d",
    "hour",
    "weekday",
    "device",
    "position",
)


@dataclass(frozen=True)
class Visitors:
    """Customers at moments, with their recent interactions newest first.

    Per row, shape (rows,): ``at`` in epoch seconds, ``last_event_at`` (NaN: none), decayed ``sums`` as of ``at`` and
    ``device`` (index in :data:`DEVICES`, NaN if unknown). Per row and interaction, shape (rows, k), padded at the end:
    ``items``, ``categories``, ``departments``, ``brands`` (codes, :data:`UNKNOWN` for padding and for what the
    catalogue does not know), ``actions`` (0 for padding), ``hours`` ago and ``log_prices`` (NaN likewise).
    """

    at: Floats
    last_event_at: Floats
    sums: dict[str, Floats]
    device: Floats
    items: Codes
    actions: Codes
    hours: Floats
    categories: Codes
    departments: Codes
    brands: Codes
    log_prices: Floats

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Any],
        at: Floats,
        shelf: Shelf,
        device: Floats | None = None,
        context: Sequence[str] = (),
    ) -> Visitors:
        """From stored customer columns, each of length (rows,).

        Args:
            columns: as the feature store returns them; missing values mean a customer without history.
            at: the moments, epoch seconds.
            shelf: the catalogue that gives products their codes, categories and prices.
            device: index in :data:`DEVICES` per row.
            context: products that each visitor is looking at now, put before his sequence as if just viewed.
        """
        numeric = {name: np.array(columns[name], dtype=float) for name in ("last_event_at", *_CUSTOMER_SUMS)}
        items, actions, hours = _sequences(columns, at, shelf, context)
        known = items != UNKNOWN
        attributes = shelf.items
        lookup = np.where(known, items, 0)

        def of_items(values: NDArray[Any], missing: float) -> NDArray[Any]:
            return np.where(known, values[lookup], missing) if len(values) else np.full(items.shape, missing)

        return cls(
            at=np.asarray(at, dtype=float),
            last_event_at=numeric["last_event_at"],
            sums=current_sums(Entity.CUSTOMER, numeric, at),
            device=np.full(len(at), np.nan) if device is None else device,
            items=items,
            actions=actions,
            hours=hours,
            categories=of_items(attributes.category, UNKNOWN),
            departments=of_items(attributes.department, UNKNOWN),
            brands=of_items(attributes.brand, UNKNOWN),
            log_prices=of_items(_log(attributes.price), np.nan),
        )

    def __len__(self) -> int:
        return len(self.at)

    @property
    def interest(self) -> Floats:
        """Weight of each interaction by kind and age, shape (rows, k); 0 for padding."""
        return _WEIGHT_BY_CODE[self.actions] * np.exp2(-np.nan_to_num(self.hours) / INTEREST_HALF_LIFE_HOURS)

    @property
    def in_session(self) -> NDArray[np.bool_]:
        """Whether an interaction belongs to the visit that ``at`` is part of, shape (rows, k): no pause in between."""
        before = np.concatenate([np.zeros((len(self), 1)), self.hours[:, :-1]], axis=1)
        pause = np.where(self.actions > 0, self.hours - before, np.inf)
        return np.logical_and.accumulate(pause <= SESSION_GAP_HOURS, axis=1)

    def take(self, rows: NDArray[np.integer] | slice) -> Visitors:
        """The chosen rows."""
        return self._map(lambda part: part[0][rows], [self])

    @classmethod
    def concatenate(cls, parts: Sequence[Visitors]) -> Visitors:
        """The rows of all parts, one after the other."""
        return cls._map(np.concatenate, parts)

    @classmethod
    def _map(cls, combine: Callable[[list[NDArray[Any]]], NDArray[Any]], parts: Sequence[Visitors]) -> Visitors:
        sums = {name: combine([part.sums[name] for part in parts]) for name in _CUSTOMER_SUMS}
        names = [name for name in cls.__dataclass_fields__ if name != "sums"]
        return cls(sums=sums, **{name: combine([getattr(part, name) for part in parts]) for name in names})


def _sequences(
    columns: Mapping[str, Any], at: Floats, shelf: Shelf, context: Sequence[str]
) -> tuple[Codes, Codes, Floats]:
    parts = [columns[f"{RECENT.name}_{suffix}"] for suffix in ("items", "actions", "times")]
    now = shelf.encode(context)
    shape = (len(at), len(now) + RECENT.k)
    items = np.full(shape, UNKNOWN, dtype=np.int32)
    actions = np.zeros(shape, dtype=np.int32)
    hours = np.full(shape, np.nan)
    items[:, : len(now)], actions[:, : len(now)], hours[:, : len(now)] = now, Action.VIEWED, 0.0
    for row, values in enumerate(zip(*parts, strict=True)):
        recent = Recent.from_columns(dict(zip(_RECENT_COLUMNS, values, strict=True)))
        place = slice(len(now), len(now) + len(recent))
        items[row, place] = shelf.encode(recent.items)
        actions[row, place] = recent.actions
        hours[row, place] = np.maximum(at[row] - recent.times, 0.0) / 3600
    return items, actions, hours


_RECENT_COLUMNS = tuple(f"{RECENT.name}_{suffix}" for suffix in ("items", "actions", "times"))


@dataclass(frozen=True)
class Embeddings:
    """Where visitors and items lie in the candidate model's space.

    Attributes:
        items: item vectors by code, shape (items, factors); zero for an item that the model does not know.
        directions: the same, scaled to length 1 (or 0).
        visitors: visitor vectors, shape (visitors, factors); zero for one without known interactions.
        last: direction of each visitor's last known item, shape (visitors, factors).
        session: mean direction of the items of the present visit, shape (visitors, factors).
        together: how strongly each visitor's latest items point to every item, shape (visitors, items).
    """

    items: NDArray[np.float32]
    directions: NDArray[np.float32]
    visitors: NDArray[np.float32]
    last: NDArray[np.float32]
    session: NDArray[np.float32]
    together: NDArray[np.float32]


def features(
    visitors: Visitors,
    candidates: Items,
    codes: Codes,
    owner: NDArray[np.integer],
    embeddings: Embeddings,
    position: Floats | float = NEUTRAL_POSITION,
) -> Floats:
    """The feature matrix, shape (candidates, len(FEATURES)), in the order of :data:`FEATURES`; NaN means unknown.

    Args:
        visitors: the customers at their moments.
        candidates: attributes of each candidate at that moment, shape (n,).
        codes: code of each candidate's product, shape (n,).
        owner: row in ``visitors`` that each candidate is for, shape (n,).
        embeddings: of the same visitors, and of items by code.
        position: place in the list, if the candidate was shown.
    """
    columns = {
        **_closeness(codes, owner, embeddings),
        **_affinities(visitors, candidates, owner),
        **_own_history(visitors, codes, owner),
        **_visitor_state(visitors, owner),
        **_item_state(candidates),
        "position": position,
    }
    matrix = np.empty((len(codes), len(FEATURES)))
    for place, name in enumerate(FEATURES):
        matrix[:, place] = columns[name]
    return matrix


def _closeness(codes: Codes, owner: NDArray[np.integer], embeddings: Embeddings) -> dict[str, Floats]:
    vectors, directions = embeddings.items[codes], embeddings.directions[codes]

    def product(left: NDArray[np.float32], right: NDArray[np.float32]) -> Floats:
        values = np.einsum("nf,nf->n", left, right[owner])
        known = left.any(axis=1) & right.any(axis=1)[owner]
        return np.where(known, values, np.nan)

    return {
        "als_score": product(vectors, embeddings.visitors),
        "similarity_to_last": product(directions, embeddings.last),
        "similarity_to_session": product(directions, embeddings.session),
        "viewed_together": embeddings.together[owner, codes],
    }


def _affinities(visitors: Visitors, candidates: Items, owner: NDArray[np.integer]) -> dict[str, Floats]:
    interest = visitors.interest
    total = interest.sum(axis=1)
    weights = interest / np.where(total > 0, total, 1.0)[:, None]

    def share(theirs: Codes, own: Codes) -> Floats:
        same = (theirs[owner] == own[:, None]) & (own != UNKNOWN)[:, None]
        return np.where(total[owner] > 0, (weights[owner] * same).sum(axis=1), np.nan)

    priced = np.where(np.isnan(visitors.log_prices), 0.0, weights)
    mass = priced.sum(axis=1)
    usual = np.where(mass > 0, (priced * np.nan_to_num(visitors.log_prices)).sum(axis=1), np.nan)
    usual = usual / np.where(mass > 0, mass, 1.0)
    return {
        "category_affinity": share(visitors.categories, candidates.category),
        "department_affinity": share(visitors.departments, candidates.department),
        "brand_affinity": share(visitors.brands, candidates.brand),
        "price_distance": _log(candidates.price) - usual[owner],
    }


def _own_history(visitors: Visitors, codes: Codes, owner: NDArray[np.integer]) -> dict[str, Floats]:
    same = visitors.items[owner] == codes[:, None]
    actions, hours = visitors.actions[owner], visitors.hours[owner]

    def since(kind: NDArray[np.bool_]) -> Floats:
        done = same & kind[actions]
        newest = np.where(done, hours, np.inf).min(axis=1)
        return np.log1p(np.where(np.isfinite(newest), newest, np.nan))

    return {
        "own_interest": np.log1p((visitors.interest[owner] * same).sum(axis=1)),
        "hours_since_seen": since(_SEEN),
        "hours_since_carted": since(_CARTED),
        "hours_since_ordered": since(_ORDERED),
    }


def _visitor_state(visitors: Visitors, owner: NDArray[np.integer]) -> dict[str, Floats]:
    newest = np.where(visitors.actions[:, 0] > 0, visitors.hours[:, 0], np.nan)
    hours_of_week = visitors.at / 3600 % (24 * 7)  # UTC; day 0 is the epoch's Thursday
    columns = {
        **{f"customer_{name}": np.log1p(visitors.sums[name]) for name in _CUSTOMER_SUMS},
        "sequence_length": (visitors.actions > 0).sum(axis=1),
        "session_length": visitors.in_session.sum(axis=1),
        "hours_since_last": np.log1p(newest),
        "hour": hours_of_week % 24,
        "weekday": hours_of_week // 24,
        "device": visitors.device,
    }
    return {name: column[owner] for name, column in columns.items()}


def _item_state(candidates: Items) -> dict[str, Floats]:
    return {
        **candidates.rates,
        "log_price": _log(candidates.price),
        "impressions_7d": np.log1p(candidates.sums["impressions_7d"]),
        "orders_30d": np.log1p(candidates.sums["orders_30d"]),
    }


def _log(prices: Floats) -> Floats:
    return np.log(np.where(prices > 0, prices, np.nan))
