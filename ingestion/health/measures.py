"""Measuring the state of the installation: Kafka, Redis, the offline tables and the stream's own sign of life."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field

from feature_repo.aggregates import Entity, contributing_events
from feature_repo.errors import InputError, UnavailableError
from feature_repo.online.redis_client import REDIS_ERRORS, connect, note_keys
from feature_repo.settings import get_settings
from feature_repo.tables import ACTIVITY, ALL_TABLES, EVENTS
from ingestion import offsets
from ingestion.crm.state import CHANGES_KEPT_SECONDS, all_states
from ingestion.health.checks import (
    ApiPull,
    Lag,
    Measures,
    OnlineKeys,
    PartitionTraffic,
    StreamState,
    View,
    all_checks,
)
from ingestion.health.kafka import Backlog, EventsTopic, open_events_topic
from ingestion.health.services import model, services
from ingestion.health.status import Check
from ingestion.health.tables import (
    LiveEvents,
    Span,
    first_change_after,
    has_rows,
    known_products,
    violations,
)
from ingestion.locks import pause_wanted

_CLOCK_TOLERANCE = 5.0  # seconds that the clocks of Kafka and of this machine may differ
_ACTIVITY_VIEWS = {table.view: entity for entity, table in ACTIVITY.items()}
_FOLLOWING_KAFKA = (*ACTIVITY.values(), EVENTS)

Backlogs = dict[str, dict[int, Backlog]]
Evaluation = tuple[Measures, list[Check]]


@dataclass(frozen=True)
class _Topic:
    """What Kafka told: the messages of the window by partition, and the backlog by table and partition."""

    arrived: dict[int, int] = field(default_factory=dict)
    backlogs: Backlogs = field(default_factory=dict)


@dataclass(frozen=True)
class _Online:
    """What Redis told: the time of each view's last push, in seconds since 1970, and how many keys there are."""

    pushed: dict[str, float]
    keys: int


def evaluate() -> Evaluation:
    """Measure and judge: what the command, the page and the metrics all show."""
    measures = measure()
    return measures, all_checks(measures, get_settings().health)


def measure() -> Measures:
    """Everything that is judged, as it is now; a server that does not answer is noted, not raised."""
    now, limits = time.time(), get_settings().health
    unreachable: dict[str, str] = {}
    topic, online = _Topic(), None
    try:
        with open_events_topic() as events_topic:
            topic = _ask_kafka(events_topic, now - limits.window_minutes * 60)
    except UnavailableError as error:
        unreachable["kafka"] = str(error)
    try:
        online = _ask_redis()
    except UnavailableError as error:
        unreachable["redis"] = str(error)
    live = LiveEvents()
    end = _archived_until(topic.backlogs, now)
    window = Span(end - limits.window_minutes * 60, end)
    rates, accepted = live.rates(window, get_settings().kafka.events_topic)
    return Measures(
        at=now,
        stream=_stream_state(),
        unreachable=unreachable,
        lags=_lags(topic.backlogs, now),
        partitions=[PartitionTraffic(partition, messages) for partition, messages in topic.arrived.items()],
        delays=live.delays(window),
        views=_views(online, live, topic.backlogs, now) if online else (),
        online_keys=OnlineKeys(online.keys, known_products()) if online else None,
        rates=rates,
        violations=violations(window),
        pulls=_pulls(now),
        accepted=accepted,
        services=services(),
        model=model(),
    )


def _pulls(now: float) -> list[ApiPull]:
    try:
        states = all_states()
    except InputError as error:
        return [ApiPull("?", None, str(error))]
    return [
        ApiPull(
            f"{name}/{kind}",
            now - of.succeeded_at.timestamp() if of.succeeded_at else None,
            of.failure,
            [
                str(change)
                for at, change in of.changes
                if change.worrying and now - at.timestamp() < CHANGES_KEPT_SECONDS
            ],
        )
        for name, state in states.items()
        for kind, of in state.resources.items()
    ]


def _stream_state() -> StreamState:
    if (get_settings().home / "run" / "stream.ready").exists():
        return StreamState.RUNNING
    return StreamState.PAUSED if pause_wanted() else StreamState.DOWN


def _ask_kafka(topic: EventsTopic, since: float) -> _Topic:
    return _Topic(
        topic.arrived_since(since),
        {table.name: topic.backlog(offsets.covered(table)) for table in _FOLLOWING_KAFKA},
    )


def _ask_redis() -> _Online:
    redis = get_settings().redis
    try:
        with closing(connect(redis, redis.timeout_seconds)) as client:
            # A view that one node of a cluster has no note of is not whole.
            first, *others = [client.hgetall(note) for note in note_keys(redis.cluster)]
            pushed = {
                view.decode(): min(int(note[view]) for note in (first, *others)) / 1000
                for view in first
                if all(view in note for note in others)
            }
            return _Online(pushed, client.dbsize())
    except REDIS_ERRORS as error:
        raise UnavailableError(
            f"Redis does not answer at {redis.address}: `make up` starts it; logs/redis.log says why it ended ({error})"
        ) from error


def _archived_until(backlogs: Backlogs, now: float) -> float:
    """Up to when the events table has everything: what is still on its way there is no sign of a quiet feed."""
    waiting = [backlog.first[0].at for backlog in backlogs.get(EVENTS.name, {}).values() if backlog.first]
    return min([now, *waiting])


def _lags(backlogs: Backlogs, now: float) -> list[Lag]:
    return [
        Lag(table, partition, backlog.messages, max(0.0, now - backlog.first[0].at) if backlog.first else 0.0)
        for table, partitions in backlogs.items()
        for partition, backlog in partitions.items()
    ]


def _views(online: _Online, live: LiveEvents, backlogs: Backlogs, now: float) -> list[View]:
    views = []
    for table in (table for table in ALL_TABLES if table.view):
        name = table.view
        pushed = online.pushed.get(name)
        rows_offline = has_rows(table)
        if pushed is None:
            views.append(View(name, rows_offline, None, 0.0))
            continue
        shown_until = pushed + _CLOCK_TOLERANCE
        if name in _ACTIVITY_VIEWS:
            entity = _ACTIVITY_VIEWS[name]
            waiting = _first_waiting(backlogs.get(table.name, {}).values(), entity, shown_until)
            missed = [live.first_after(shown_until, entity), waiting]
        else:
            missed = [first_change_after(shown_until, table) if rows_offline else None]
        first = min((at for at in missed if at is not None), default=now)
        views.append(View(name, rows_offline, max(0.0, now - pushed), max(0.0, now - first)))
    return views


def _first_waiting(partitions: Iterable[Backlog], entity: Entity, after: float) -> float | None:
    """When the first message arrived that waits in Kafka and concerns ``entity``."""
    names = contributing_events(entity)
    return min(
        (
            message.at
            for backlog in partitions
            for message in backlog.first
            if message.at > after and message.event in names and message.products
        ),
        default=None,
    )
