"""From a valid request to its answer, within the deadline: what would take longer is left out, and the answer says so."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from typing import Any

import orjson
from fastapi import Response

from serving import metrics
from serving.answer_log import record_of
from serving.answers import Missing, Result
from serving.customers import CustomerFeatures, NotRead
from serving.experiments import Assigned, Trial, answers_of
from serving.requests import RecommendRequest
from serving.runtime import Runtime
from training.scenarios import Composition


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
        ends = arrived + self._limits.deadline_ms / 1000
        missing: list[Missing] = []
        customer = await self._customer(request, ends, missing)
        async with self._turn:
            begun = time.perf_counter()
            composition, version = (assigned.composition, assigned.model) if assigned else (asked, None)
            result = self._runtime.engine.recommend(request, composition, customer, version, ends)
            missing += result.degraded
            trial = Trial(assigned)
            if assigned and assigned.experiment.explore and random.random() < assigned.experiment.explore:
                result = self._explored(request, asked, assigned, trial, result, customer, begun, ends, missing)
        return self._response(request, result, trial, customer, missing, arrived, ends)

    async def _customer(
        self, request: RecommendRequest, ends: float, missing: list[Missing]
    ) -> CustomerFeatures | None:
        ids = [customer_id for customer_id in (request.user_id, request.anonymous_id) if customer_id is not None]
        try:
            with metrics.timed("read"):
                return await self._runtime.customers.read(ids, ends) if ids else None
        except NotRead:
            missing.append(Missing.CUSTOMER)
            return None

    def _explored(
        self,
        request: RecommendRequest,
        asked: Composition,
        assigned: Assigned,
        trial: Trial,
        result: Result,
        customer: CustomerFeatures | None,
        begun: float,
        ends: float,
        missing: list[Missing],
    ) -> Result:
        engine, now = self._runtime.engine, time.perf_counter()
        watched = engine.state.experiments.watched(assigned, request.scenario, asked)
        # Each is expected to take as long as the customer's own answer; one that lacks something stands for no variant. Without a
        # model, all do without.
        if set(missing) - {Missing.MODEL} or now + (now - begun) * len(watched) > ends:
            missing.append(Missing.EXPLORATION)
            return result
        others = answers_of(watched, lambda one: engine.recommend(request, one.composition, customer, one.model))
        return trial.explore(result, others)

    def _response(
        self,
        request: RecommendRequest,
        result: Result,
        trial: Trial,
        customer: CustomerFeatures | None,
        missing: list[Missing],
        arrived: float,
        ends: float,
    ) -> Response:
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
        self._note(request, body, result, trial, missing)
        response = Response(orjson.dumps(body), media_type="application/json")
        done = time.perf_counter()
        model = metrics.model_label(result.model_version)
        metrics.latency.labels(scenario=request.scenario, model=model).observe(done - arrived)
        if done > ends:
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
