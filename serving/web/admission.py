"""Which requests are taken on: those with a key, where there are keys, and no more than can be answered in time.

Refusing costs next to nothing: it comes before the body is looked at, and whoever is refused can ask again at once elsewhere.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from feature_repo.sections.serving import ServingSettings
from feature_repo.web.basic_auth import CHALLENGE, key_shown
from feature_repo.web.rate_limit import TOO_MANY, RateLimit, retry_after
from serving.web.problems import StrictJsonRequest, error_response

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# Where a request's moment of arrival is kept in its scope, by ``time.perf_counter``.
ARRIVED = "shelfwise.arrived"
_RETRY_SECONDS = 1


class Admission:
    """Counts the requests in hand, and knows the keys."""

    def __init__(self, settings: ServingSettings) -> None:
        self._most = settings.max_concurrency
        self._in_hand = 0
        self._keys = [key.get_secret_value().encode() for key in settings.read_keys]
        rate = settings.requests_per_second
        self._limits = [RateLimit(rate) for _ in self._keys or [b""]] if rate else []

    def route(self) -> type[APIRoute]:
        """The class of routes that pass through here."""
        admission = self

        class AdmittedRoute(APIRoute):
            def get_route_handler(self) -> Handler:
                handle = super().get_route_handler()

                async def admitted(request: Request) -> Response:
                    strict = StrictJsonRequest(request.scope, request.receive)
                    return admission._refusal(strict) or await admission._take(strict, handle)

                return admitted

        return AdmittedRoute

    async def _take(self, request: Request, handle: Handler) -> Response:
        try:
            await request.body()  # whoever sends slowly must not take the place of others
        except ClientDisconnect:
            return error_response(400, "disconnected", "the body was cut off")
        if self._in_hand >= self._most:
            return _come_again(
                429, "overloaded", "more requests are in hand than can be answered in time", _RETRY_SECONDS
            )
        request.scope[ARRIVED] = time.perf_counter()
        self._in_hand += 1
        try:
            return await handle(request)
        finally:
            self._in_hand -= 1

    def _refusal(self, request: Request) -> Response | None:
        """What is answered to whoever has no key, or asks too often with it."""
        place = self._place_of(request) if self._keys else 0
        if place is None:
            return error_response(
                401, "unauthorized", "send a read key as the user name of basic auth", headers=CHALLENGE
            )
        if self._limits and (wait := self._limits[place].wait(time.monotonic())):
            return _come_again(429, "too_many_requests", TOO_MANY, wait)
        return None

    def _place_of(self, request: Request) -> int | None:
        """Which of the keys was sent; all are compared, so that the time does not tell how far one was right."""
        shown = (key_shown(request.headers.get("authorization")) or "").encode()
        equal = [hmac.compare_digest(shown, key) for key in self._keys]
        return equal.index(True) if any(equal) else None


def _come_again(status: int, code: str, message: str, seconds: float) -> Response:
    headers = retry_after(seconds)
    return error_response(status, code, f"{message}; ask again in {headers['Retry-After']} s", headers=headers)
