"""What is done before customers come."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from small_shelf import IDS, NOW, customer_columns, rankers, shelf, space

from feature_repo.aggregates import SHOWN, Action
from serving.answering.engine import Engine
from serving.answering.rehearsal import rehearse
from serving.data.customers import CustomerFeatures
from serving.web.requests import RecommendRequest
from training.model import Recommender
from training.recommending import PlacedRecommender


def compiled() -> dict[str, int]:
    """For how many kinds of arguments each loop has been compiled."""
    loops = {
        f"{one.__module__}.{one.__name__}": one
        for name, module in sys.modules.items()
        if name.startswith(("feature_repo.", "training.", "serving."))
        for one in vars(module).values()
        if isinstance(one, Dispatcher)
    }
    return {name: len(loop.signatures) for name, loop in loops.items()}


def test_no_customer_waits_for_a_compiler() -> None:
    engine = Engine(candidates=20)
    engine.use_shelf(shelf(first_seen_at=[NOW - 90 * 86_400.0, NOW, NOW, NOW - 86_400.0]))
    engine.use_model(Recommender(space(), rankers("trend"), IDS), "v1")
    before = compiled()
    assert any(before.values())
    hours = (time.time() - NOW) / 3600
    sequence = [(product, action, 1.0 - hours) for product, action in zip(IDS, Action, strict=False)]
    known, shown = customer_columns(sequence), customer_columns(sequence[:1])
    shown |= dict(zip(SHOWN.columns, ([["pan", "rake"]], [[1, 2]], [[NOW * 1000] * 2]), strict=True))
    for columns in (known, shown, None):
        customer = CustomerFeatures(columns, time.time()) if columns else None
        for scenario, composition in engine.compositions.items():
            asked = {"user_id": "ada", "scenario": scenario, "context_items": ["cup", "pan"], "country": "Japan"}
            engine.recommend(RecommendRequest.model_validate(asked), composition, customer)
    assert compiled() == before


@pytest.mark.parametrize("ids", [(), ("cup",), IDS])
def test_shelves_of_any_size_and_without_a_model(ids: tuple[str, ...]) -> None:
    on = shelf(ids)
    compositions = Engine(candidates=20).compositions
    rehearse(PlacedRecommender(on), compositions.values())
    rehearse(Recommender(space(), rankers("trend"), IDS).on(on), compositions.values())
    assert np.array_equal(on.encode(ids), np.arange(len(ids)))
