"""What the offline tables tell: rates, delays and refused events of live traffic, from real Delta tables."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_repo.aggregates import Entity
from feature_repo.contract import LIST_VIEWED, ORDERED, VIEWED
from feature_repo.sections.watching import HealthSettings
from feature_repo.tables import CATALOG, EVENTS, QUARANTINE, Table
from ingestion.health.checks import Delay, Rate, Status, Violations, delay_checks, rate_checks, violation_checks
from ingestion.health.rates import TOO_YOUNG
from ingestion.health.tables import (
    LiveEvents,
    Span,
    first_change_after,
    has_rows,
    known_products,
    violations,
)

pytestmark = pytest.mark.usefixtures("warehouse")

TOPIC = "shelfwise.events"
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()
WINDOW = Span(NOON - 900, NOON)
WEEK = 7 * 86_400.0


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def event(at: float, delay: float = 1.0, **columns: Any) -> dict[str, Any]:
    """A live event that arrived at ``at``."""
    happened = moment(at - delay)
    given = {"event": VIEWED, "type": "track", "source": TOPIC, "partition": 0, "products": [{"product_id": "p"}]}
    return {**given, "timestamp": happened, "received_at": moment(at), "dt": happened.date(), **columns}


def store(table: Table, rows: Iterable[dict[str, Any]]) -> None:
    write_deltalake(table.uri, pa.Table.from_pylist(list(rows), schema=table.schema), mode="append")


def of_feed(event_name: str) -> Rate:
    rates, _ = LiveEvents().rates(WINDOW, TOPIC)
    (rate,) = [rate for rate in rates if rate.event == event_name]
    return rate


def every(seconds: float, span: Span, **columns: Any) -> list[dict[str, Any]]:
    """Events at an even pace."""
    return [event(span.first + n * seconds, **columns) for n in range(int((span.end - span.first) / seconds))]


def alarms(rate: Rate) -> bool:
    (check,) = rate_checks([rate], HealthSettings())
    return check.status is Status.ALARM


def test_a_feed_is_compared_with_the_same_hour_of_earlier_weeks() -> None:
    for week in (1, 2):
        middle = NOON - 450 - week * WEEK
        store(EVENTS, every(10.0, Span(middle - 1_800, middle + 1_800)))
        store(EVENTS, every(1.0, Span(middle + 3_600, middle + 3_700)))  # another hour
    store(EVENTS, every(10.0, WINDOW, event=ORDERED))
    assert of_feed(VIEWED) == Rate(TOPIC, VIEWED, 0.0, 6.0, "same hour of 2 earlier weeks")
    assert of_feed("all") == Rate(TOPIC, "all", 6.0, 6.0, "same hour of 2 earlier weeks")
    assert alarms(of_feed(VIEWED))
    assert not alarms(of_feed("all"))


def test_before_the_first_week_a_feed_is_compared_with_the_day() -> None:
    store(EVENTS, every(10.0, Span(WINDOW.first - 4 * 3_600, WINDOW.first)))
    assert of_feed(VIEWED) == Rate(TOPIC, VIEWED, 0.0, 6.0, "median of the last 4 hours")
    assert alarms(of_feed(VIEWED))


def test_a_new_installation_is_not_judged_yet() -> None:
    store(EVENTS, every(10.0, Span(WINDOW.first - 3_600, WINDOW.first)))
    assert of_feed("all") == Rate(TOPIC, "all", 0.0, None, TOO_YOUNG)
    assert not alarms(of_feed("all"))


def test_without_a_single_event_the_topic_is_listed() -> None:
    assert LiveEvents().rates(WINDOW, TOPIC) == ([Rate(TOPIC, "all", 0.0, None, TOO_YOUNG)], 0)


def test_bulk_history_is_no_live_traffic() -> None:
    middle = NOON - 450 - WEEK
    store(EVENTS, every(10.0, Span(middle - 1_800, middle + 1_800), partition=None))
    store(EVENTS, every(10.0, WINDOW, partition=None, delay=99_999.0))
    assert LiveEvents().rates(WINDOW, TOPIC) == ([Rate(TOPIC, "all", 0.0, None, TOO_YOUNG)], 0)
    assert LiveEvents().delays(WINDOW) == []


def test_replayed_old_events_are_traffic_by_their_arrival() -> None:
    store(EVENTS, every(10.0, WINDOW, delay=90 * 86_400.0))
    assert of_feed(VIEWED).per_minute == 6.0


def test_delays_by_source() -> None:
    store(EVENTS, every(10.0, WINDOW, delay=2.0))
    store(EVENTS, every(30.0, WINDOW, delay=2.0, source="app"))
    store(EVENTS, every(30.0, WINDOW, delay=7_200.0, source="app"))
    store(EVENTS, every(10.0, Span(WINDOW.end, WINDOW.end + 900), delay=50_000.0))  # not in the window
    app, topic = LiveEvents().delays(WINDOW)
    assert (app.source, app.events, app.p95) == ("app", 60, 7_200.0)
    assert topic == Delay(TOPIC, 90, 2.0, 2.0)
    statuses = [check.status for check in delay_checks([app, topic], HealthSettings())]
    assert statuses == [Status.ALARM, Status.OK]


def test_the_first_event_that_concerns_an_entity() -> None:
    live = LiveEvents()
    assert live.first_after(NOON, Entity.CUSTOMER) is None
    store(
        EVENTS,
        [
            event(NOON - 5),
            event(NOON + 1, event=None, type="page"),
            event(NOON + 2, event=LIST_VIEWED, products=[]),
            event(NOON + 3, event=LIST_VIEWED),
            event(NOON + 4),
            event(NOON + 5),
        ],
    )
    live = LiveEvents()
    assert live.first_after(NOON, Entity.ITEM) == NOON + 3
    assert live.first_after(NOON, Entity.EXPOSURE) == NOON + 3
    assert live.first_after(NOON, Entity.CUSTOMER) == NOON + 4
    assert live.first_after(NOON + 5, Entity.CUSTOMER) is None


def test_refused_events_by_reason_and_field() -> None:
    def refused(at: float, reason: str, field: str | None, partition: int | None = 0) -> dict[str, Any]:
        return {"reason": reason, "field": field, "partition": partition, "received_at": moment(at)}

    assert violations(WINDOW) == []
    store(QUARANTINE, [refused(NOON - 1, "wrong_type", "properties.price") for _ in range(12)])
    store(QUARANTINE, [refused(NOON - 1, "malformed_json", None), refused(NOON - 86_400, "wrong_type", "userId")])
    store(QUARANTINE, [refused(NOON - 1, "wrong_type", "userId", partition=None)])
    found = violations(WINDOW)
    assert found == [
        Violations("wrong_type", "properties.price", 12, 12),
        Violations("malformed_json", "", 1, 1),
        Violations("wrong_type", "userId", 0, 1),
    ]
    statuses = [check.status for check in violation_checks(found, 100, HealthSettings())]
    assert statuses == [Status.ALARM, Status.OK]


def test_the_catalogue() -> None:
    assert not has_rows(CATALOG)
    store(CATALOG, [{"product_id": p, "created": moment(NOON + n)} for n, p in enumerate("aab")])
    assert has_rows(CATALOG)
    assert known_products() == 2
    assert first_change_after(NOON, CATALOG) == NOON + 1
    assert first_change_after(NOON + 2, CATALOG) is None
