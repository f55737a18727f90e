"""Sums of outcomes by what they are told apart by, and their intervals."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import offline_data
import pytest
from deltalake import write_deltalake
from few_events import START

from feature_repo import tables
from ingestion.outcomes import metrics as outcome_metrics
from ingestion.outcomes.rates import Unanswered, mean, outcomes_by, share


def row(number: int, person: str, clicks: str, answered: bool = True, variant: str = "a") -> dict[str, object]:
    """A list of products x, y and z of which some were clicked, ordered at 10 each if in capitals."""
    at = START + timedelta(hours=number)
    items = [
        {
            "product_id": product,
            "source": "taste" if product == "x" else "new",
            "place": place,
            "clicked_at": at if product in clicks.lower() else None,
            "ordered_at": at if product.upper() in clicks else None,
            "revenue": 10.0 if product.upper() in clicks else None,
        }
        for place, product in enumerate("xyz", start=1)
    ]
    of = {"scenario": "home", "model_version": "v1", "experiment": "e", "variant": variant} if answered else {}
    return {
        **{"message_id": f"m{number}", "request_id": f"r{number}", "shown_at": at, "person": person},
        **{"answered": answered, "items": items, "dt": at.date(), **of},
    }


@pytest.mark.usefixtures("warehouse")
def test_sums_by_any_key() -> None:
    rows = [
        row(0, "ada", "xY"),
        row(1, "ada", ""),
        row(2, "bob", "x", variant="b"),
        row(3, "eve", "xyz", answered=False),
    ]
    write_deltalake(tables.OUTCOMES.uri, offline_data.arrow(tables.OUTCOMES, rows), mode="append")
    [everything], unanswered = outcomes_by([])
    assert (everything.lists, everything.persons, everything.shown) == (3, 2, 9)
    assert (everything.clicks, everything.orders, everything.revenue) == (3, 1, 10.0)
    assert unanswered == Unanswered(1, 4)
    assert everything.click_rate.value == pytest.approx(3 / 9)
    by_source, _ = outcomes_by(["source"])
    assert {one.of: (one.shown, one.clicks) for one in by_source} == {("new",): (6, 1), ("taste",): (3, 2)}
    by_both, _ = outcomes_by(["variant", "source"])
    assert {one.of: one.clicks for one in by_both} == {
        ("e/a", "new"): 1,
        ("e/a", "taste"): 1,
        ("e/b", "new"): 0,
        ("e/b", "taste"): 1,
    }
    since, _ = outcomes_by(["model"], START + timedelta(hours=1), START + timedelta(hours=2))
    assert [(one.of, one.lists) for one in since] == [(("v1",), 1)]


@pytest.mark.usefixtures("warehouse")
def test_metrics_of_the_last_day() -> None:
    now = offline_data.now()
    recent = row(0, "ada", "xY") | {"shown_at": now - timedelta(hours=1), "dt": (now - timedelta(hours=1)).date()}
    old = row(1, "ada", "xY") | {"shown_at": now - timedelta(hours=25), "dt": (now - timedelta(hours=25)).date()}
    write_deltalake(tables.OUTCOMES.uri, offline_data.arrow(tables.OUTCOMES, [recent, old]), mode="append")
    outcome_metrics.update()
    labels = {"model": "v1", "scenario": "home", "variant": "e/a"}
    told = {
        name: outcome_metrics.registry.get_sample_value(f"shelfwise_outcome_{name}", labels)
        for name in ("shown", "clicks")
    }
    assert told == {"shown": 3.0, "clicks": 2.0}


def test_intervals_cover_the_truth_though_customers_differ() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        counts = rng.integers(1, 20, 300).astype(float)
        liking = rng.beta(0.5, 9.5, 300)
        clicks = rng.binomial(counts.astype(int), liking).astype(float)
        found, amount = share(clicks, counts), mean(clicks, counts)
        covered.append((found.low <= 0.05 <= found.high, amount.low <= 0.05 <= amount.high))
    assert (np.mean(covered, axis=0) > 0.92).all()
    assert (np.mean(covered, axis=0) < 0.99).all(), "and they are no wider than need be"


def test_intervals_of_very_little() -> None:
    nothing = share(np.zeros(2), np.array([10.0, 10.0]))
    assert nothing.value == nothing.low == 0.0
    assert nothing.high > 0.3, "two customers without a click say little"
    assert mean(np.ones(1), np.ones(1)).low is None
