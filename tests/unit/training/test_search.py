"""The search for better trees, and what ``tune`` says of it."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from feature_repo.errors import InputError
from feature_repo.sections.training import RankerSettings
from training.commands.tune import _show
from training.evaluation.measures import ndcg
from training.ranking.rankers import Rows
from training.ranking.search import Tried, search

FEW = RankerSettings(trees=10, columns=1.0)


def test_it_finds_trees_that_fit_what_follows() -> None:
    """Products are chosen by the product of two features, which trees of two leaves cannot tell."""
    matrix = np.random.default_rng(1).normal(size=(6_000, 2))
    rows = Rows(matrix, np.arange(6_000) // 6, matrix.prod(axis=1) > 0.5, np.ones(6_000))
    stumps = RankerSettings(leaves=2, trees=20)
    tried = list(islice(search(rows, stumps, folds=2, most_trees=50, seed=3), 6))
    assert tried[0].settings == stumps
    assert len({one.settings.model_dump_json() for one in tried}) == 6
    assert all(one.settings.trees <= 50 for one in tried)
    best = max(tried, key=lambda one: one.worth)
    assert best.worth > tried[0].worth + 0.1
    assert best.confirming.mean() > tried[0].confirming.mean() + 0.1


def test_every_fold_is_judged_by_what_lies_before_it() -> None:
    """What is chosen turns round half-way: whoever had seen the later half would know."""
    matrix, half = np.random.default_rng(2).normal(size=(3_000, 1)), np.arange(3_000) < 1_500
    rows = Rows(matrix, np.arange(3_000) // 5, (matrix[:, 0] > 0.5) == half, np.ones(3_000))
    [tried] = islice(search(rows, FEW, folds=2, most_trees=50, seed=3), 1)
    late = rows.lists(400, 600)
    known = ndcg(late.owner - 400, late.chosen, -late.matrix[:, 0], seed=3).mean()
    assert tried.confirming.mean() < 0.8 * known


@pytest.mark.parametrize(
    ("lists", "folds", "most_trees", "message"),
    [(149, 2, 50, "149 lists are too few"), (900, 1, 50, "two folds"), (900, 2, 24, "fewer than 25 trees")],
)
def test_what_cannot_be_tried_is_refused(lists: int, folds: int, most_trees: int, message: str) -> None:
    rows = Rows(np.zeros((lists, 1)), np.arange(lists), np.ones(lists, dtype=bool), np.ones(lists))
    with pytest.raises(InputError, match=message):
        next(search(rows, FEW, folds, most_trees, seed=1))


def tried(leaves: int, choosing: float, confirming: float) -> Tried:
    return Tried(RankerSettings(leaves=leaves), np.full(50, choosing), np.full(50, confirming), 1.0)


@pytest.mark.parametrize(
    ("best", "says"),
    [
        ((4, 0.6, 0.6), "leaves = 4"),
        ((4, 0.6, 0.5), "may be chance"),
        ((4, 0.4, 0.9), "Nothing better"),
    ],
)
def test_only_what_holds_on_the_last_fold_is_advised(
    best: tuple[int, float, float], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _show("list", [tried(16, 0.5, 0.5), tried(*best)], seed=1)
    said = capsys.readouterr().out
    assert says in said
    assert ("[training.list_ranker]" in said) == (says == "leaves = 4")
