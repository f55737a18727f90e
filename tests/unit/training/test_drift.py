"""Distributions are compared part by part; what is alike has no drift, and what is not has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_shelf import customer_columns, rankers, shelf, space

from feature_repo.aggregates import Action
from feature_repo.checks.findings import Status
from feature_repo.ranking.visitors import Visitors
from feature_repo.sections.watching import ValidationSettings
from training.commands.drift import compare
from training.distributions import Distribution, Distributions, what_is_seen
from training.model import Recommender

RNG = np.random.default_rng(1)
LIMITS = ValidationSettings()


def distributions(customers: int = 400, **named: Distribution) -> Distributions:
    return Distributions(customers, named)


def test_alike_is_near_nought_and_shifted_is_not() -> None:
    before = Distribution.of(RNG.normal(size=5_000))
    assert before.psi(before) == 0
    assert before.psi(before.of_others(RNG.normal(size=5_000))) < 0.02
    assert before.psi(before.of_others(RNG.normal(1.0, size=5_000))) > 0.5


def test_what_is_missing_counts() -> None:
    before = Distribution.of(RNG.normal(size=1_000))
    half = np.where(np.arange(1_000) % 2, np.nan, RNG.normal(size=1_000))
    assert before.of_others(half).missing == 500
    assert before.psi(before.of_others(half)) > 0.5
    nothing = Distribution.of(np.full(100, np.nan))
    assert nothing.psi(nothing) == 0


def test_few_distinct_values_are_parted_by_value() -> None:
    before = Distribution.of(np.repeat([0.0, 1.0, 2.0], [900, 90, 10]))
    assert before.counts[0] == 900
    assert before.psi(before.of_others(np.repeat([0.0, 1.0, 2.0], [500, 490, 10]))) > 0.25


def test_they_come_back_as_they_were_stored(tmp_path: Path) -> None:
    stored = distributions(price=Distribution.of(RNG.normal(size=100)), none=Distribution.of(np.empty(0)))
    stored.save(tmp_path)
    assert Distributions.load(tmp_path) == stored


def test_findings_name_what_drifted() -> None:
    values = RNG.normal(size=4_000)
    price, score = Distribution.of(values), Distribution.of(values)
    before = distributions(log_price=price, **{"score: turn": score})
    now = distributions(log_price=price.of_others(values + 2), **{"score: turn": score.of_others(values)})
    found, pictures = compare(before, now, LIMITS)
    assert [(one.subject, one.status) for one in found] == [("log_price", Status.VIOLATED), ("score: turn", Status.OK)]
    assert "when trained" in found[0].examples[0]
    assert "retrain" in found[0].advice
    assert [picture.wrong for picture in pictures] == [True, False]
    fewer, _ = compare(before, Distributions(now.customers, {"log_price": now.named["log_price"]}), LIMITS)
    assert [one.subject for one in fewer] == ["log_price"], "a model of an earlier version, which compared more"
    few, _ = compare(before, Distributions(20, now.named), LIMITS)
    assert {one.status for one in few} == {Status.NOT_JUDGED}


@pytest.fixture(scope="module")
def model() -> Recommender:
    return Recommender(space(), rankers("following_last", above=0.3), ("pan", "cup", "rake"))


def test_what_is_seen_are_all_features_and_scores_of_candidates(model: Recommender) -> None:
    on = shelf()
    columns = customer_columns([("pan", Action.VIEWED, 0.0)])
    visitors = Visitors.from_columns(columns, np.array([on.at]), on)
    seen = what_is_seen(model, on, visitors, 20, seed=1)
    (size,) = {len(values) for values in seen.values()}
    assert size > 1
    assert {"log_price", "popularity", "score: turn", "score: order", "score: list"} <= seen.keys()
    assert not {"hour", "weekday"} & seen.keys()
    again = what_is_seen(model, on, visitors, 20, seed=1)
    assert all(np.array_equal(seen[name], again[name], equal_nan=True) for name in seen)
    nobody = what_is_seen(model, on, visitors.take(slice(0, 0)), 20, seed=1)
    assert {len(values) for values in nobody.values()} == {0}
