"""Calibration: from what the rankers' trees say to probabilities that hold.

Rankers learn from lists in which something was chosen, with a sample of what else could have been and with weights of the shop's
choice; so the probabilities of the trees are not those of the shop. A logistic regression of what was chosen on their log-odds
(Platt, "Probabilistic Outputs for Support Vector Machines", 1999) puts that right, on cases as they are ranked when serving that
the trees have not seen. It is strictly increasing: the order of no list changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from feature_repo.ranking.shelf import UNKNOWN
from feature_repo.reading import Floats
from feature_repo.sections.training import TrainingSettings
from training.candidates.gathering import propose
from training.data.choices import Choices, on_sale, visitors_at
from training.data.examples import Shelves
from training.data.history import History
from training.model import Recommender
from training.ranking.rankers import Purpose, Ranker
from training.scenarios import RANKING_ALONE

# With fewer chosen products there is nothing to calibrate by.
FEWEST_CHOSEN = 50
_PARTS = 10


@dataclass(frozen=True)
class Cases:
    """Products as they are ranked when serving, in order of time: log-odds by the trees, and whether chosen; shape (n,)."""

    log_odds: Floats
    chosen: NDArray[np.bool_]

    def part(self, rows: slice) -> Cases:
        """Some of them."""
        return Cases(self.log_odds[rows], self.chosen[rows])


@dataclass(frozen=True)
class Calibration:
    """How far probabilities held on the later half of the cases, when calibrated by the earlier one.

    Attributes:
        products: how many products were judged.
        expected, chosen: how many were expected to be chosen, and how many were.
        error: products are parted by score so that a tenth of the expected choices lies in each part; how far the choices are
            from that on average, as a share of it.
        error_before: the same of the trees' own probabilities.
    """

    products: int
    expected: float
    chosen: int
    error: float
    error_before: float


def candidate_cases(
    recommender: Recommender,
    history: History,
    shelves: Shelves,
    choices: Choices,
    purpose: Purpose,
    settings: TrainingSettings,
) -> Cases:
    """All that would have been ranked for customers with a history at the moments of choices."""
    visitors, numbers = visitors_at(history, shelves, choices), shelves.number(choices.times)
    composition = RANKING_ALONE.model_copy(update={"purpose": purpose})
    placed, ranker = recommender.on(shelves.shelves[0]), recommender.rankers[purpose]
    assert placed.space is not None
    log_odds, chosen = [np.empty(0)], [np.empty(0, dtype=bool)]
    for case in np.flatnonzero((visitors.items != UNKNOWN).any(axis=1)).tolist():
        shelf, visitor = shelves.shelves[numbers[case]], visitors.take(slice(case, case + 1))
        there = placed.at(shelf)
        assert there.space is not None
        embeddings = there.space.embed(visitor)
        rows, _ = propose(shelf, there.space, visitor, embeddings, on_sale(shelf), settings.candidates)
        log_odds.append(ranker.log_odds(there.matrix(visitor, rows, embeddings, composition)))
        chosen.append(np.isin(rows, choices.chosen[case]))
    return Cases(np.concatenate(log_odds), np.concatenate(chosen))


def calibrated(ranker: Ranker, cases: Cases) -> tuple[Ranker, Calibration | None]:
    """The ranker with probabilities that hold on all cases, and how far they did on the later half of them.

    With fewer than :data:`FEWEST_CHOSEN` chosen products in either half the ranker stays as it is.
    """
    half = len(cases.chosen) // 2
    earlier, later = cases.part(slice(None, half)), cases.part(slice(half, None))
    if min(earlier.chosen.sum(), later.chosen.sum()) < FEWEST_CHOSEN:
        return ranker, None
    before, after = (one.probabilities(later.log_odds) for one in (ranker, _fitted(ranker, earlier)))
    measured = Calibration(
        len(later.chosen),
        float(after.sum()),
        int(later.chosen.sum()),
        _error(after, later.chosen),
        _error(before, later.chosen),
    )
    return _fitted(ranker, cases), measured


def _fitted(ranker: Ranker, cases: Cases) -> Ranker:
    fitted = LogisticRegression(C=np.inf).fit(cases.log_odds[:, None], cases.chosen)
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    # Trees that rank worse than chance are no reason to turn their order round.
    return replace(ranker, slope=slope, offset=offset) if slope > 0 else ranker


def _error(probabilities: Floats, chosen: NDArray[np.bool_]) -> float:
    order = np.argsort(probabilities, kind="stable")
    expected = np.cumsum(probabilities[order])
    part = np.minimum((expected / expected[-1] * _PARTS).astype(int), _PARTS - 1)
    sums = [np.bincount(part, values[order], minlength=_PARTS) for values in (chosen, probabilities)]
    return float(np.mean(np.abs(sums[0] - sums[1]) / np.maximum(sums[1], np.finfo(float).tiny)))
