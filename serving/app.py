"""The HTTP API: routes, one error shape, metrics."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from feature_repo.settings import Settings
from serving import engine, metrics
from serving.online import OnlineStore
from serving.requests import Answer, RecommendRequest, SimilarRequest, TrendingRequest
from serving.state import Keeper, State

log = logging.getLogger(__name__)


class RequestRefused(Exception):
    """A request that is answered with an error; the message says what to change."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field


class Api:
    """The endpoints and what they share in one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = OnlineStore()
        self._readers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="features")
        self.keeper = Keeper(self._store, settings.serving)
        self.app = FastAPI(
            title="Shelfwise", description="Recommendations from live features", lifespan=self._lifespan, docs_url=None,
            redoc_url=None,
        )  # fmt: skip
        for path, endpoint in (("recommend", self.recommend), ("similar", self.similar), ("trending", self.trending)):
            self.app.add_api_route(f"/{path}", endpoint, methods=["POST"], response_model=Answer)
        self.app.add_exception_handler(RequestRefused, _refused)  # type: ignore[arg-type]
        self.app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
        self.app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
        self.app.add_exception_handler(Exception, _unexpected)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self.keeper.start()
        yield
        self.keeper.stop()

    async def ready(self) -> bool:
        """Whether customers' features can be read and the item features are fresh."""
        if self.keeper.problem:
            log.warning("not ready: %s", self.keeper.problem)
            return False
        stale_after = max(10.0, 5 * self._settings.serving.snapshot_seconds)
        return time.time() - self.keeper.refreshed_at < stale_after

    async def recommend(self, body: RecommendRequest) -> Response:
        """Products for one customer: personal where he is known, else by session, trend or popularity."""
        self._check_k(body.k)
        customer = await self._customer(body)
        candidates = self._settings.training.candidates
        return self._respond("recommend", lambda state, name: engine.recommend(state, customer, body, candidates, name))

    async def similar(self, body: SimilarRequest) -> Response:
        """Products like one product."""
        self._check_k(body.k)

        def answer(state: State, name: str) -> Answer:
            try:
                return engine.similar(state, body.product_id, body.exclude, body.filters, body.k, name)
            except engine.UnknownProduct as error:
                message = f"the catalogue has no product {body.product_id!r}"
                raise RequestRefused(404, "unknown_product", message, "product_id") from error

        return self._respond("similar", answer)

    async def trending(self, body: TrendingRequest) -> Response:
        """Products asked for more than usual now."""
        self._check_k(body.k)
        return self._respond(
            "trending", lambda state, name: engine.rising(state, body.exclude, body.filters, body.k, name)
        )

    def _check_k(self, k: int) -> None:
        most = self._settings.serving.max_k
        if k > most:
            raise RequestRefused(400, "invalid_request", f"k may be at most {most}", "k")

    async def _customer(self, body: RecommendRequest) -> engine.Customer:
        """The features of the user id or, if that is not known, of the anonymous id."""
        customer = engine.Customer(None)
        for customer_id in (body.user_id, body.anonymous_id):
            if customer_id and customer.last_event_at is None:
                customer = await self._read(customer_id)
        return customer

    async def _read(self, customer_id: str) -> engine.Customer:
        reading = asyncio.get_running_loop().run_in_executor(self._readers, self._store.customer, customer_id)
        try:
            columns = await asyncio.wait_for(reading, self._settings.serving.read_timeout_ms / 1000)
        except Exception as error:  # whatever is wrong with the store, the customer gets an answer
            metrics.READ_FAILURES.inc()
            log.warning("a customer's features could not be read: %s", type(error).__name__)
            return engine.Customer(None)
        return engine.Customer(columns)

    def _respond(self, endpoint: str, answer_with: Callable[[State, str], Answer]) -> Response:
        begun, request_id, state = time.perf_counter(), uuid.uuid4().hex, self.keeper.state
        answer = answer_with(state, request_id) if state else engine.nothing(None, request_id)
        self._count(endpoint, answer, time.perf_counter() - begun)
        return Response(orjson.dumps(answer.model_dump()), media_type="application/json")

    def _count(self, endpoint: str, answer: Answer, seconds: float) -> None:
        metrics.REQUESTS.labels(endpoint, answer.fallback or "none").inc()
        metrics.SECONDS.labels(endpoint).observe(seconds)
        for item in answer.items:
            metrics.SOURCES.labels(item.source).inc()
        if answer.feature_age_ms is not None:
            metrics.FEATURE_AGE.observe(answer.feature_age_ms / 1000)
        metrics.SNAPSHOT_AGE.set(time.time() - self.keeper.refreshed_at)
        if answer.model_version:
            metrics.MODEL_INFO.labels(answer.model_version).set(1)


def _error(status: int, code: str, message: str, field: str | None = None) -> Response:
    metrics.REFUSALS.labels(code).inc()
    body = {"error": {"code": code, "message": message, "field": field}}
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


def _refused(_: Request, error: RequestRefused) -> Response:
    return _error(error.status, error.code, error.message, error.field)


def _invalid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _error(400, "malformed_json", "the body is not valid JSON")
    field = ".".join(str(part) for part in first["loc"] if part != "body") or None
    return _error(400, "invalid_request", first["msg"], field)


def _http_error(_: Request, error: HTTPException) -> Response:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return _error(error.status_code, code, str(error.detail))


def _unexpected(_: Request, error: Exception) -> Response:
    log.exception("a request failed", exc_info=error)
    return _error(500, "internal_error", "the request failed; the service's log says why")
