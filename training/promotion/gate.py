"""May a challenger take the champion's place?

Both are asked the same questions about what neither had seen: the events after the champion's last one, or after the
challenger's split if that is later. The challenger answers as fitted on what lies before them. What is stored was then
fitted on everything, so it is asked too, as read back from the store: it knows the answers, and if it still does
worse, it is broken.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from feature_repo.reading import Floats
from feature_repo.sections.training import RetrainSettings
from feature_repo.settings import PROJECT_ROOT
from training.data.choices import on_sale
from training.evaluation.measures import Estimate, estimates
from training.model import Recommender
from training.promotion.exam import Exam
from training.ranking.rankers import Purpose
from training.trial import DEPTH

_TIMED = 200
_PARITY_SECONDS = 900


@dataclass(frozen=True)
class Check:
    """One of the gate's checks.

    Attributes:
        detail: what was found, for people.
        numbers: the same for machines.
    """

    name: str
    passed: bool
    detail: str
    numbers: dict[str, Any] = field(default_factory=dict)


def quality(
    exam: Exam, champion: Recommender | None, rivals: dict[str, Recommender], limits: RetrainSettings
) -> list[Check]:
    """A check per question and rival, each against the champion (None: popularity).

    Args:
        rivals: by the word that the checks are named with.
    """
    customers, theirs = exam.customers(), exam.outcomes(champion)
    checks = []
    for name, rival in rivals.items():
        for question, ours in exam.outcomes(rival).items():
            compared = compare(ours, theirs[question], customers[question], exam.trial.settings.seed)
            passed, verdict = judge(compared["difference"], limits)
            numbers = {key: asdict(one) for key, one in compared.items()}
            checks.append(Check(f"{name} {question}", passed, verdict, numbers))
    return checks


def compare(ours: Floats, theirs: Floats, customers: np.ndarray, seed: int) -> dict[str, Estimate]:
    """Means and their paired difference, on the same draws of whole customers."""
    columns = np.column_stack([ours, theirs, ours - theirs])
    clusters = np.unique(customers.astype(str), return_inverse=True)[1]
    return dict(zip(("challenger", "champion", "difference"), estimates(columns, clusters, seed), strict=True))


def judge(difference: Estimate, limits: RetrainSettings) -> tuple[bool, str]:
    """Whether a difference is good enough, and why."""
    if difference.mean is None or difference.low is None or difference.high is None:
        return True, "no cases"
    interval = f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
    if difference.high < -limits.tolerance:
        return False, f"{interval}: worse than -{limits.tolerance:g} beyond chance"
    if difference.count < limits.min_cases:
        return True, f"{interval}: {difference.count} cases are too few to ask for more"
    if difference.low < -limits.tolerance:
        return False, f"{interval}: may be worse than -{limits.tolerance:g}; more lists would tell"
    return True, interval


def latency(exam: Exam, champion: Recommender, challenger: Recommender, limits: RetrainSettings) -> Check:
    """Median time of a recommendation, both in turns for the same visitors on the newest catalogue."""
    shelf, visitors = exam.trial.shelves.shelves[-1], exam.moments[Purpose.TURN].visitors
    allowed = on_sale(shelf)
    placed = (champion.on(shelf), challenger.on(shelf))
    cases = np.arange(len(visitors.items))[-_TIMED:].tolist()
    seconds = np.zeros((len(cases), 2))
    with threadpool_limits(1):
        for row, case in enumerate(cases):
            visitor = visitors.take(slice(case, case + 1))
            # Whoever comes second finds warm caches.
            for side in (0, 1) if row % 2 else (1, 0):
                begun = time.perf_counter()
                placed[side].recommend(visitor, allowed, DEPTH, exam.trial.settings.candidates)
                seconds[row, side] = time.perf_counter() - begun
    if not cases:
        return Check("latency", True, "no cases")
    before, after = (np.median(seconds, axis=0) * 1000).tolist()
    ratio = after / before
    detail = f"{after:.2f} ms, champion {before:.2f} ms: {ratio:.2f} times (at most {limits.max_latency_ratio:g})"
    numbers = {"challenger_ms": after, "champion_ms": before, "ratio": ratio}
    return Check("latency", ratio <= limits.max_latency_ratio, detail, numbers)


def parity() -> Check:
    """Whether stored features hold what the raw events say: ``python -m ingestion parity`` decides by its exit code."""
    command = [sys.executable, "-m", "ingestion", "parity"]
    try:
        done = subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PARITY_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Check("parity", False, f"`python -m ingestion parity` did not end within {_PARITY_SECONDS:,} s")
    lines = done.stdout.strip().splitlines() or [""]
    return Check(
        "parity", done.returncode == 0, lines[-1].strip(), {"exit_code": done.returncode, "output": done.stdout}
    )
