"""Reading a customer's features within the deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_repo.online_reading import OnlineReader
from serving import metrics

if TYPE_CHECKING:
    from feast import FeatureStore

_log = logging.getLogger("bentoml.shelfwise")

# After so many failures in a row, reads are skipped for a while: no request shall wait for a store that is gone.
_FAILURES = 3
_SKIP_SECONDS = 1.0


@dataclass(frozen=True)
class CustomerFeatures:
    """Stored columns of one customer, each of length 1, and when his last event happened (epoch seconds)."""

    columns: dict[str, list[Any]]
    last_event_at: float | None


class CustomerReader:
    """Reads without blocking the loop; a failure counts as knowing nothing."""

    def __init__(self, store: FeatureStore, timeout_ms: int) -> None:
        self._features = OnlineReader(store, "customer_features")
        self._timeout = timeout_ms / 1000
        self._failures = 0
        self._skip_until = 0.0

    async def read(self, ids: list[str]) -> CustomerFeatures | None:
        """The first of the customers of whom something is known; None if there is none or the store does not answer."""
        if time.monotonic() < self._skip_until:
            metrics.feature_reads.labels(result="skipped").inc()
            return None
        try:
            async with asyncio.timeout(self._timeout):
                columns = await self._features.read_async(ids)
        except Exception as error:
            self._failed(error)
            return None
        self._failures = 0
        for row, last_event_at in enumerate(columns["last_event_at"]):
            if last_event_at is not None:
                metrics.feature_reads.labels(result="found").inc()
                return CustomerFeatures({name: [values[row]] for name, values in columns.items()}, last_event_at)
        metrics.feature_reads.labels(result="unknown").inc()
        return None

    def _failed(self, error: Exception) -> None:
        result = "timeout" if isinstance(error, TimeoutError) else "failed"
        metrics.feature_reads.labels(result=result).inc()
        self._failures += 1
        if self._failures >= _FAILURES:
            self._skip_until = time.monotonic() + _SKIP_SECONDS
            _log.warning("customer features cannot be read (%s): skipped for %s s", error or result, _SKIP_SECONDS)
