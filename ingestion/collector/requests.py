"""Reading a tracker's request: limits, gzip, JSON and the write key. Whatever is wrong becomes a :class:`Refusal`."""

from __future__ import annotations

import asyncio
import hmac
import zlib
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from feature_repo.sections.intake import CollectorSettings
from feature_repo.web.basic_auth import CHALLENGE, key_shown
from ingestion.collector.events import WRITE_KEY
from ingestion.json_text import read_leniently

# Phones on slow lines are given time; whoever only holds connections open is not.
_BODY_SECONDS = 30.0
GZIP_WINDOW = 31  # zlib's way to say: a gzip header, largest window


@dataclass
class Refusal(Exception):
    """An answer other than 200, in the one error shape ``{"error": {"code", "field", "message"}}``."""

    status: int
    code: str
    message: str
    field: str | None = None
    headers: dict[str, str] | None = None


async def read_json(request: Request, limits: CollectorSettings) -> dict[str, Any]:
    """The request's JSON object, once its sender has shown the write key.

    The key is the user name of basic auth, what stands before a colon in the header ``X-Write-Key`` (Jitsu's trackers
    want two words), or ``writeKey`` in the address (a beacon has no headers of its own) or in the body, as browsers'
    trackers send it.

    Raises:
        Refusal: 400, 401, 408, 413 or 415.
    """
    shown = key_shown(request.headers.get("authorization"))
    if shown is None:
        in_header = request.headers.get("x-write-key")
        shown = in_header.partition(":")[0] if in_header else request.query_params.get(WRITE_KEY)
    if shown is not None:
        _check_key(shown, limits)
    body = await _read_body(request, limits.max_body_bytes)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        body = _inflate(body, limits.max_body_bytes)
    elif encoding not in ("", "identity"):
        raise Refusal(415, "unsupported_encoding", f"a body may be compressed with gzip, not with {encoding[:40]!r}")
    try:
        document = read_leniently(body)
    except ValueError as error:
        raise Refusal(400, "malformed_json", f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Refusal(400, "malformed_json", "the body must be a JSON object")
    if shown is None:
        _check_key(document.get(WRITE_KEY), limits)
    return document


def _check_key(shown: Any, limits: CollectorSettings) -> None:
    expected = limits.write_key.get_secret_value().encode()
    if not isinstance(shown, str) or not hmac.compare_digest(shown.encode(), expected):
        raise Refusal(
            401,
            "unauthorized",
            "send the write key as the user name of basic auth, as X-Write-Key, or as writeKey in the body or the address",
            headers=CHALLENGE,
        )


async def _read_body(request: Request, most: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise _too_large(most)
    except TimeoutError:
        raise Refusal(
            408, "too_slow", f"the body did not come within {_BODY_SECONDS:g} seconds; send it again"
        ) from None
    except ClientDisconnect as error:
        raise Refusal(400, "disconnected", "the body was cut off") from error
    return bytes(body)


def _inflate(body: bytes, most: int) -> bytes:
    """``body`` without gzip; stops as soon as it grows beyond ``most`` bytes, however small it came."""
    inflater = zlib.decompressobj(GZIP_WINDOW)
    try:
        inflated = inflater.decompress(body, most + 1)
    except zlib.error as error:
        raise Refusal(400, "malformed_gzip", f"the body is not gzip: {error}") from error
    if len(inflated) > most:
        raise _too_large(most)
    if not inflater.eof:
        raise Refusal(400, "malformed_gzip", "the gzip body is cut off")
    return inflated


def _too_large(most: int) -> Refusal:
    return Refusal(413, "too_large", f"the body is larger than {most:,} bytes")
