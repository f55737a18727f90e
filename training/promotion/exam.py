"""The same held-back questions for every rival, so that two of them can be compared case by case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from training.data.choices import Choices, purchases, turns, visitors_at
from training.data.examples import Examples
from training.evaluation.measures import Hits, first_hit, hit_rate, hits, ndcg
from training.model import Recommender
from training.pipeline import Trained
from training.ranking.rankers import Purpose
from training.scenarios import RANKING_ALONE
from training.trial import Trial

LISTS = "list NDCG@10"
# Of the first 20 products: whether anything wanted is among them, and how high.
_MEASURES = {"HR@20": hit_rate, "MRR@20": first_hit}


@dataclass(frozen=True)
class Moments:
    """Choices, and the visitors just before they made them."""

    choices: Choices
    visitors: Visitors


@dataclass(frozen=True)
class Exam:
    """What happened after a split: turns, visits with a purchase, and lists with a click.

    Attributes:
        moments: turns and purchases.
        test: the lists.
    """

    trial: Trial
    moments: dict[Purpose, Moments]
    test: Examples

    @classmethod
    def after_split(cls, trained: Trained) -> Exam:
        """Of the events that were held back when a recommender was trained."""
        trial = trained.trial
        moments = {}
        for purpose, choices in (
            (Purpose.TURN, turns(trial.interactions)),
            (Purpose.ORDER, purchases(trial.interactions)),
        ):
            asked = choices.sample(trained.split, np.inf, trial.settings.test_turns, trial.settings.seed)
            moments[purpose] = Moments(asked, visitors_at(trial.history, trial.shelves, asked))
        return cls(trial, moments, trained.test)

    def customers(self) -> dict[str, NDArray[np.object_]]:
        """Whose each case of each question is."""
        lists = self.test.impressions
        chosen = np.bincount(lists.owner, weights=lists.strength > 0, minlength=len(lists)) > 0
        asked = {
            f"{purpose.value} {name}": moments.choices.customer_ids
            for purpose, moments in self.moments.items()
            for name in _MEASURES
        }
        return {**asked, LISTS: lists.customer_ids[chosen]}

    def outcomes(self, rival: Recommender | None) -> dict[str, Floats]:
        """How well a rival (None: popularity) does in each case of each question."""
        lists, seed = self.test.impressions, self.trial.settings.seed
        found: dict[str, Floats] = {}
        for purpose in self.moments:
            right = self._right(rival, purpose)
            found |= {f"{purpose.value} {name}": measure(right) for name, measure in _MEASURES.items()}
        scores = self.trial.list_scores(rival, self.test)
        return {**found, LISTS: ndcg(lists.owner, lists.strength > 0, scores, seed)}

    def _right(self, rival: Recommender | None, purpose: Purpose) -> Hits:
        """Which of the products that a rival puts first were wanted."""
        asked = self.moments[purpose]
        composition = RANKING_ALONE.model_copy(update={"purpose": purpose})
        count = len(asked.choices)
        ranked = self.trial.ranked(rival, asked.choices, asked.visitors, [()] * count, composition)
        lengths = np.array([len(chosen) for chosen in asked.choices.chosen], dtype=np.int64)
        owner = np.repeat(np.arange(count), lengths)
        wanted = np.concatenate([np.empty(0, dtype=np.int32), *asked.choices.chosen])
        return hits(ranked, wanted, owner)
