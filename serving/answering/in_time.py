"""From a valid request to its answer, within the deadline: what would take longer is left out, and the answer says so."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Response

from serving import metrics
from serving.answering.answer_log import record_of
from serving.answering.answers import Missing, Result
from serving.answering.experiments import Assigned, Trial, answers_of
from serving.data.customers import CustomerFeatures, NotRead
from serving.runtime import Runtime
from serving.web.requests import RecommendRequest
from training.scenarios import Composition


@dataclass
class _Question:
    """A request, and what came up on the way to its answer.

    Attributes:
        request: what was asked.
        composition: of the scenario.
        assigned: how the customer's experiment has it, if he is in one.
        arrived, ends: when the whole request was there, and when it must be answered, by ``time.perf_counter``.
        customer: what is known of him.
        missing: what the answer does without.
    """

    request: RecommendRequest
    composition: Composition
    assigned: Assigned | None
    arrived: float
    ends: float
    customer: CustomerFeatures | None = None
    missing: list[Missing] = field(default_factory=list)


class Answering:
    """Answers from a runtime that has been started."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._limits = runtime.settings.serving
        # One ranking at a time: whatever else waits for the loop (refusals, probes, the store's answers) comes between two.
        self._turn = asyncio.Lock()

    async def answer(
        self, request: RecommendRequest, asked: Composition, assigned: Assigned | None, arrived: float
    ) -> Response:
        """The answer as JSON.

        Args:
            asked: the scenario.
            assigned: how the customer's experiment has it, if he is in one.
            arrived: when the whole request was there, by ``time.perf_counter``.
        """
        question = _Question(request, asked, assigned, arrived, arrived + self._limits.deadline_ms / 1000)
        await self._read_customer(question)
        async with self._turn:
            begun = time.perf_counter()
            composition, version = (assigned.composition, assigned.model) if assigned else (asked, None)
            result = self._runtime.engine.recommend(request, composition, question.customer, version, question.ends)
            question.missing += result.degraded
            trial = Trial(assigned)
            if assigned and assigned.experiment.explore and random.random() < assigned.experiment.explore:
                result = self._explored(question, assigned, trial, result, begun)
        return self._response(question, result, trial)

    async def _read_customer(self, question: _Question) -> None:
        request = question.request
        ids = [customer_id for customer_id in (request.user_id, request.anonymous_id) if customer_id is not None]
        if not ids:
            return
        try:
            with metrics.timed("read"):
                question.customer = await self._runtime.customers.read(ids, question.ends)
        except NotRead:
            question.missing.append(Missing.CUSTOMER)

    def _explored(self, question: _Question, assigned: Assigned, trial: Trial, result: Result, begun: float) -> Result:
        engine, now = self._runtime.engine, time.perf_counter()
        request, customer = question.request, question.customer
        watched = engine.state.experiments.watched(assigned, request.scenario, question.composition)
        # Each is expected to take as long as the customer's own answer; one that lacks something stands for no variant. Without a
        # model, all do without.
        if set(question.missing) - {Missing.MODEL} or now + (now - begun) * len(watched) > question.ends:
            question.missing.append(Missing.EXPLORATION)
            return result
        others = answers_of(watched, lambda one: engine.recommend(request, one.composition, customer, one.model))
        return trial.explore(result, others)

    def _response(self, question: _Question, result: Result, trial: Trial) -> Response:
        customer, missing = question.customer, question.missing
        now, age, catalogue_age = time.time(), None, None
        if customer is not None and customer.last_event_at is not None:
            age = max(now - customer.last_event_at, 0.0)
            metrics.feature_age.observe(age)
        if result.catalogue_at is not None:
            catalogue_age = max(now - result.catalogue_at, 0.0)
            metrics.catalogue_age.observe(catalogue_age)
        if catalogue_age is None or catalogue_age > self._limits.stale_seconds:
            missing.append(Missing.CATALOGUE)
        body = {
            "items": result.items,
            "model_version": result.model_version,
            "feature_age_ms": _milliseconds(age),
            "catalogue_age_ms": _milliseconds(catalogue_age),
            "fallback": result.fallback,
            "degraded": missing,
            "request_id": os.urandom(8).hex(),
            "experiment": trial.experiment,
            "variant": trial.variant,
        }
        self._note(question.request, body, result, trial, missing)
        response = Response(orjson.dumps(body), media_type="application/json")
        done = time.perf_counter()
        model = metrics.model_label(result.model_version)
        metrics.latency.labels(scenario=question.request.scenario, model=model).observe(done - question.arrived)
        if done > question.ends:
            metrics.late.inc()
        return response

    def _note(
        self, request: RecommendRequest, body: dict[str, Any], result: Result, trial: Trial, missing: list[Missing]
    ) -> None:
        """Count an answer, and log it."""
        model = metrics.model_label(result.model_version)
        metrics.requests.labels(scenario=request.scenario, fallback=result.fallback or "none", model=model).inc()
        for one in missing:
            metrics.degraded.labels(missing=one.value).inc()
        for source, count in Counter(item.source for item in result.items).items():
            metrics.recommended.labels(source=source).inc(count)
        if trial.experiment:
            metrics.exposures.labels(experiment=trial.experiment, variant=trial.variant).inc()
        if log := self._runtime.answers:
            log.add(record_of(body, request.scenario, request.user_id or request.anonymous_id, trial.noted))


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
