"""Baseline: implicit's ALS, with the customer folded in as he is now."""

from __future__ import annotations

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from feature_repo.ranking.visitors import ACTION_WEIGHTS
from feature_repo.reading import Floats
from training.candidates.als import HALF_LIFE_SECONDS, interest_matrix
from training.evaluation.log import Lines
from training.evaluation.models import Fitted
from training.evaluation.stream import Query

FACTORS = 64
CONFIDENCE = 4.0
REGULARIZATION = 2.0
ITERATIONS = 15


class Als(Fitted):
    """ALS (Hu, Koren and Volinsky, ICDM 2008) on customers' weighted interactions; fold-in by implicit itself."""

    def __init__(self, products: int, customer_ids: NDArray[np.object_], seed: int, daily: bool = False) -> None:
        super().__init__(products, daily)
        self._customer_ids = customer_ids
        self._seed = seed
        self._model: AlternatingLeastSquares | None = None

    def fit(self, past: Lines, until: float) -> None:
        matrix = interest_matrix(past.interactions(self._customer_ids), self.products, until)
        matrix.data = (1 + CONFIDENCE * matrix.data).astype(np.float32)
        if not matrix.nnz:
            return
        with threadpool_limits(1):
            self._model = AlternatingLeastSquares(
                factors=max(1, min(FACTORS, *matrix.shape)),
                regularization=REGULARIZATION,
                alpha=1.0,
                iterations=ITERATIONS,
                random_state=self._seed,
                num_threads=1,
            )
            self._model.fit(matrix, show_progress=False)

    def scores(self, query: Query) -> Floats:
        own = query.own
        weights = np.array([ACTION_WEIGHTS[kind] for kind in own.kinds.tolist()])
        weights = weights * np.exp2((own.times - query.moment) / HALF_LIFE_SECONDS)
        row = csr_matrix((weights, (np.zeros(len(own), dtype=np.int32), own.items)), shape=(1, self.products))
        row.sum_duplicates()
        row.eliminate_zeros()
        if self._model is None or not row.nnz:
            return np.zeros(self.products)
        row.data = (1 + CONFIDENCE * row.data).astype(np.float32)
        return np.asarray(self._model.item_factors @ np.ravel(self._model.recalculate_user(0, row)), dtype=float)
