"""The HTTP side of the service: routes, validation, one error shape, metrics."""

from __future__ import annotations

import os
import time
from importlib.resources import files
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import metrics
from serving.customers import CustomerFeatures
from serving.engine import Result
from serving.problems import BodyLimit, StrictJsonRoute, error_response, of_validation
from serving.requests import Answer, Count, ErrorAnswer, RecommendRequest, SimilarRequest, TrendingRequest
from serving.runtime import Runtime

_DESCRIPTION = """Recommendations from what customers are doing now. Every answer says where it comes from (`source`,
`reason`, `fallback`, `model_version`) and how old the customer's features are (`feature_age_ms`)."""
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer},
    400: {"model": ErrorAnswer, "description": "the body is not JSON"},
    413: {"model": ErrorAnswer, "description": "the body is too large"},
    415: {"model": ErrorAnswer, "description": "the body is not declared as application/json"},
    422: {"model": ErrorAnswer, "description": "a field is missing, unknown or out of range"},
}
_UNKNOWN_PRODUCT: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "the product is not in the catalogue"}
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

    @app.post("/recommend", responses=_RESPONSES, response_model=None, summary="products for a customer")
    async def recommend(body: RecommendRequest) -> Response:
        begun = time.perf_counter()
        ids = [customer_id for customer_id in (body.user_id, body.anonymous_id) if customer_id is not None]
        customer = await runtime.customers.read(ids)
        result = runtime.engine.recommend(body, customer)
        return _answer("recommend", body.scenario.value, result, begun, customer)

    def similar(product_id: str, k: int) -> Response:
        begun = time.perf_counter()
        result = runtime.engine.similar(product_id, k)
        if result is None:
            return error_response(404, "unknown_product", f"no product {product_id!r} in the catalogue", "product_id")
        return _answer("similar", "", result, begun)

    def trending(k: int, category: str | None) -> Response:
        begun = time.perf_counter()
        return _answer("trending", "", runtime.engine.trending(k, category), begun)

    with_unknown: dict[int | str, dict[str, Any]] = {**_RESPONSES, **_UNKNOWN_PRODUCT}

    @app.post("/similar", responses=with_unknown, response_model=None, summary="products that go with a product")
    async def similar_post(body: SimilarRequest) -> Response:
        return similar(body.product_id, body.k)

    @app.get("/similar", responses=with_unknown, response_model=None, summary="the same by query parameters")
    async def similar_get(product_id: Annotated[str, Query(min_length=1, max_length=200)], k: Count = 10) -> Response:
        return similar(product_id, k)

    @app.post("/trending", responses=_RESPONSES, response_model=None, summary="products whose interest rises")
    async def trending_post(body: TrendingRequest) -> Response:
        return trending(body.k, body.category)

    @app.get("/trending", responses=_RESPONSES, response_model=None, summary="the same by query parameters")
    async def trending_get(k: Count = 10, category: Annotated[str | None, Query(max_length=2_000)] = None) -> Response:
        return trending(k, category)

    return app


def _answer(
    endpoint: str, scenario: str, result: Result, begun: float, customer: CustomerFeatures | None = None
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
    }
    metrics.requests.labels(endpoint=endpoint, scenario=scenario, fallback=result.fallback or "none").inc()
    for item in result.items:
        metrics.recommended.labels(source=item.source).inc()
    metrics.latency.labels(endpoint=endpoint).observe(time.perf_counter() - begun)
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
