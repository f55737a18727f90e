"""How much a distribution has changed: the population stability index, and how large it gets by chance."""

from __future__ import annotations

import numpy as np
import pandas as pd

from training.distributions import psi

# By custom, an index below the first is calm, and one above the second a change.
CALM, CHANGED = 0.1, 0.25
_MOST_WORDS = 20
_PARTS = 10
_DRAWS = 100


def in_classes(values: pd.Series) -> pd.Series:
    """Values as a few classes: numbers in ten parts of equal size, words as they are and the rarest together."""
    if pd.api.types.is_numeric_dtype(values):
        edges = np.unique(values.quantile(np.linspace(0, 1, _PARTS + 1)))
        if len(edges) < 2:
            return values.astype(str)
        return pd.cut(values, edges, include_lowest=True).astype(str)
    words = values.fillna("(missing)").astype(str)
    common = words.value_counts().index[:_MOST_WORDS]
    return words.where(words.isin(common), "(others)")


def psi_by_chance(classes: pd.Series, customers: pd.Series, seed: int) -> float:
    """What the index exceeds in one of twenty cases if two random halves of the customers are compared.

    Whole customers are drawn: the events of one are alike, so that halves of events would differ too little.
    """
    counts = pd.crosstab(customers, classes).to_numpy(dtype=float)
    half = np.random.default_rng(seed).random((_DRAWS, len(counts))) < 0.5
    first = half.astype(float) @ counts
    return float(np.quantile(psi(first, counts.sum(axis=0) - first), 0.95))
