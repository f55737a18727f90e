"""Baselines: implicit's item-item neighbours (cosine, TF-IDF, BM25) of what the customer looked at."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender, TFIDFRecommender
from implicit.utils import ParameterWarning
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from feature_repo.reading import Floats
from training.evaluation.log import ITEM_ACTIONS, Lines
from training.evaluation.models import Fitted
from training.evaluation.stream import Query

NEIGHBOURS = 200
LATEST = 20
METHODS: dict[str, Callable[[], ItemItemRecommender]] = {
    "cosine": lambda: CosineRecommender(K=NEIGHBOURS, num_threads=1),
    "tfidf": lambda: TFIDFRecommender(K=NEIGHBOURS, num_threads=1),
    "bm25": lambda: BM25Recommender(K=NEIGHBOURS, num_threads=1),
}


class ItemItem(Fitted):
    """Products that share sessions with the customer's latest ones, which count 1, 1/2, 1/3, ...

    His older sessions' products come after this session's: on real shops, that finds more than this session alone.
    """

    def __init__(self, products: int, method: str, daily: bool = False) -> None:
        super().__init__(products, daily)
        self._method = METHODS[method]
        self._similarity = csr_matrix((products, products))

    def fit(self, past: Lines, until: float) -> None:
        lines = past.of(ITEM_ACTIONS)
        if not len(lines):
            return
        _, sessions = np.unique(lines.sessions, return_inverse=True)
        shape = (int(sessions.max(initial=0)) + 1, self.products)
        matrix = csr_matrix((np.ones(len(lines)), (sessions, lines.items)), shape=shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ParameterWarning)  # implicit weighs in another format than it wants
            model = self._method()
            model.fit(matrix, show_progress=False)
        self._similarity = model.similarity

    def scores(self, query: Query) -> Floats:
        scores = np.zeros(self.products)
        similarity = self._similarity
        for place, item in enumerate(query.recent[:LATEST].tolist(), start=1):
            row = slice(similarity.indptr[item], similarity.indptr[item + 1])
            scores[similarity.indices[row]] += similarity.data[row] / place
        return scores
