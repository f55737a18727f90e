"""The two questions of the temporal evaluation, asked of what happened after the split.

(a) Within the lists that customers saw: does the model rank what they clicked above the rest (NDCG@10)?
(b) In the whole catalogue: is the next product that a customer turned to among the first 20 (hit rate, MRR)?

For (b) the recommender runs as it does when serving: customer as of just before, catalogue as of the last shelf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.reading import Floats
from feature_repo.settings import TrainingSettings
from feature_repo.shelf import Shelf
from training.evaluation import Estimate, Popularity, estimate, hit_and_reciprocal_rank, ndcg
from training.events import Interactions
from training.examples import Examples, Shelves
from training.history import History
from training.model import Recommender

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
        impressions = test.impressions
        matrix = test.matrix(recommender.space.on(self.shelves.shelves[0]), shown=False)
        position = np.where(np.isnan(impressions.position), np.inf, impressions.position)
        scores = {
            "model": recommender.ranker.predict_proba(matrix)[:, 1],
            "popularity": self.popularity.at(impressions.items, impressions.times[impressions.owner]),
            "shown": -position,
        }
        seed = self.settings.seed
        values = {
            name: ndcg(impressions.owner, impressions.strength > 0, score, seed) for name, score in scores.items()
        }
        values["gain"] = values["model"] - values["popularity"]
        return {name: estimate(value, seed) for name, value in values.items()}

    def next_product(self, recommender: Recommender, since: float) -> dict[str, Results]:
        """Hit rate and MRR at 20 of the next product, for the recommender and for popularity, by moments after a split.

        ``returning`` are the moments of customers of whom something was known.
        """
        moments = self._moments(since)
        columns = self.history.customers(self.interactions.customer_ids[moments.customers], moments.times)
        visitors = self.shelves.visitors(columns, moments.times, np.full(len(moments), np.nan))
        outcomes = np.zeros((len(moments), 4))
        shelf_numbers = self.shelves.number(moments.times)
        for number in np.unique(shelf_numbers):
            shelf = self.shelves.shelves[number]
            placed = recommender.on(shelf)
            allowed = on_sale(shelf)
            popular = self.popularity.order(shelf.at)
            popular = popular[allowed[popular]][:DEPTH]
            for case in np.flatnonzero(shelf_numbers == number):
                visitor = visitors.take(slice(case, case + 1))
                ranked = placed.recommend(visitor, allowed, DEPTH, self.settings.candidates)
                wanted = int(moments.items[case])
                outcomes[case, :2] = hit_and_reciprocal_rank(ranked.rows, wanted)
                outcomes[case, 2:] = hit_and_reciprocal_rank(popular, wanted)
        known = (visitors.actions > 0).any(axis=1)
        return {"all": self._summary(outcomes), "returning": self._summary(outcomes[known])}

    def _moments(self, since: float) -> Interactions:
        """A seeded sample of the moments at which a customer turned to another product than his last."""
        turned = turns(self.interactions)
        turned = turned[self.interactions.times[turned] >= since]
        chosen = np.random.default_rng(self.settings.seed).permutation(turned)[: self.settings.test_moments]
        return self.interactions.part(np.sort(chosen))

    def _summary(self, outcomes: Floats) -> Results:
        seed = self.settings.seed
        columns = dict(zip(("model_hr", "model_mrr", "popularity_hr", "popularity_mrr"), outcomes.T, strict=True))
        columns["gain_hr"] = columns["model_hr"] - columns["popularity_hr"]
        return {name: estimate(values, seed) for name, values in columns.items()}


def on_sale(shelf: Shelf) -> NDArray[np.bool_]:
    """Rows in stock of products that had appeared by then."""
    return shelf.items.available & np.isfinite(shelf.items.rates["age_days"])


def turns(interactions: Interactions) -> NDArray[np.integer]:
    """Where a customer shows interest in a product that his previous interaction was not about, as row numbers."""
    order = np.lexsort((np.arange(len(interactions)), interactions.customers))
    customers, items = interactions.customers[order], interactions.items[order]
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (customers[1:] == customers[:-1]) & (items[1:] == items[:-1])
    interest = np.isin(interactions.actions[order], (Action.CLICKED, Action.VIEWED, Action.ADDED))
    return np.sort(order[interest & ~same])
