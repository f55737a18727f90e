"""The search for better trees: random settings, tried on folds in order of time.

Random search finds good settings with fewer trials than a grid (Bergstra and Bengio, "Random Search for Hyper-Parameter
Optimization", 2012). Every fold is fitted on what lies before the lists that it is judged by, as a model in use is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from feature_repo.reading import Floats
from feature_repo.settings import RankerSettings
from training.evaluation.measures import ndcg
from training.rankers import Rows, fit_ranker

CHOICES: Mapping[str, Sequence[float]] = {
    "trees": (25, 50, 100, 200),
    "learning_rate": (0.03, 0.05, 0.08, 0.12, 0.2),
    "leaves": (4, 6, 8, 12, 16, 24, 32),
    "rows_per_leaf": (20, 40, 100, 200),
    "l2": (0.0, 1.0, 10.0),
    "columns": (0.15, 0.3, 0.5, 1.0),
}


@dataclass(frozen=True)
class Tried:
    """Settings and what they are worth: NDCG@10 of the chosen products in each list of all folds, shape (lists,)."""

    settings: RankerSettings
    values: Floats
    seconds: float


def search(rows: Rows, present: RankerSettings, folds: int, most_trees: int, seed: int) -> Iterator[Tried]:
    """Try the present settings, then others without end.

    Args:
        rows: lists in order of time.
        present: what is tried first.
        folds: in how many later parts of equal size the lists are judged; the first part is only fitted on.
        most_trees: more are never tried, as each costs time when serving.
        seed: of what is tried, and of the trees.
    """
    rng = np.random.default_rng(seed)
    choices = {**CHOICES, "trees": [most for most in CHOICES["trees"] if most <= most_trees]}
    seen = set()
    settings = present
    while True:
        if settings.model_dump_json() not in seen:
            seen.add(settings.model_dump_json())
            begun = time.perf_counter()
            values = _worth(rows, settings, folds, seed)
            yield Tried(settings, values, time.perf_counter() - begun)
        settings = RankerSettings(**{name: rng.choice(values) for name, values in choices.items()})


def _worth(rows: Rows, settings: RankerSettings, folds: int, seed: int) -> Floats:
    bounds = np.linspace(0, int(rows.owner.max(initial=-1)) + 1, folds + 2).astype(int)
    values = []
    for since, until in pairwise(bounds[1:]):
        ranker, test = fit_ranker(rows.lists(0, since), settings, seed), rows.lists(since, until)
        with threadpool_limits(1):
            scores = ranker.predict_proba(test.matrix)[:, 1]
        values.append(ndcg(test.owner - since, test.chosen, scores, seed))
    return np.concatenate(values)
