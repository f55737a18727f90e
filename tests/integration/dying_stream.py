"""``python -m ingestion stream`` that kills itself with SIGKILL at a chosen moment; run as a program by the fault tests.

Usage: dying_stream.py MOMENT N: at the N-th time that the moment comes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from feature_repo.feast_parts import stores as feast_stores
from ingestion.__main__ import main
from ingestion.catalog import store as catalog_store
from ingestion.events.appending import Appender
from ingestion.events.archive import Archive
from ingestion.streaming import live
from ingestion.streaming.intake import Intake

Patch = Callable[[Callable[[], None]], None]


def before(owner: Any, name: str) -> Patch:
    """The moment before a call."""

    def patch(die_if_due: Callable[[], None]) -> None:
        original = getattr(owner, name)

        def replacement(*args: Any, **kwargs: Any) -> Any:
            die_if_due()
            return original(*args, **kwargs)

        setattr(owner, name, replacement)

    return patch


def after(owner: Any, name: str) -> Patch:
    """The moment after a call."""

    def patch(die_if_due: Callable[[], None]) -> None:
        original = getattr(owner, name)

        def replacement(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            die_if_due()
            return result

        setattr(owner, name, replacement)

    return patch


def half_written(die_if_due: Callable[[], None]) -> None:
    """Half of the rows are in Redis."""
    original = feast_stores.FreshRedisOnlineStore.write_rows

    def replacement(self: Any, config: Any, view: Any, rows: Any, keep_newer: bool = False) -> bool:
        original(self, config, view, rows.slice(0, rows.num_rows // 2), keep_newer)
        die_if_due()
        return original(self, config, view, rows, keep_newer)

    feast_stores.FreshRedisOnlineStore.write_rows = replacement  # type: ignore[method-assign]


def some_time(die_if_due: Callable[[], None]) -> None:
    """Any moment: a while after the first events."""
    begun = threading.Event()

    def wait() -> None:
        begun.wait()
        while True:
            time.sleep(0.05)
            die_if_due()

    threading.Thread(target=wait, daemon=True).start()
    before(Intake, "take")(begun.set)


MOMENTS: dict[str, Patch] = {
    "events read, not taken": before(Intake, "take"),
    "events arrived, not decoded": before(live, "decode"),
    "half of the Redis writes": half_written,
    "online written, offline not": before(Appender, "begin"),
    "about to write a Delta table": before(Appender, "write"),
    "one Delta table written, the next not": after(Appender, "write"),
    "archive about to be written": before(Archive, "write"),
    "events taken": after(Intake, "take"),
    "catalogue looked at": after(catalog_store, "learn"),
    "any time": some_time,
}


def run() -> int:
    """Run the stream until the moment comes."""
    moment, left = sys.argv[1], int(sys.argv[2])

    def die_if_due() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    MOMENTS[moment](die_if_due)
    return main(["stream"])


if __name__ == "__main__":
    sys.exit(run())
