"""What the gate makes of differences."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.sections.training import RetrainSettings
from training.evaluation.measures import Estimate
from training.promotion.gate import compare, judge

LIMITS = RetrainSettings(tolerance=0.03, min_cases=100)


@pytest.mark.parametrize(
    ("difference", "passes", "why"),
    [
        (Estimate(0.01, -0.01, 0.03, 1_000), True, "+0.010"),
        (Estimate(-0.01, -0.029, 0.01, 1_000), True, "-0.010"),
        (Estimate(-0.01, -0.04, 0.02, 1_000), False, "may be worse"),
        (Estimate(-0.2, -0.25, -0.15, 1_000), False, "beyond chance"),
        (Estimate(-0.01, -0.2, 0.18, 20), True, "20 cases are too few"),
        (Estimate(-0.5, -0.7, -0.3, 20), False, "beyond chance"),
        (Estimate(None, None, None, 0), True, "no cases"),
    ],
)
def test_a_difference_is_judged_by_its_interval(difference: Estimate, passes: bool, why: str) -> None:
    passed, told = judge(difference, LIMITS)
    assert passed is passes
    assert why in told


def test_the_difference_is_paired() -> None:
    """Cases of very different difficulty, in each of which one is a little worse: only a paired interval is narrow."""
    theirs = np.random.default_rng(1).random(400)
    customers = np.array([f"c{number}" for number in range(400)], dtype=object)
    compared = compare(theirs - 0.05, theirs, customers, seed=1)
    assert compared["difference"].mean == pytest.approx(-0.05)
    assert compared["difference"].high == pytest.approx(-0.05)
    assert compared["champion"].high - compared["champion"].low > 0.04
    assert not judge(compared["difference"], LIMITS)[0]


def test_cases_of_one_customer_count_as_one_piece() -> None:
    ours = np.repeat([0.0, 1.0], 200)
    theirs = np.zeros(400)
    alike = compare(ours, theirs, np.repeat(["a", "b"], 200).astype(object), seed=1)["difference"]
    apart = compare(ours, theirs, np.arange(400).astype(str).astype(object), seed=1)["difference"]
    assert (alike.low, alike.high) == (0.0, 1.0)
    assert apart.low is not None
    assert apart.low > 0.4
