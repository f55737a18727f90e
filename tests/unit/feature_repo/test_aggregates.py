"""Declarations that cannot work are refused, and whatever is declared reaches every schema."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from feature_repo import aggregates
from feature_repo.aggregates import DECAYED_SUMS, RECENT, Entity, decayed_sums
from feature_repo.errors import DefinitionError
from feature_repo.reading import Sequence, current_sums, item_rates
from feature_repo.tables import ACTIVITY


@pytest.mark.parametrize(
    "change",
    [{"event": "Product Dreamt Of"}, {"half_life": timedelta(minutes=5)}, {"value": "colour"}],
)
def test_a_declaration_that_cannot_work_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(DefinitionError, match=DECAYED_SUMS[0].name):
        replace(DECAYED_SUMS[0], **change)  # type: ignore[arg-type]


def test_every_declared_sum_has_a_column() -> None:
    for entity in Entity:
        assert {aggregate.name for aggregate in decayed_sums(entity)} <= set(ACTIVITY[entity].schema.names)


def test_the_hash_follows_the_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    before = aggregates.definition_hash()
    monkeypatch.setattr(aggregates, "DECAYED_SUMS", DECAYED_SUMS[1:])
    assert aggregates.definition_hash() != before


def test_sums_halve_in_a_half_life_and_never_grow() -> None:
    columns = {aggregate.name: np.array([8.0, 8.0, np.nan]) for aggregate in decayed_sums(Entity.ITEM)}
    columns["last_event_at"] = np.array([0.0, 604_800.0, np.nan])
    now = current_sums(Entity.ITEM, columns, at=604_800.0)["clicks_7d"]
    assert now == pytest.approx([4.0, 8.0, 0.0])
    assert current_sums(Entity.ITEM, columns, at=-1.0)["clicks_7d"] == pytest.approx([8.0, 8.0, 0.0])


def test_rates_of_an_item_nobody_touched_are_finite() -> None:
    sums = {aggregate.name: np.zeros(1) for aggregate in decayed_sums(Entity.ITEM)}
    nothing = {"price": [np.nan], "previous_price": [np.nan], "first_seen_at": [0.0]}
    rates = item_rates(sums, nothing, at=86_400.0)
    assert {name: float(value[0]) for name, value in rates.items()} == {
        "popularity": 0.0,
        "click_through": 1 / 40,
        "trend": 0.0,
        "price_change": 0.0,
        "age_days": 1.0,
    }


def test_a_customer_without_history_has_an_empty_sequence() -> None:
    columns = dict(zip(RECENT.columns, ([["b", "a"], None], [[2, 1], None], [[2500, 1000], None]), strict=True))
    recent, nothing = Sequence.of_rows(RECENT, columns)
    assert len(nothing) == 0
    assert recent.items == ("b", "a")
    assert recent.details.tolist() == [2, 1]
    assert recent.times == pytest.approx([2.5, 1.0])
