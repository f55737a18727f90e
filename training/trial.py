"""The questions of the temporal evaluation, asked of what happened after the split.

(a) Within the lists that customers saw: does the model rank what they clicked above the rest (NDCG@10)?
(b) In the whole catalogue: is the next product that a customer turned to among the first 20 (hit rate, MRR)? And the first one
    of somebody new?

For (b) the recommender runs as it does when serving: customer as of just before, catalogue as of the last shelf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from feature_repo.sections.training import TrainingSettings
from training.candidates.segments import Segment, segments_of
from training.candidates.space import Spaces
from training.data.choices import Choices, on_sale, turns, visitors_at
from training.data.events import Interactions
from training.data.examples import Examples, Shelves
from training.data.history import History
from training.evaluation.measures import Estimate, estimate, first_hit, hit_rate, hits, ndcg
from training.evaluation.popularity import Popularity
from training.model import Recommender
from training.ranking.rankers import Purpose
from training.scenarios import RANKING_ALONE, Composition

DEPTH = 20
Results = dict[str, Estimate]


@dataclass(frozen=True)
class Trial:
    """Everything that a fitted recommender is tried on."""

    history: History
    shelves: Shelves
    interactions: Interactions
    popularity: Popularity
    settings: TrainingSettings

    def rerank(self, recommender: Recommender, test: Examples) -> Results:
        """NDCG@10 of clicked products within test lists, for the model, popularity and the order that was shown."""
        lists, seed = test.impressions, self.settings.seed
        ranked_by = {
            "model": self.list_scores(recommender, test),
            "popularity": self.list_scores(None, test),
            "shown": -np.where(np.isnan(lists.position), np.inf, lists.position),
        }
        values = {name: ndcg(lists.owner, lists.strength > 0, score, seed) for name, score in ranked_by.items()}
        values["gain"] = values["model"] - values["popularity"]
        return {name: estimate(value, seed) for name, value in values.items()}

    def list_scores(self, recommender: Recommender | None, test: Examples) -> Floats:
        """What a recommender, or popularity, makes of each product of test lists."""
        lists = test.impressions
        if recommender is None:
            return self.popularity.at(lists.items, lists.times[lists.owner])
        spaces = Spaces.only(recommender.space.on(self.shelves.shelves[0]))
        matrix = test.matrix(self.shelves, spaces, Purpose.LIST)
        with threadpool_limits(1):
            return recommender.rankers[Purpose.LIST].scores(matrix)

    def next_product(self, recommender: Recommender, since: float) -> dict[str, Results]:
        """Hit rate and MRR at 20 of the next product, for the recommender and for popularity, at turns after a split.

        ``returning`` are the turns of customers of whom something was known.
        """
        moments = turns(self.interactions).sample(since, np.inf, self.settings.test_turns, self.settings.seed)
        visitors = visitors_at(self.history, self.shelves, moments)
        outcomes = self._outcomes(recommender, moments, visitors, [()] * len(moments))
        known = (visitors.items != UNKNOWN).any(axis=1)
        return {"all": self._summary(outcomes), "returning": self._summary(outcomes[known])}

    def first_product(self, recommender: Recommender, since: float) -> Results:
        """The same of the first product that new visitors turn to, when only their country and device are known."""
        happened, settings = self.interactions, self.settings
        rows = np.sort(np.unique(happened.customers, return_index=True)[1])
        rows = rows[happened.times[rows] >= since]
        rows = np.sort(np.random.default_rng(settings.seed).permutation(rows)[: settings.test_turns])
        names = happened.customer_ids[happened.customers[rows]]
        moments = Choices(names, happened.times[rows], tuple(happened.items[rows][:, None]))
        segments = [
            segments_of(country, device)
            for country, device in zip(
                happened.countries.part(rows).plain(), happened.devices.part(rows).plain(), strict=True
            )
        ]
        visitors = visitors_at(self.history, self.shelves, moments)
        return self._summary(self._outcomes(recommender, moments, visitors, segments))

    def _outcomes(
        self,
        recommender: Recommender,
        moments: Choices,
        visitors: Visitors,
        segments: Sequence[Sequence[Segment]],
    ) -> Floats:
        """Hit rate and MRR of the recommender and of popularity at each moment, shape (moments, 4)."""
        ranked = self.ranked(recommender, moments, visitors, segments)
        popular = self.ranked(None, moments, visitors, segments)
        wanted = np.array([chosen[0] for chosen in moments.chosen], dtype=np.int32)
        found = [hits(lists, wanted, np.arange(len(moments))) for lists in (ranked, popular)]
        return np.column_stack([measure(one) for one in found for measure in (hit_rate, first_hit)])

    def ranked(
        self,
        recommender: Recommender | None,
        moments: Choices,
        visitors: Visitors,
        segments: Sequence[Sequence[Segment]],
        composition: Composition = RANKING_ALONE,
    ) -> Codes:
        """What a recommender, or popularity, puts first at each moment, padded with UNKNOWN, shape (moments, DEPTH)."""
        ranked = np.full((len(moments), DEPTH), UNKNOWN, dtype=np.int32)
        shelf_numbers = self.shelves.number(moments.times)
        with threadpool_limits(1):
            for number in np.unique(shelf_numbers):
                shelf = self.shelves.shelves[number]
                allowed, cases = on_sale(shelf), np.flatnonzero(shelf_numbers == number)
                if recommender is None:
                    best_sold = self.popularity.order(shelf.at)
                    best_sold = best_sold[allowed[best_sold]][:DEPTH]
                    ranked[cases, : len(best_sold)] = best_sold
                    continue
                placed = recommender.on(shelf)
                for case in cases.tolist():
                    answer = placed.recommend(
                        visitors.take(slice(case, case + 1)),
                        allowed,
                        DEPTH,
                        self.settings.candidates,
                        composition,
                        segments=segments[case],
                    )
                    ranked[case, : len(answer)] = answer.rows
        return ranked

    def _summary(self, outcomes: Floats) -> Results:
        names = ("model_hr", "model_mrr", "popularity_hr", "popularity_mrr")
        columns = dict(zip(names, outcomes.T, strict=True))
        columns["gain_hr"] = columns["model_hr"] - columns["popularity_hr"]
        return {name: estimate(values, self.settings.seed) for name, values in columns.items()}
