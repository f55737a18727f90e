"""The same ALS on Spark: MLlib's, for more interactions than one machine would fit in good time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from feature_repo.sections.training import TrainingSettings
from feature_repo.spark import start_spark


def fit_item_vectors(interest: csr_matrix, factors: int, settings: TrainingSettings) -> NDArray[np.float32]:
    """Item factors of implicit-feedback ALS, shape (items, factors); zero where nobody had any interest.

    MLlib multiplies the pull towards zero by the number of a customer's or a product's entries (Zhou et al., "Large-Scale
    Parallel Collaborative Filtering for the Netflix Prize", 2008); so it gets the share of the setting that comes to the
    same for one with as many as customers have on average. The sums of several tasks depend on who comes first, so two fits
    agree to a few digits only.

    Args:
        interest: customers x items.
        factors: how many.
        settings: of the ALS.
    """
    from pyspark.ml.recommendation import ALS

    vectors = np.zeros((interest.shape[1], factors), dtype=np.float32)
    if not interest.nnz:  # MLlib refuses to fit nothing
        return vectors
    entries = interest.tocoo()
    columns = {"customer": entries.row, "item": entries.col, "interest": entries.data.astype(np.float32)}
    per_customer = interest.nnz / max(interest.shape[0], 1)
    spark = start_spark("shelfwise-als")
    try:
        als = ALS(
            userCol="customer",
            itemCol="item",
            ratingCol="interest",
            implicitPrefs=True,
            rank=factors,
            maxIter=settings.als_iterations,
            alpha=settings.als_confidence,
            regParam=settings.als_regularization / max(per_customer, 1.0),
            seed=settings.seed,
        )
        found = als.fit(spark.createDataFrame(pa.table(columns))).itemFactors.toArrow()
    finally:
        spark.stop()
    lists = found["features"].combine_chunks()
    vectors[found["id"].to_numpy()] = lists.flatten().to_numpy().reshape(-1, factors)
    return vectors
