"""The population stability index, and what it is by chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from notebooks.drift import CALM, CHANGED, in_classes, psi_by_chance
from training.distributions import psi


def test_is_what_the_formula_says() -> None:
    before, now = np.array([99.5, 299.5]), np.array([199.5, 199.5])  # with half an event more: a quarter, and a half
    expected = (0.5 - 0.25) * np.log(0.5 / 0.25) + (0.5 - 0.75) * np.log(0.5 / 0.75)
    assert psi(before, now) == pytest.approx(expected)
    assert psi(before, before) == 0
    assert np.isfinite(psi(np.array([10.0, 0.0]), np.array([0.0, 10.0])))


def test_numbers_fall_into_parts_of_equal_size() -> None:
    sizes = in_classes(pd.Series(np.random.default_rng(1).lognormal(size=1_000))).value_counts()
    assert len(sizes) == 10
    assert sizes.between(95, 105).all()


def test_rare_words_are_taken_together_and_missing_ones_count() -> None:
    words = pd.Series([f"word {number}" for number in range(100)] + ["often"] * 50 + [None] * 30)
    classes = in_classes(words)
    assert (classes == "often").sum() == 50
    assert (classes == "(missing)").sum() == 30
    assert classes.nunique() <= 21


def test_a_change_stands_out_from_chance_and_few_customers_do_not() -> None:
    rng = np.random.default_rng(2)
    customers = pd.Series(rng.integers(0, 500, 10_000))
    word = pd.Series(rng.choice(["a", "b", "c"], 10_000))
    later = np.arange(10_000) >= 5_000
    changed = word.where(~later | (rng.random(10_000) < 0.5), "c")
    found = [psi(*pd.crosstab(one, later).to_numpy(float).T) for one in (word, changed)]
    assert found[0] < CALM < CHANGED < found[1]
    assert found[1] > psi_by_chance(changed, customers, seed=1)
    # The same events of four customers who like one thing each: halves of them differ for that alone.
    few = pd.Series(rng.integers(0, 4, 10_000))
    assert psi_by_chance("word " + few.astype(str), few, seed=1) > CHANGED
