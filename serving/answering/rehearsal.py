"""Answers that nobody asked for, so that no customer waits for what is computed, or compiled, when it is needed first."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from feature_repo.aggregates import RECENT, SHOWN, Action, Entity, decayed_sums
from feature_repo.ranking.visitors import Visitors
from training.recommending import PlacedRecommender
from training.scenarios import Composition

_ACTIONS = (Action.VIEWED, Action.ADDED, Action.ORDERED, Action.CLICKED)
_K, _CANDIDATES = 10, 100


def rehearse(placed: PlacedRecommender, compositions: Iterable[Composition]) -> None:
    """Answer once in each scenario, for a made-up visitor who did something about the first products of the shelf.

    Whatever is wrong with the model is raised.
    """
    shelf = placed.shelf
    ids = list(shelf.ids[: len(_ACTIONS)])
    if not ids:
        return
    times = [int((shelf.at - 60 * minutes) * 1000) for minutes in range(len(ids))]
    columns = {
        "last_event_at": [shelf.at],
        **{aggregate.name: [1.0] for aggregate in decayed_sums(Entity.CUSTOMER)},
        **dict(zip(RECENT.columns, ([ids], [list(map(int, _ACTIONS[: len(ids)]))], [times]), strict=True)),
        **dict(zip(SHOWN.columns, ([ids], [list(range(1, len(ids) + 1))], [times]), strict=True)),
    }
    visitor = Visitors.from_columns(columns, np.array([shelf.at]), shelf)
    context = shelf.encode(ids)
    for composition in compositions:
        placed.recommend(visitor, np.ones(len(shelf), dtype=bool), _K, _CANDIDATES, composition, context)
