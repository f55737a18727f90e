"""Comparing what ledger, tables and Kafka say, as of one place in Kafka."""

from __future__ import annotations

import time
from collections.abc import Mapping

from deltalake import DeltaTable
from rich.console import Console

from feature_repo.tables import EVENTS, LEDGER, QUARANTINE
from ingestion import offsets
from ingestion.offsets import Offsets
from ingestion.reconciliation.checks import compare
from ingestion.reconciliation.report import Check, Reconciliation

_POLL_SECONDS = 1.0
# The stream commits the three tables one after the other: that long they may differ without anything being wrong.
_SETTLE_SECONDS = 15.0
_SETTLE_POLL_SECONDS = 0.2


def reconcile(wait_seconds: float | None = None) -> Reconciliation:
    """Compare what the tables and Kafka say.

    Args:
        wait_seconds: how long to wait for the tables to cover what Kafka holds now, which is then demanded.

    Raises:
        UnavailableError: Kafka does not answer.
    """
    first, wanted = offsets.in_kafka()
    if wait_seconds is not None:
        _wait(first, wanted, wait_seconds)
    stored = _settled()
    places = {name: offsets.covered_by(table) for name, table in stored.items()}
    _, following = offsets.in_kafka()
    accounts, checks = compare(stored, places, first, following)
    if wait_seconds is not None:
        late = _waiting(places, first, wanted)
        failure = (
            f"messages in Kafka were not stored within {wait_seconds:g} s; `make status` shows whether the stream runs"
        )
        checks.append(Check("messages waiting in Kafka", "all tables", 0, late, failure))
    return Reconciliation(tuple(accounts), tuple(checks), _waiting(places, first, following))


def _tables() -> dict[str, DeltaTable]:
    for table in (EVENTS, QUARANTINE, LEDGER):
        table.create_if_missing()
    return {table.name: DeltaTable(table.uri) for table in (EVENTS, QUARANTINE, LEDGER)}


def _settled() -> dict[str, DeltaTable]:
    """The tables as of one place in Kafka; if they do not come to one within some seconds, as they are."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        stored = _tables()
        places = [offsets.covered_by(table) for table in stored.values()]
        if all(place == places[0] for place in places) or time.monotonic() > deadline:
            return stored
        time.sleep(_SETTLE_POLL_SECONDS)


def _wait(first: Offsets, wanted: Offsets, seconds: float) -> None:
    """Until all tables cover what lies before ``wanted``, or ``seconds`` are over."""
    deadline = time.monotonic() + seconds
    with Console(stderr=True).status("") as status:
        while True:
            left = _waiting({name: offsets.covered_by(table) for name, table in _tables().items()}, first, wanted)
            if left == 0 or time.monotonic() > deadline:
                return
            status.update(f"{left:,} messages in Kafka are not stored yet")
            time.sleep(_POLL_SECONDS)


def _waiting(places: Mapping[str, Offsets], first: Offsets, following: Offsets) -> int:
    """How many messages before ``following`` the table that reaches least does not cover."""
    return max(
        sum(max(0, end - max(place.get(p, 0), first.get(p, 0))) for p, end in following.items())
        for place in places.values()
    )
