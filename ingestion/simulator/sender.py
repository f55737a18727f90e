"""Sending live events to the collector at a steady rate, in small batches over one connection."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
import urllib3
from pydantic import SecretStr

from feature_repo.errors import SettingsError, UnavailableError
from ingestion.stopping import StopRequest

TICK_SECONDS = 0.1
MAX_BATCH_EVENTS = 100
REQUEST_SECONDS = 15.0
GIVE_UP_SECONDS = 60.0
RETRY_SECONDS = 1.0
REPORT_SECONDS = 10.0
BEHIND_SECONDS = 2.0


def send_live(
    traffic: Iterable[dict[str, Any]],
    url: str,
    write_key: SecretStr,
    rate: float,
    duration: float | None,
    stop: StopRequest,
) -> int:
    """Send ``rate`` events a second for ``duration`` seconds (None: until stopped); returns how many were accepted.

    Raises:
        UnavailableError: the collector takes nothing for a minute.
        SettingsError: it does not accept the write key.
    """
    events = iter(traffic)
    collector = Collector(url, write_key, stop)
    started = reported = time.monotonic()
    schedule, due_before, accepted, reported_count = started, 0, 0, 0
    while not stop and (duration is None or time.monotonic() - started < duration):
        due = int((time.monotonic() - schedule) * rate) - due_before
        due_before += due
        for batch in _batches(islice(events, due)):
            accepted += collector.send(batch)
        now = time.monotonic()
        if now - schedule > due_before / rate + BEHIND_SECONDS:
            # After an outage: go on at the usual rate, do not pour out what was missed.
            schedule, due_before = now, 0
        if now - reported >= REPORT_SECONDS:
            print(f"{accepted:,} events sent, {(accepted - reported_count) / (now - reported):.1f}/s", flush=True)
            reported, reported_count = now, accepted
        stop.wait(TICK_SECONDS)
    print(f"{accepted:,} events sent in {time.monotonic() - started:.1f} s", flush=True)
    return accepted


def _batches(events: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(events)
    while batch := list(islice(iterator, MAX_BATCH_EVENTS)):
        yield batch


class Collector:
    """The collector's batch address, over a connection that is kept."""

    def __init__(self, url: str, write_key: SecretStr, stop: StopRequest) -> None:
        self._url = f"{url.rstrip('/')}/v1/batch"
        self._headers = urllib3.make_headers(basic_auth=f"{write_key.get_secret_value()}:")
        self._headers["Content-Type"] = "application/json"
        self._http = urllib3.PoolManager(maxsize=1, retries=False, timeout=REQUEST_SECONDS)
        self._stop = stop

    def send(self, events: list[dict[str, Any]]) -> int:
        """How many of ``events``, dated now, were accepted; repeats the same message ids until they are taken."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        body = orjson.dumps({"batch": [{**event, "timestamp": now} for event in events], "sentAt": now})
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            trouble, wait = self._try(body)
            if trouble is None:
                return len(events)
            if time.monotonic() > give_up:
                raise UnavailableError(f"the collector at {self._url} takes no events: {trouble}")
            print(f"waiting for the collector: {trouble}", flush=True)
            if self._stop.wait(wait):
                return 0

    def _try(self, body: bytes) -> tuple[str | None, float]:
        """What went wrong, if anything, and how long to wait before the next try."""
        try:
            response = self._http.request("POST", self._url, body=body, headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            return f"{type(error).__name__}", RETRY_SECONDS
        if response.status == 200:
            return None, 0.0
        if response.status == 401:
            raise SettingsError("the collector does not accept the write key; set SHELFWISE_COLLECTOR__WRITE_KEY")
        if response.status < 500:
            raise UnavailableError(f"the collector refused the events with {response.status}: {response.data[:500]!r}")
        after = response.headers.get("Retry-After", "")
        return f"answer {response.status}", float(after) if after.isdigit() else RETRY_SECONDS
