"""Keeping the outcomes up to date beside the stream: what the service answered is stored, and joined to what was shown."""

from __future__ import annotations

import logging
import threading
import time

from feature_repo.errors import ShelfwiseError
from feature_repo.settings import get_settings

log = logging.getLogger(__name__)

# At most this share of the time is spent on it, so that the features need not wait for a processor.
_SHARE_OF_TIME = 0.05


class OutcomeKeeper:
    """Works in the background, now and then. What fails is logged and tried again: events matter more."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._landed = self._computed = time.monotonic()
        self._pause = 0.0

    def run_if_due(self) -> None:
        """Start to store answers, and to compute outcomes, if it is time and nothing of it is under way."""
        settings, now = get_settings(), time.monotonic()
        if self._thread is not None and self._thread.is_alive():
            return
        every = max(settings.outcomes.every_seconds, self._pause)
        compute = bool(settings.outcomes.every_seconds) and now - self._computed > every
        if compute or now - self._landed > settings.stream.archive_seconds:
            self._landed = now
            self._thread = threading.Thread(target=self._work, args=(compute,), name="outcomes", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Do all of it once more: nothing more comes."""
        self.finish()
        self._work(compute=bool(get_settings().outcomes.every_seconds))

    def finish(self) -> None:
        """Wait for what is under way."""
        if self._thread is not None:
            self._thread.join()

    def _work(self, compute: bool) -> None:
        from ingestion.outcomes import answers
        from ingestion.outcomes import metrics as outcome_metrics
        from ingestion.outcomes import table as outcome_table

        begun = time.monotonic()
        try:
            answers.land()
            if compute:
                outcome_table.refresh(threads=1)
                outcome_metrics.update()
        except ShelfwiseError as error:
            log.error("outcomes are not up to date, trying again: %s", error)
        except Exception:
            # Whatever it was, the stream has more important things to do than to fail.
            log.exception("outcomes are not up to date, trying again")
        finally:
            if compute:
                self._computed = time.monotonic()
                self._pause = (self._computed - begun) / _SHARE_OF_TIME
