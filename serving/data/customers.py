"""Reading a customer's features within the deadline, and not at all while the store does not answer."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from circuitbreaker import CircuitBreaker, CircuitBreakerError

from feature_repo.online.reading import OnlineReader
from serving import metrics

if TYPE_CHECKING:
    from feast import FeatureStore

_log = logging.getLogger("bentoml.shelfwise")

# After so many failures in a row, nobody asks for a while: no request shall wait for a store that is gone.
_FAILURES = 3
_OPEN_SECONDS = 1.0
# With less time than this, it is not even tried.
_LEAST_SECONDS = 0.001
# Of the time that was waited for the store, the share in which the loop worked, from which it was the loop that took too long.
_BUSY_SHARE = 0.5
# An id that no customer has: by asking for it, readiness sees whether the store answers again when no customer asks.
_NOBODY = ""


@dataclass(frozen=True)
class CustomerFeatures:
    """Stored columns of one customer, each of length 1, and when his last event happened (epoch seconds)."""

    columns: dict[str, list[Any]]
    last_event_at: float | None


class NotRead(Exception):
    """Nothing is known of a customer, as the store did not answer in time or was not asked."""


class _Busy(Exception):
    """This process had so much else to do that the store cannot be blamed: under load, its circuit stays closed."""


class CustomerReader:
    """Reads without blocking the loop.

    Args:
        store: the feature store.
        share_ms: how long one reading may take at most.
    """

    def __init__(self, store: FeatureStore, share_ms: float) -> None:
        self._features = OnlineReader(store, "customer_features")
        self._share = share_ms / 1000
        self._circuit = CircuitBreaker(
            failure_threshold=_FAILURES,
            recovery_timeout=_OPEN_SECONDS,
            expected_exception=lambda kind, _: kind is not _Busy,
            name="customer features",
        )
        self._read_guarded = self._circuit(self._read_within)
        self._abandoned: set[asyncio.Future[Any]] = set()
        self._told = False

    async def read(self, ids: list[str], ends: float = float("inf")) -> CustomerFeatures | None:
        """The first of the customers of whom something is known; None if there is none.

        Args:
            ids: of one customer.
            ends: when the request must be answered, by ``time.perf_counter``.

        Raises:
            NotRead: the store did not answer in time, or has not lately.
        """
        seconds = min(self._share, ends - time.perf_counter())
        if seconds < _LEAST_SECONDS:
            metrics.feature_reads.labels(result="late").inc()
            raise NotRead
        try:
            columns = await self._read_guarded(ids, seconds)
        except CircuitBreakerError as error:
            metrics.feature_reads.labels(result="skipped").inc()
            raise NotRead from error
        except Exception as error:
            self._failed(error)
            raise NotRead from error
        if self._told:
            self._tell(False)
        for row, last_event_at in enumerate(columns["last_event_at"]):
            if last_event_at is not None:
                metrics.feature_reads.labels(result="found").inc()
                return CustomerFeatures({name: [values[row]] for name, values in columns.items()}, last_event_at)
        metrics.feature_reads.labels(result="unknown").inc()
        return None

    async def problem(self) -> str | None:
        """Why customers' features cannot be read now, or None if they can."""
        if self._circuit.closed:
            return None
        try:
            await self.read([_NOBODY])
        except NotRead:
            return f"customers' features cannot be read: {_words(self._circuit.last_failure)}"
        return None

    async def _read_within(self, ids: list[str], seconds: float) -> dict[str, list[Any]]:
        # A reading that takes too long goes on by itself: to break it off would break its connection, and the next readings
        # would need more time than they have to make new ones.
        used = time.thread_time()
        reading = asyncio.ensure_future(self._features.read_async(ids))
        await asyncio.wait((reading,), timeout=seconds)
        if reading.done():
            return reading.result()
        self._abandoned.add(reading)
        reading.add_done_callback(self._forget)
        raise _Busy if time.thread_time() - used > seconds * _BUSY_SHARE else TimeoutError

    def _forget(self, reading: asyncio.Future[Any]) -> None:
        self._abandoned.discard(reading)
        if not reading.cancelled():
            reading.exception()  # looked at, so that nobody complains that it was not

    def _failed(self, error: Exception) -> None:
        result = "timeout" if isinstance(error, TimeoutError | _Busy) else "failed"
        metrics.feature_reads.labels(result=result).inc()
        if self._circuit.opened and not self._told:
            self._tell(True, error)

    def _tell(self, opened: bool, error: Exception | None = None) -> None:
        self._told = opened
        metrics.circuit_open.set(opened)
        if opened:
            _log.warning("customers' features cannot be read, and are asked for once a second: %s", _words(error))
        else:
            _log.info("customers' features are read again")


def _words(error: BaseException | None) -> str:
    return str(error) or "the online store does not answer in time"
