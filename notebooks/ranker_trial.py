"""How much a feature that is not declared yet would tell the ranker of lists: fitted without it, and with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from feast import FeatureStore
from numpy.typing import NDArray

from feature_repo.ranking.features import FEATURES
from feature_repo.ranking.shelf import Vocabularies
from feature_repo.reading import Floats
from feature_repo.sections.training import TrainingSettings
from training.data.events import Window
from training.data.examples import Examples, Shelves
from training.data.history import History
from training.evaluation.measures import Estimate, estimates, ndcg
from training.pipeline import fit_spaces, read_archive
from training.ranking.rankers import Purpose, Ranker, Rows, fit_ranker

# A feature's values: of product ids at moments (epoch seconds), as of just before each.
Values = Callable[[NDArray[np.object_], Floats], Floats]
# Single features are judged by so many lists.
_WEIGHED_LISTS = 1_000


@dataclass(frozen=True)
class Worth:
    """What a new feature is worth on later lists than those that the rankers were fitted on.

    Attributes:
        fitted: number of lists that both rankers were fitted on.
        without, together: mean NDCG@10 of the ranker that lacks the feature, and of the one that has it.
        gain: the paired difference.
        weights: by how much NDCG@10 of the latter falls if a single feature is shuffled, by its name.
    """

    fitted: int
    without: Estimate
    together: Estimate
    gain: Estimate
    weights: dict[str, float]


def worth_to_ranker(store: FeatureStore, name: str, values: Values, settings: TrainingSettings) -> Worth:
    """Fit the ranker of lists as training does, without and with a feature of products, and compare them.

    Raises:
        InputError: there are too few lists with a click.
    """
    archive = read_archive(Window(), settings)
    history, lists = History(store, archive.ids, Vocabularies()), archive.impressions
    shelves = Shelves.read(history, archive.cut, float(lists.times[-1]))
    spaces = fit_spaces(archive, shelves, archive.split, settings)
    known = Examples.read(history, shelves, lists).rows(shelves, spaces, Purpose.LIST, settings)
    new = values(np.array(archive.ids, dtype=object)[lists.items], lists.times[lists.owner])
    more = replace(known, matrix=np.column_stack([known.matrix, new]))

    split = int(np.searchsorted(lists.times, archive.split))
    late = [_numbered_from_zero(rows.lists(split, len(lists)), split) for rows in (known, more)]
    rankers = [fit_ranker(rows.lists(0, split), settings.list_ranker, settings.seed) for rows in (known, more)]
    outcomes = [_ndcg(ranker, rows, settings.seed) for ranker, rows in zip(rankers, late, strict=True)]
    judged = np.bincount(late[0].owner, weights=late[0].chosen) > 0
    _, customers = np.unique(lists.customer_ids[split:][: len(judged)][judged], return_inverse=True)
    both = np.column_stack([*outcomes, outcomes[1] - outcomes[0]])
    without, together, gain = estimates(both, customers, settings.seed)
    sample = late[1].lists(0, _WEIGHED_LISTS)
    return Worth(split, without, together, gain, _weights(rankers[1], sample, name, settings.seed))


def _numbered_from_zero(rows: Rows, first: int) -> Rows:
    return replace(rows, owner=rows.owner - first)


def _ndcg(ranker: Ranker, rows: Rows, seed: int) -> Floats:
    return ndcg(rows.owner, rows.chosen, ranker.scores(rows.matrix), seed)


def _weights(ranker: Ranker, rows: Rows, name: str, seed: int) -> dict[str, float]:
    """Permutation importance (Breiman, "Random Forests", 2001) of the new feature and of those that are known."""
    columns = dict(zip(FEATURES, range(len(FEATURES)), strict=True))
    columns[name] = rows.matrix.shape[1] - 1
    whole, rng = _ndcg(ranker, rows, seed).mean(), np.random.default_rng(seed)
    weights = {}
    for feature, column in columns.items():
        shuffled = rows.matrix.copy()
        shuffled[:, column] = rng.permutation(shuffled[:, column])
        weights[feature] = float(whole - _ndcg(ranker, replace(rows, matrix=shuffled), seed).mean())
    return weights
