"""The collector's HTTP API, as an ASGI application: what Segment's, RudderStack's and Jitsu's trackers send, into Kafka.

An answer of 200 means that Kafka has acknowledged every event of the request.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast, get_args

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_repo.contract import Event, Reason, Violation, check
from feature_repo.errors import UnavailableError
from feature_repo.settings import Settings
from feature_repo.web.rate_limit import TOO_MANY, RateLimit, retry_after
from ingestion.collector.events import apply_batch_defaults, made_by_sdk, stamp
from ingestion.collector.kafka import AcknowledgedProducer, KafkaProbe, Message
from ingestion.collector.requests import Refusal, read_json
from ingestion.json_text import as_json
from ingestion.privacy.routes import CustomerRoutes
from ingestion.producer import LARGEST_MESSAGE, message_key
from ingestion.quarantine.reasons import unfit

CALL_TYPES: tuple[str, ...] = get_args(Event.model_fields["type"].annotation)
# Segment's tracker for browsers calls by the first letter, /v1/t for /v1/track; Jitsu's has addresses of its own.
CALLS = {
    path: name
    for name in CALL_TYPES
    for path in (f"/v1/{name}", f"/v1/{name[0]}", f"/api/s/{name}", f"/api/s/s2s/{name}")
}
# Segment's libraries for servers; those for browsers and phones; both vendors' imports; RudderStack's beacons.
BATCHES = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch")
RETRY_AFTER_SECONDS = 1
# A batch's context is given to each of its events.
_MOST_GROWTH = 8
ACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What ``/metrics`` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter(
            "shelfwise_collector_events", "events acknowledged by Kafka", ["type"], registry=self.registry
        )
        self.invalid = Counter(
            "shelfwise_collector_invalid",
            "events that violate the contract: refused, or in a batch passed on to the quarantine",
            ["reason"],
            registry=self.registry,
        )
        self.refused = Counter(
            "shelfwise_collector_refused_requests",
            "requests not answered with 200",
            ["code"],
            registry=self.registry,
        )
        self.ack_seconds = Histogram(
            "shelfwise_collector_ack_seconds",
            "time from sending a request's events to Kafka's acknowledgement",
            buckets=ACK_BUCKETS,
            registry=self.registry,
        )


class Collector:
    """The handlers and what they share."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.collector
        self._producer = AcknowledgedProducer(settings.kafka, settings.collector.ack_timeout_seconds)
        self._probe = KafkaProbe(settings.kafka)
        rate = settings.collector.requests_per_second
        self._rate = RateLimit(rate) if rate else None
        self.metrics = Metrics()

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._producer.start()
        yield
        await self._producer.close()
        self._probe.close()

    async def take_call(self, request: Request) -> Response:
        """``POST /v1/track`` and the other single calls.

        An invalid event is refused, with the reason, except if a tracker's library sent it. Such a library drops what is
        refused, and nobody reads the answer: the event goes the way of a batch's, so that the quarantine keeps it.
        """
        event = await self._read(request)
        event["type"] = CALLS[request.url.path.rstrip("/")]
        message = _message(stamp(event, datetime.now(UTC)))
        violation = self._objection(event, message)
        if violation is not None and not made_by_sdk(event):
            self.metrics.invalid.labels(violation.reason).inc()
            status = 413 if violation.reason is Reason.OVERSIZED else 400
            raise Refusal(status, violation.reason, violation.message, violation.field)
        await self._send([message])
        return _json({"success": True, **self._count([event], [violation])})

    async def take_batch(self, request: Request) -> Response:
        """``POST /v1/batch``: invalid events go the same way as valid ones, so that the quarantine keeps them."""
        batch = await self._read(request)
        events = batch.get("batch")
        if not isinstance(events, list):
            raise Refusal(400, "missing_field", "a batch call needs `batch`, a list of events", "batch")
        received = datetime.now(UTC)
        messages, size = [], 0
        for event in events:
            if isinstance(event, dict):
                stamp(apply_batch_defaults(event, batch), received)
            messages.append(_message(event))
            size += len(messages[-1][1])
            if size > _MOST_GROWTH * self._limits.max_body_bytes:
                raise Refusal(
                    413, "too_large", "with the batch's context in each of its events, it is too large; none was taken"
                )
        await self._send(messages)
        violations = [self._objection(event, message) for event, message in zip(events, messages, strict=True)]
        return _json({"success": True, **self._count(events, violations)})

    async def _read(self, request: Request) -> dict[str, Any]:
        """What was sent with the write key, unless there was too much of it lately: libraries send again after 429."""
        document = await read_json(request, self._limits)
        if self._rate and (wait := self._rate.wait(time.monotonic())):
            raise Refusal(429, "too_many_requests", TOO_MANY, headers=retry_after(wait))
        return document

    def _objection(self, event: Any, message: Message) -> Violation | None:
        """What the stream will say of an event, but for what only time tells."""
        return unfit(message[1], self._limits.max_event_bytes) or check(event)

    async def _send(self, messages: Sequence[Message]) -> None:
        started = time.perf_counter()
        try:
            await self._producer.send(messages)
        except UnavailableError as error:
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            raise Refusal(503, "unavailable", f"{error}; send again later", headers=retry) from error
        self.metrics.ack_seconds.observe(time.perf_counter() - started)

    def _count(self, events: Sequence[Any], violations: Sequence[Violation | None]) -> dict[str, int]:
        for event, violation in zip(events, violations, strict=True):
            if violation is None:
                self.metrics.accepted.labels(event["type"]).inc()
            else:
                self.metrics.invalid.labels(violation.reason).inc()
        accepted = violations.count(None)
        return {"accepted": accepted, "invalid": len(events) - accepted}

    async def health(self, _request: Request) -> Response:
        """200 while events can be taken."""
        if self._producer.connected and await self._probe.answers():
            return _json({"status": "ok"})
        raise Refusal(503, "unavailable", "Kafka does not answer")

    async def show_metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def refuse(self, _request: Request, error: Exception) -> Response:
        """Every answer other than 200, in one shape."""
        if isinstance(error, HTTPException):
            code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
            headers = dict(error.headers or {})
            error = Refusal(error.status_code, code, error.detail, headers=headers)
        elif not isinstance(error, Refusal):
            error = Refusal(500, "internal", "the collector failed; the event was not taken")
        refusal = cast(Refusal, error)
        self.metrics.refused.labels(refusal.code).inc()
        shape = {"code": refusal.code, "field": refusal.field, "message": refusal.message}
        # The Python libraries of both vendors look for code and message outside, and take an answer without them for a
        # failure to be tried again ten times.
        document = {"error": shape, "code": refusal.code, "message": refusal.message}
        return _json(document, refusal.status, refusal.headers)


def create_app(settings: Settings) -> Starlette:
    """The application, with the settings' Kafka behind it."""
    collector = Collector(settings)
    # Segment's library for Java ends its addresses with a slash. Redirected, it would send again, perhaps without encryption.
    calls = {f"{path}{end}": collector.take_call for path in CALLS for end in ("", "/")}
    batches = {f"{path}{end}": collector.take_batch for path in BATCHES for end in ("", "/")}
    routes = [Route(path, take, methods=["POST"]) for path, take in (calls | batches).items()]
    routes += [
        Route("/health", collector.health),
        Route("/metrics", collector.show_metrics),
    ]
    browsers = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["POST"],
        allow_headers=["*"],
        # A beacon asks for it always. There is nothing that it could open: the collector sets and reads no cookie.
        allow_credentials=True,
        expose_headers=["Retry-After"],
        # A shop's page may be public and its collector in the shop's own network.
        allow_private_network=True,
        max_age=86_400,
    )
    routes += CustomerRoutes(settings.privacy).routes()
    refusals: dict[Any, Any] = dict.fromkeys((Refusal, HTTPException, Exception), collector.refuse)
    app = Starlette(routes=routes, middleware=[browsers], exception_handlers=refusals, lifespan=collector.lifespan)
    app.router.redirect_slashes = False
    return app


def _message(event: Any) -> Message:
    return (message_key(event) if isinstance(event, dict) else None), as_json(event)[:LARGEST_MESSAGE]


def _json(document: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers, media_type="application/json")
