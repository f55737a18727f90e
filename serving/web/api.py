"""The HTTP side of the service: routes, validation, one error shape, metrics."""

from __future__ import annotations

import time
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from serving.answering.in_time import Answering
from serving.runtime import Runtime
from serving.storefront.routes import add_storefront
from serving.web.admission import ARRIVED, Admission
from serving.web.problems import BodyLimit, error_response, of_validation
from serving.web.requests import Answer, ErrorAnswer, RecommendRequest
from training.scenarios import Need

_DESCRIPTION = """Recommendations from what customers are doing now. Every answer says where it comes from (`source`,
`reason`, `fallback`, `model_version`), what it had to do without (`degraded`), and how old the features are (`feature_age_ms`,
`catalogue_age_ms`); with `explain`, also what moved each score."""
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer},
    400: {"model": ErrorAnswer, "description": "the body is not JSON"},
    401: {
        "model": ErrorAnswer,
        "description": "no key was sent, or a wrong one, where one is needed (basic auth user name)",
    },
    413: {"model": ErrorAnswer, "description": "the body is too large"},
    415: {"model": ErrorAnswer, "description": "the body is not declared as application/json"},
    422: {"model": ErrorAnswer, "description": "a field is missing, unknown or out of range"},
    429: {"model": ErrorAnswer, "description": "too many requests; `Retry-After` says when to ask again"},
}
# What to name in an error where a scenario lacks what it needs.
_FIELDS = {
    Need.CUSTOMER: ("user_id", "anonymous_id"),
    Need.CONTEXT: ("context_items",),
    Need.CATEGORY: ("filters.category",),
}


def create_app(runtime: Runtime) -> FastAPI:
    """The application that BentoML mounts, with answers from ``runtime``."""
    app = FastAPI(
        title="Shelfwise recommendations",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(BodyLimit, limit=runtime.settings.serving.max_body_bytes)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _unexpected)
    answering = Answering(runtime)

    async def recommend(request: Request, body: RecommendRequest) -> Response:
        compositions, experiments = runtime.engine.compositions, runtime.engine.state.experiments
        asked = compositions.get(body.scenario)
        if asked is None:
            return error_response(422, "unknown_value", f"scenario: there are {', '.join(compositions)}", "scenario")
        assigned = experiments.assigned(body.scenario, body.user_id or body.anonymous_id, asked, time.time())
        needs = assigned.composition.needs if assigned else asked.needs
        if needs and not any(_is_met(need, body) for need in needs):
            return _lacks(body.scenario, needs)
        return await answering.answer(body, asked, assigned, request.scope[ARRIVED])

    # Before all else: two routers go through the routes in order. The pages after it need no key, and take nobody's place.
    app.router.add_api_route(
        "/recommend",
        recommend,
        methods=["POST"],
        route_class_override=Admission(runtime.settings.serving).route(),
        responses=_RESPONSES,
        response_model=None,
        summary="products for a customer and a place",
    )
    _add_docs(app)
    if runtime.settings.serving.shows_storefront:
        add_storefront(app, runtime)
    else:
        app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
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


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    where = f"{request.method} {request.url.path}"
    help_ = "; see /docs" if error.status_code in (404, 405) else ""
    return error_response(error.status_code, code, f"{where}: {error.detail}{help_}", headers=dict(error.headers or {}))


async def _unexpected(request: Request, _: Exception) -> Response:
    # Starlette logs the exception itself after this answer.
    return error_response(500, "internal_error", f"{request.url.path} failed; the service's log says why")


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
