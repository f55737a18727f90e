"""Errors as clients see them: ``{"error": {"code", "message", "field"}}``, whatever went wrong."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import metrics

_CODES = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "enum": "unknown_value",
    "literal_error": "unknown_value",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "too_short": "out_of_range",
    "string_too_short": "out_of_range",
    "string_too_long": "out_of_range",
    "too_long": "out_of_range",
    "value_error": "invalid_request",
}


def error_response(
    status: int, code: str, message: str, field: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """An error in the one shape, counted."""
    metrics.count_error(code)
    body = {"error": {"code": code, "message": message, "field": field}}
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


async def of_validation(request: Request, error: Exception) -> Response:
    """What a refused body or query lacks: the first of its errors."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    in_body = first["loc"][0] == "body"
    if in_body and not _is_json(request):
        return error_response(415, "unsupported_media_type", "the body must be sent as application/json")
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "not JSON")
        return error_response(400, "malformed_json", f"the body is not JSON: {reason}")
    path = ".".join(str(part) for part in first["loc"][1:])
    code = _CODES.get(first["type"], "wrong_type")
    return error_response(422, code, f"{path}: {_sentence(first)}" if path else _sentence(first), path or None)


def _sentence(error: dict[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


class StrictJsonRequest(Request):
    """Takes JSON as it is defined, without NaN and infinities."""

    async def json(self) -> Any:
        """The decoded body; raises ``json.JSONDecodeError``."""
        return orjson.loads(await self.body())


class BodyLimit:
    """Refuses requests whose body is larger than ``limit`` bytes, or does not say how large it is."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return error_response(411, "length_required", "send the body with a Content-Length")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._limit:
            return error_response(413, "body_too_large", f"the body may have {self._limit} bytes at most")
        return None
