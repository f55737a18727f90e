"""How good answers are: one number per query and measure."""

from __future__ import annotations

import numpy as np

from feature_repo.reading import Floats
from training.evaluation.measures import (
    first_hit,
    hit_rate,
    hits,
    ndcg,
    ndcg_of_hits,
    recall,
    reciprocal_rank,
)
from training.evaluation.models import DEPTH, Answers
from training.evaluation.tasks import Queries, Task

MEASURES: dict[Task, tuple[str, ...]] = {
    Task.NEXT: (f"HR@{DEPTH}", f"MRR@{DEPTH}", "NDCG@10"),
    Task.PURCHASE: (f"recall@{DEPTH}", f"NDCG@{DEPTH}"),
    Task.RERANK: ("NDCG@10", "MRR"),
}


def outcomes(queries: Queries, answers: Answers, seed: int) -> Floats:
    """Shape (queries, measures of the task).

    Args:
        seed: puts equal scores in order.
    """
    if queries.task is Task.RERANK:
        owner, listed = queries.listed.owner, queries.listed.flat
        size = int(listed.max(initial=0)) + 1
        clicked = np.isin(owner * size + listed, queries.wanted.owner * size + queries.wanted.flat)
        arguments = (owner, clicked, answers.scores, seed)
        return np.column_stack([ndcg(*arguments, depth=10), reciprocal_rank(*arguments)])
    found, total = hits(answers.ranked, queries.wanted.flat, queries.wanted.owner), queries.wanted.lengths
    if queries.task is Task.NEXT:
        return np.column_stack([hit_rate(found), first_hit(found), ndcg_of_hits(found, total, 10)])
    return np.column_stack([recall(found, total), ndcg_of_hits(found, total, DEPTH)])
