"""Each alarm, and what looks like it but is none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from feature_repo.sections.watching import HealthSettings
from ingestion.health import checks
from ingestion.health.checks import (
    Check,
    Delay,
    Lag,
    Measures,
    OnlineKeys,
    PartitionTraffic,
    Rate,
    Status,
    StreamState,
    View,
    Violations,
)

LIMITS = HealthSettings()
OK, ALARM, NOT_JUDGED = Status.OK, Status.ALARM, Status.NOT_JUDGED


def only(found: Sequence[Check]) -> Check:
    """The one check; an alarm says what to do, anything else does not."""
    (check,) = found
    assert bool(check.advice) == (check.status is ALARM)
    return check


@pytest.mark.parametrize(
    ("state", "status"),
    [(StreamState.RUNNING, OK), (StreamState.PAUSED, NOT_JUDGED), (StreamState.DOWN, ALARM)],
)
def test_the_stream_must_run(state: StreamState, status: Status) -> None:
    check = only([checks.stream_check(state)])
    assert check.status is status
    assert ("stream is not running" in check.advice and "make up" in check.advice) == (status is ALARM)


def test_a_server_that_does_not_answer() -> None:
    check = only(list(checks.unreachable_checks({"redis": "start it"})))
    assert (check.status, check.subject, check.advice) == (ALARM, "redis", "start it")


@pytest.mark.parametrize(
    ("messages", "seconds", "status"),
    [
        (1_001, 121.0, ALARM),
        (1_001, 60.0, OK),  # a burst that is being worked off
        (1_000, 9_999.0, OK),
        (0, 0.0, OK),
    ],
)
def test_lag_is_many_messages_for_a_long_time(messages: int, seconds: float, status: Status) -> None:
    check = only(list(checks.lag_checks([Lag("events", 3, messages, seconds)], LIMITS)))
    assert (check.status, check.subject, check.value) == (status, "events/3", messages)


@pytest.mark.parametrize(
    ("messages", "statuses"),
    [
        ([0, 60, 60], [ALARM, OK, OK]),
        ([1, 60, 60], [OK, OK, OK]),
        ([0, 49, 50], [NOT_JUDGED, OK, OK]),  # too little traffic to tell
        ([0, 0, 0], [NOT_JUDGED, NOT_JUDGED, NOT_JUDGED]),
        ([0], [NOT_JUDGED]),
    ],
)
def test_a_quiet_partition_among_busy_ones(messages: list[int], statuses: list[Status]) -> None:
    traffic = [PartitionTraffic(partition, n) for partition, n in enumerate(messages)]
    found = list(checks.partition_checks(traffic, LIMITS))
    assert [check.status for check in found] == statuses
    assert [bool(check.advice) for check in found] == [status is ALARM for status in statuses]


@pytest.mark.parametrize(
    ("events", "p95", "status"), [(20, 3_601.0, ALARM), (20, 3_600.0, OK), (19, 99_999.0, NOT_JUDGED)]
)
def test_events_that_arrive_late(events: int, p95: float, status: Status) -> None:
    check = only(list(checks.delay_checks([Delay("app", events, 1.0, p95)], LIMITS)))
    assert (check.status, check.subject, check.value) == (status, "app", p95)


@pytest.mark.parametrize(
    ("rows_offline", "age", "behind", "status"),
    [
        (True, 100.0, 61.0, ALARM),
        (True, 100.0, 60.0, OK),
        (True, 30_000.0, 0.0, OK),  # a quiet night
        (True, None, 0.0, ALARM),
        (False, None, 0.0, NOT_JUDGED),  # nothing has happened yet
    ],
)
def test_views_that_do_not_show_what_arrived(
    rows_offline: bool, age: float | None, behind: float, status: Status
) -> None:
    check = only(list(checks.view_checks([View("item_activity", rows_offline, age, behind)], LIMITS)))
    assert check.status is status
    assert ("rebuild-online" in check.advice) == (status is ALARM and age is None)


@pytest.mark.parametrize(("present", "status"), [(89, ALARM), (90, OK), (5_000, OK)])
def test_an_online_store_with_fewer_keys_than_products(present: int, status: Status) -> None:
    check = only(list(checks.online_key_checks(OnlineKeys(present, products=100))))
    assert check.status is status
    assert ("rebuild-online" in check.advice) == (status is ALARM)


def test_an_online_store_of_an_empty_shop() -> None:
    assert only(list(checks.online_key_checks(OnlineKeys(0, products=0)))).status is OK


@pytest.mark.parametrize(
    ("per_minute", "usual", "status"),
    [
        (2.9, 10.0, ALARM),
        (0.0, 2.0, ALARM),  # 30 events per window
        (3.0, 10.0, OK),
        (50.0, 10.0, OK),
        (0.0, 1.9, NOT_JUDGED),
        (0.0, None, NOT_JUDGED),
    ],
)
def test_a_feed_that_went_quiet(per_minute: float, usual: float | None, status: Status) -> None:
    check = only(list(checks.rate_checks([Rate("topic", "Product Viewed", per_minute, usual, "basis")], LIMITS)))
    assert (check.status, check.subject) == (status, "topic: Product Viewed")
    assert "basis" in check.detail


@pytest.mark.parametrize(
    ("recent", "accepted", "status"),
    [
        (11, 1_000, ALARM),
        (10, 990, OK),  # 1 % exactly
        (9, 0, OK),  # too few to matter
    ],
)
def test_refused_events(recent: int, accepted: int, status: Status) -> None:
    violations = [Violations("wrong_type", "properties.price", recent, 500), Violations("too_long", "name", 0, 7)]
    check = only(list(checks.violation_checks(violations, accepted, LIMITS)))
    assert (check.status, check.subject) == (status, "wrong_type properties.price")


def test_all_checks_together() -> None:
    measures = Measures(
        at=0.0,
        stream=StreamState.RUNNING,
        unreachable={"kafka": "start it"},
        lags=[Lag("events", 0, 0, 0.0)],
        partitions=[PartitionTraffic(0, 5)],
        delays=[Delay("topic", 100, 0.1, 0.2)],
        views=[View("item_activity", True, 1.0, 0.0)],
        online_keys=OnlineKeys(10, 10),
        rates=[Rate("topic", "all", 10.0, 10.0, "basis")],
        violations=[Violations("too_long", "name", 1, 1)],
        accepted=150,
    )
    found = checks.all_checks(measures, LIMITS)
    assert [check.name for check in found] == [
        "stream",
        "server",
        "lag",
        "partition",
        "event delay",
        "freshness",
        "online store",
        "events",
        "schema",
    ]
    assert [check.name for check in found if check.status is ALARM] == ["server"]
