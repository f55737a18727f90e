"""Hand-written event logs of a few rows, for tests of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from feature_repo.ranking.shelf import UNKNOWN
from training.evaluation.log import CHECKED_OUT, Lines, Log

# Time in seconds, session, kind, and one product or several.
Row = tuple[float, int, int, int | Sequence[int]]


def log(
    *rows: Row,
    products: int = 10,
    customers: Mapping[int, int] | None = None,
    devices: Mapping[int, str] | None = None,
    since: Mapping[int, float] | None = None,
    categories: Sequence[str | None] | None = None,
) -> Log:
    """A log of rows in order of time.

    Args:
        customers: of sessions; by default each session has one of its own, of the same number.
        devices: of sessions.
        since: when products were first heard of, if before or without their first event; by default long ago.
        categories: of the products.
    """
    flat = [
        (time, number, session, kind, item)
        for number, (time, session, kind, items) in enumerate(rows)
        for item in ([UNKNOWN] if kind == CHECKED_OUT else [items] if isinstance(items, int) else items)
    ]
    times, events, sessions, kinds, items = (np.array(column) for column in zip(*flat, strict=True))
    count = int(sessions.max()) + 1
    owners = np.array([(customers or {}).get(session, session) for session in range(count)], dtype=np.int32)
    starts = np.full(count, np.inf)
    np.minimum.at(starts, sessions, times.astype(float))
    lines = Lines(
        times=times.astype(float),
        events=events,
        customers=owners[sessions],
        sessions=sessions.astype(np.int32),
        items=items.astype(np.int32),
        kinds=kinds.astype(np.int8),
    )
    return Log(
        lines=lines,
        starts=starts,
        countries=np.full(count, None, dtype=object),
        devices=np.array([(devices or {}).get(session) for session in range(count)], dtype=object),
        ids=tuple(f"p{item}" for item in range(products)),
        customer_ids=np.array([f"c{number}" for number in range(int(owners.max()) + 1)], dtype=object),
        since=np.array([(since or {}).get(item, -1e9) for item in range(products)]),
        categories=np.array(categories or [None] * products, dtype=object),
    )
