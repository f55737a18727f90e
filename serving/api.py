"""The HTTP side of the service: routes, validation, one error shape, metrics."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from importlib.resources import files
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import metrics
from serving.answer_log import AnswerLog, record_of
from serving.answers import Result
from serving.customers import CustomerFeatures
from serving.experiments import Trial, answers_of
from serving.problems import BodyLimit, StrictJsonRoute, error_response, of_validation
from serving.requests import Answer, ErrorAnswer, RecommendRequest
from serving.runtime import Runtime
from training.scenarios import Need

_DESCRIPTION = """Recommendations from what customers are doing now. Every answer says where it comes from (`source`,
`reason`, `fallback`, `model_version`) and how old the customer's features are (`feature_age_ms`); with `explain`, also
what moved each score."""
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer},
    400: {"model": ErrorAnswer, "description": "the body is not JSON"},
    413: {"model": ErrorAnswer, "description": "the body is too large"},
    415: {"model": ErrorAnswer, "description": "the body is not declared as application/json"},
    422: {"model": ErrorAnswer, "description": "a field is missing, unknown or out of range"},
}
# What to name in an error where a scenario lacks what it needs.
_FIELDS = {
    Need.CUSTOMER: ("user_id", "anonymous_id"),
    Need.CONTEXT: ("context_items",),
    Need.CATEGORY: ("filters.category",),
}


def create_app(runtime: Runtime) -> FastAPI:
    """The application that BentoML mounts; answers from ``runtime`` once that has been started."""
    app = FastAPI(title="Shelfwise recommendations", description=_DESCRIPTION, docs_url=None, redoc_url=None)
    app.router.route_class = StrictJsonRoute
    app.add_middleware(BodyLimit, limit=runtime.settings.serving.max_body_bytes)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _unexpected)
    _add_docs(app)

    @app.post("/recommend", responses=_RESPONSES, response_model=None, summary="products for a customer and a place")
    async def recommend(body: RecommendRequest) -> Response:
        begun = time.perf_counter()
        composition = runtime.engine.compositions.get(body.scenario)
        if composition is None:
            known = ", ".join(runtime.engine.compositions)
            return error_response(422, "unknown_value", f"scenario: there are {known}", "scenario")
        asked, unit = composition, body.user_id or body.anonymous_id
        assigned = runtime.engine.state.experiments.assigned(body.scenario, unit, composition, time.time())
        if assigned:
            composition = assigned.composition
        if composition.needs and not any(_is_met(need, body) for need in composition.needs):
            return _lacks(body.scenario, composition.needs)
        ids = [customer_id for customer_id in (body.user_id, body.anonymous_id) if customer_id is not None]
        with metrics.timed("read"):
            customer = await runtime.customers.read(ids) if ids else None
        result = runtime.engine.recommend(body, composition, customer, assigned.model if assigned else None)
        trial = Trial(assigned)
        if assigned and assigned.experiment.explore and random.random() < assigned.experiment.explore:
            watched = runtime.engine.state.experiments.watched(assigned, body.scenario, asked)
            result = trial.explore(
                result,
                answers_of(watched, lambda one: runtime.engine.recommend(body, one.composition, customer, one.model)),
            )
        return _answer(runtime.answers, body.scenario, unit, result, trial, begun, customer)

    return app


def _is_met(need: Need, request: RecommendRequest) -> bool:
    if need is Need.CUSTOMER:
        return request.user_id is not None or request.anonymous_id is not None
    return bool(request.context_items) if need is Need.CONTEXT else request.filters.category is not None


def _lacks(scenario: str, needs: tuple[Need, ...]) -> Response:
    code = "missing_id" if needs[0] is Need.CUSTOMER else "missing_field"
    fields = [field for need in needs for field in _FIELDS[need]]
    message = f"the scenario {scenario!r} needs {' or '.join(fields)}"
    return error_response(422, code, message, fields[0])


def _answer(
    log: AnswerLog | None,
    scenario: str,
    unit: str | None,
    result: Result,
    trial: Trial,
    begun: float,
    customer: CustomerFeatures | None,
) -> Response:
    age = None
    if customer is not None and customer.last_event_at is not None:
        age = max(time.time() - customer.last_event_at, 0.0)
        metrics.feature_age.observe(age)
    body = {
        "items": result.items,
        "model_version": result.model_version,
        "feature_age_ms": None if age is None else round(age * 1000),
        "fallback": result.fallback,
        "request_id": os.urandom(8).hex(),
        "experiment": trial.experiment,
        "variant": trial.variant,
    }
    model = metrics.model_label(result.model_version)
    metrics.requests.labels(scenario=scenario, fallback=result.fallback or "none", model=model).inc()
    for source, count in Counter(item.source for item in result.items).items():
        metrics.recommended.labels(source=source).inc(count)
    if trial.experiment:
        metrics.exposures.labels(experiment=trial.experiment, variant=trial.variant).inc()
    if log:
        log.add(record_of(body, scenario, unit, trial.noted))
    metrics.latency.labels(scenario=scenario, model=model).observe(time.perf_counter() - begun)
    return Response(orjson.dumps(body), media_type="application/json")


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = str(error.detail).lower().replace(" ", "_")
    return error_response(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}")


async def _unexpected(request: Request, _: Exception) -> Response:
    # Starlette logs the exception itself after this answer.
    return error_response(500, "internal_error", f"{request.url.path} failed; the service's log says why")


def refusing_the_rest(app: FastAPI) -> ASGIApp:
    """What answers any request that ``app`` does not; BentoML mounts it last."""
    paths = {route.path for route in app.routes if isinstance(route, Route)}

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if path in paths:
            response = error_response(405, "method_not_allowed", f"{path} cannot be used with {method}; see /docs")
        else:
            response = error_response(404, "unknown_path", f"there is nothing at {path}; see /docs")
        await response(scope, receive, send)

    return refuse


def _add_docs(app: FastAPI) -> None:
    """An OpenAPI page that loads nothing from other hosts: BentoML's package brings the assets.

    It takes the place of BentoML's own first page, which would report each visit to an analytics service.
    """
    assets = "/static_content"
    app.mount(assets, StaticFiles(directory=str(files("bentoml") / "_internal/server/static_content")))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url=f"{assets}/swagger-ui-bundle.js",
            swagger_css_url=f"{assets}/swagger-ui.css",
            swagger_favicon_url=f"{assets}/favicon-light-32x32.png",
        )

    @app.get("/", include_in_schema=False)
    async def index() -> RedirectResponse:
        return RedirectResponse("/docs")
