"""The side that answers customers: do collector and service answer, how old is the model, and is it worth having?

Pure judgements, like ``ingestion/health/checks.py``; ``ingestion/health/services.py`` measures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from feature_repo.sections.watching import HealthSettings
from ingestion.health.status import Check, Status

_DAY = 86_400.0


class Answer(StrEnum):
    """What a server says when it is asked whether it is ready."""

    READY = "ready"
    DEGRADED = "answers, but is not ready"
    NONE = "does not answer"


@dataclass(frozen=True)
class Service:
    """A server of this installation.

    Attributes:
        started: whether the stack of this machine started it and has not stopped it since.
    """

    name: str
    address: str
    answer: Answer
    started: bool


@dataclass(frozen=True)
class Quality:
    """What a model was worth in the evaluation that came with its training, beside popularity.

    Attributes:
        measure: for example ``next product, HR@20``.
        gain_high: upper end of the 95% interval of the difference; None if there were no cases.
    """

    measure: str
    model: float
    popularity: float
    gain_high: float | None


@dataclass(frozen=True)
class Model:
    """The model that the service is to answer with.

    Attributes:
        trained_at, learnt_until: seconds since 1970; None where the record cannot be read, which ``problem`` explains.
        promoted_at: when it was promoted, ISO 8601, and ``why``; empty where the settings name it.
        quality: of the held-back part of the history.
        past: the first quality of each promoted version, the oldest first.
    """

    version: str
    trained_at: float | None = None
    learnt_until: float | None = None
    promoted_at: str = ""
    why: str = ""
    quality: Sequence[Quality] = ()
    past: Sequence[float] = ()
    problem: str = ""


def service_checks(services: Sequence[Service]) -> Iterator[Check]:
    """A server that the stack started must answer; one that nobody started here may well run elsewhere, or not be wanted."""
    for service in services:
        if service.answer is Answer.READY:
            status, advice = Status.OK, ""
        elif service.answer is Answer.DEGRADED:
            status, advice = Status.ALARM, f"it goes on with less than it needs: see logs/{service.name}.log"
        elif service.started:
            status = Status.ALARM
            advice = f"it ended or hangs: logs/{service.name}.log says why; `make up` starts it again"
        else:
            status, advice = Status.NOT_JUDGED, ""
        detail = f"{service.answer.value} at {service.address}"
        yield Check("service", service.name, status, detail=detail, advice=advice)


def model_checks(model: Model | None, now: float, limits: HealthSettings) -> Iterator[Check]:
    """A model must be readable, not too old, and not certainly worse than popularity; without any there is nothing to check."""
    if model is None:
        return
    if model.problem or model.trained_at is None:
        advice = f"its record cannot be read ({model.problem}): `python -m training models` shows what there is"
        yield Check("model age", model.version, Status.ALARM, detail="no record", advice=advice)
        return
    days = max(0.0, now - model.trained_at) / _DAY
    old = days > limits.model_days
    yield Check(
        "model age",
        model.version,
        Status.ALARM if old else Status.OK,
        days,
        limits.model_days,
        "days",
        "since it was trained",
        "customers and products have moved on: `python -m training retrain --promote`, and see why it did not run"
        if old
        else "",
    )
    for quality in model.quality:
        judged = quality.gain_high is not None
        worse = judged and (quality.gain_high or 0.0) < 0
        yield Check(
            "model quality",
            quality.measure,
            Status.ALARM if worse else Status.OK if judged else Status.NOT_JUDGED,
            quality.model,
            quality.popularity,
            detail="held back when it was trained; the limit is the popularity of seven days",
            advice="the model is certainly worse than popularity: `python -m training rollback`, then see what it learnt from"
            if worse
            else "",
        )
