"""A pull of one resource: what has changed since the last, page by page, into Kafka, and then a note of how far that is."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from feature_repo.errors import InputError, ShelfwiseError
from ingestion.crm.config import PullConfig
from ingestion.crm.delivery import Delivered, Delivery
from ingestion.crm.drift import Shape, used_paths
from ingestion.crm.mapping import at, event_of, moment, wanted
from ingestion.crm.state import CHANGES_KEPT_SECONDS, Change, PullState, ResourceState

if TYPE_CHECKING:
    from ingestion.crm.api import Api
    from ingestion.stopping import StopRequest

_REPORT_SECONDS = 10.0
# Paginators that count where a page begins.
_BY_PLACE = ("cursor", "offset", "page_number")


@dataclass(frozen=True)
class Ends:
    """What a pull stands between.

    Attributes:
        config: what to pull.
        state: how far that was pulled; kept up to date, here and on disk.
        api: where it comes from.
        delivery: where it goes.
        stop: ends it after the page at hand.
    """

    config: PullConfig
    state: PullState
    api: Api
    delivery: Delivery
    stop: StopRequest


@dataclass
class Pulled:
    """What a pull did.

    Attributes:
        records: how many the API gave.
        skipped: how many the configuration does not want.
        delivered: what became of the others.
        changes: fields that are not what they were.
        finished: whether it came to the end.
    """

    records: int = 0
    skipped: int = 0
    delivered: Delivered = field(default_factory=Delivered)
    changes: list[Change] = field(default_factory=list)
    finished: bool = False


def pull(ends: Ends, name: str) -> Pulled:
    """Pull a resource.

    Raises:
        ShelfwiseError: it cannot be pulled to the end. What Kafka has acknowledged is remembered.
    """
    state = ends.state.resources.setdefault(name, ResourceState())
    try:
        done = _Pull(ends, name, state).run()
    except Exception as error:
        state.failure = str(error) if isinstance(error, ShelfwiseError) else f"{type(error).__name__}: {error}"
        ends.state.save(ends.config.name)
        raise
    if done.finished:
        state.failure, state.succeeded_at = "", datetime.now(UTC)
        ends.state.save(ends.config.name)
    return done


class _Pull:
    def __init__(self, ends: Ends, name: str, state: ResourceState) -> None:
        self._ends, self._name, self._state = ends, name, state
        self._resource = ends.config.resources[name]
        self._lag = timedelta(seconds=self._resource.incremental.lag_seconds)
        self._cursor = state.cursor
        # A record dated in the future must not hide those that come until then.
        self._now = datetime.now(UTC)
        self._newest: datetime | None = None
        self._ascending = self._resource.incremental.ascending
        self._by_place = self._resource.paginator.get("type") in _BY_PLACE
        self._shape = Shape()
        self._done = Pulled()
        self._told = time.monotonic()

    def run(self) -> Pulled:
        first = self._resource.incremental.initial_value
        since: datetime | None = max(first, self._cursor - self._lag) if self._cursor else first
        while since is not None:
            since = self._query(since)
        if self._ends.stop:
            return self._done
        if self._done.records and not self._newest:
            path = self._resource.incremental.cursor_path
            raise InputError(
                f"{self._name}: no record says at {path} when it changed, so that everything would be read each time: see "
                "that cursor_path is right, and that there are times there (ISO 8601, or seconds since 1970)"
            )
        self._remember(self._reached())
        self._done.changes = self._shape.against(self._state.fields, used_paths(self._resource))
        self._state.fields = self._shape.merged(self._state.fields)
        recent = [
            (when, change)
            for when, change in self._state.changes
            if (self._now - when).total_seconds() < CHANGES_KEPT_SECONDS
        ]
        self._state.changes = recent + [(self._now, change) for change in self._done.changes]
        self._done.finished = True
        return self._done

    def _query(self, since: datetime) -> datetime | None:
        """Ask once; returns from when on to ask again, if the API does not give all at once."""
        results, most = 0, self._resource.most_results
        for records in self._ends.api.pages(self._resource, since):
            self._take(records)
            results += len(records)
            if self._ends.stop:
                break
            if self._by_place and self._ascending and self._newest and self._newest > since:
                # A record that changes now goes to the end, all behind it move up, and the next page would begin too late.
                return self._newest
            if most and results >= most:
                if not self._ascending:
                    raise InputError(
                        f"{self._name}: the API gives {most:,} records of a query (most_results) and not in order of "
                        f"{self._resource.incremental.cursor_path}: see that params or json ask for that order"
                    )
                if not self._newest or self._newest <= since:
                    raise InputError(
                        f"{self._name}: more than {most:,} records have changed at {since.isoformat()}, and the API does "
                        "not give more of one moment (most_results)"
                    )
                return self._newest
        return None

    def _take(self, records: list[Any]) -> None:
        """A page: into Kafka, then note how far that is, unless older records may follow."""
        events = []
        for record in records:
            self._follow(record)
            if wanted(record, self._resource):
                events.append(event_of(self._ends.config.name, self._name, record, self._resource))
        self._done.records += len(records)
        self._done.skipped += len(records) - len(events)
        if events:
            self._done.delivered += self._ends.delivery.deliver(events)
        if self._ascending:
            self._remember(self._reached())
        self._tell()

    def _follow(self, record: Any) -> None:
        changed = moment(at(record, self._resource.incremental.cursor_path))
        # What is read a second time looks as it did, and would hide what has become of the rest.
        if not changed or not self._cursor or changed > self._cursor:
            self._shape.add(record)
        if changed is None:
            return
        changed = min(changed, self._now)
        if self._ascending and self._newest and changed < self._newest - self._lag:
            self._ascending = False
            self._remember(self._cursor)
            print(
                f"{self._name}: the API does not give the records in order of {self._resource.incremental.cursor_path}; "
                "until this pull has ended, one that is killed begins again (ascending = false says so beforehand)",
                file=sys.stderr,
                flush=True,
            )
        self._newest = max(self._newest, changed) if self._newest else changed

    def _reached(self) -> datetime | None:
        return max((moment for moment in (self._cursor, self._newest) if moment), default=None)

    def _remember(self, cursor: datetime | None) -> None:
        if cursor != self._state.cursor:
            self._state.cursor = cursor
            self._ends.state.save(self._ends.config.name)

    def _tell(self) -> None:
        if time.monotonic() - self._told > _REPORT_SECONDS:
            self._told = time.monotonic()
            upto = f", up to {self._newest:%Y-%m-%d %H:%M:%S} UTC" if self._newest else ""
            print(f"{self._name}: {self._done.records:,} records so far{upto}", file=sys.stderr, flush=True)
