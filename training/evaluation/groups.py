"""Groups of queries that results are also given for: kinds of queries, and segments of customers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.evaluation.log import Log
from training.evaluation.tasks import Queries, Task

Group = NDArray[np.bool_]

ALL = "all"
_DAY_SECONDS = 86_400.0
# Least interactions of a customer before the query, by name of the group.
HISTORY_LENGTHS = {"history 0": 0, "history 1-4": 1, "history 5-19": 5, "history 20+": 20}


def groups_of(queries: Queries, log: Log) -> dict[str, Group]:
    """Which queries belong to each group, shape (queries,); groups without any are left out."""
    starts, stops = log.histories.before(queries.customers, queries.moments)
    first = np.full(len(log.customer_ids), np.inf)
    np.minimum.at(first, log.lines.customers, log.lines.times)
    new = first[queries.customers] >= log.starts[queries.sessions]
    prefix = queries.prefixes.lengths
    wanted = queries.wanted
    young = queries.moments[wanted.owner] - log.since[wanted.flat] < _DAY_SECONDS
    kinds = {
        Task.NEXT: {
            "prefix of 1": prefix == 1,
            "longer prefix": prefix > 1,
            "after a new customer's first product": (prefix == 1) & new,
        },
        Task.PURCHASE: {"empty session": prefix == 0, "session under way": prefix > 0},
        Task.RERANK: {"empty session": prefix == 0, "session under way": prefix > 0},
    }
    devices = log.devices[queries.sessions]
    bounds = [*HISTORY_LENGTHS.values(), np.inf]
    found: dict[str, Group] = {
        ALL: np.ones(len(queries), dtype=bool),
        **kinds[queries.task],
        "new": new,
        "returning": ~new,
        "a product of the last day": np.bincount(wanted.owner[young], minlength=len(queries)) > 0,
        **{f"device {name}": devices == name for name in sorted({name for name in devices if name is not None})},
        **{
            name: (stops - starts >= least) & (stops - starts < below)
            for (name, least), below in zip(HISTORY_LENGTHS.items(), bounds[1:], strict=True)
        },
    }
    return {name: group for name, group in found.items() if group.any()}
