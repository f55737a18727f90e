"""Sessions as events go by, for the baselines that learn from what is looked at together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.evaluation.log import ITEM_ACTIONS, Lines


def steps(news: Lines) -> Iterator[tuple[int, int]]:
    """Session and product of each click, view and addition to the cart, in order of time."""
    rows = np.flatnonzero(np.isin(news.kinds, ITEM_ACTIONS)) if len(news) else ()
    if len(rows):
        yield from zip(news.sessions[rows].tolist(), news.items[rows].tolist(), strict=True)
