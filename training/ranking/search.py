"""The search for better trees: random settings, tried on folds in order of time.

Random search finds good settings with fewer trials than a grid (Bergstra and Bengio, "Random Search for Hyper-Parameter
Optimization", 2012). Every fold is fitted on what lies before the lists that it is judged by, as a model in use is. The best of
many trials looks better than it is on the folds that chose it; so the last fold is kept to confirm the choice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from threadpoolctl import threadpool_limits

from feature_repo.errors import InputError
from feature_repo.reading import Floats
from feature_repo.sections.training import RankerSettings
from training.evaluation.measures import ndcg
from training.ranking.rankers import Rows, fit_ranker

CHOICES: Mapping[str, Sequence[float]] = {
    "trees": (25, 50, 100, 150, 200, 300),
    "learning_rate": (0.03, 0.05, 0.08, 0.12, 0.2),
    "leaves": (4, 6, 8, 12, 16, 24, 32),
    "rows_per_leaf": (20, 40, 100, 200),
    "l2": (0.0, 1.0, 10.0),
    "columns": (0.15, 0.3, 0.5, 1.0),
}
FEWEST_LISTS = 50


@dataclass(frozen=True)
class Tried:
    """Settings and what they are worth: NDCG@10 of the chosen products in each list of the folds, shape (lists,).

    Attributes:
        choosing: of all folds but the last.
        confirming: of the last.
    """

    settings: RankerSettings
    choosing: Floats
    confirming: Floats
    seconds: float

    @property
    def worth(self) -> float:
        """What settings are chosen by."""
        return float(self.choosing.mean())


def search(rows: Rows, present: RankerSettings, folds: int, most_trees: int, seed: int) -> Iterator[Tried]:
    """Try the present settings, then others, until all are tried.

    Args:
        rows: lists in order of time.
        present: what is tried first.
        folds: in how many later parts of equal size the lists are judged; the first part is only fitted on.
        most_trees: more are never tried, as each costs time when serving.
        seed: of what is tried, and of the trees.

    Raises:
        InputError: too few lists, folds or trees.
    """
    choices = {**CHOICES, "trees": [trees for trees in CHOICES["trees"] if trees <= most_trees]}
    if not choices["trees"]:
        raise InputError(f"fewer than {min(CHOICES['trees']):g} trees are not tried")
    if folds < 2:
        raise InputError("two folds are needed: one to choose by, one to confirm the choice")
    if (lists := len(rows)) < FEWEST_LISTS * (folds + 1):
        raise InputError(
            f"{lists} lists are too few to try anything on: {FEWEST_LISTS} per fold and as many before are needed"
        )
    rng, seen, settings = np.random.default_rng(seed), set[str](), present
    while len(seen) < prod(len(values) for values in choices.values()):
        if settings.model_dump_json() not in seen:
            seen.add(settings.model_dump_json())
            begun = time.perf_counter()
            values = _worth(rows, settings, folds, seed)
            yield Tried(settings, np.concatenate(values[:-1]), values[-1], time.perf_counter() - begun)
        settings = RankerSettings(**{name: rng.choice(values) for name, values in choices.items()})


def _worth(rows: Rows, settings: RankerSettings, folds: int, seed: int) -> list[Floats]:
    """By fold."""
    bounds = np.linspace(0, len(rows), folds + 2).astype(int)
    values = []
    for since, until in pairwise(bounds[1:]):
        ranker, test = fit_ranker(rows.lists(0, since), settings, seed), rows.lists(since, until)
        with threadpool_limits(1):
            scores = ranker.scores(test.matrix)
        values.append(ndcg(test.owner - since, test.chosen, scores, seed))
    return values
