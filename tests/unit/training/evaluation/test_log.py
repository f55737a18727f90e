"""Reading the archive: sessions, products and customers of a few stored events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from few_events import START, event, store

from feature_repo.aggregates import Action
from feature_repo.contract import CHECKOUT, CLICKED, LIST_VIEWED, ORDERED, VIEWED
from feature_repo.ranking.shelf import UNKNOWN
from training.data.events import EventLog, Window
from training.evaluation.log import CHECKED_OUT, SHOWN, Log, read_log


def stored(events: list[dict[str, Any]], catalog: dict[str, tuple[float, str | None]]) -> Log:
    store(events, catalog)
    with EventLog(Window()) as archive:
        return read_log(archive)


@pytest.mark.usefixtures("warehouse")
def test_every_product_of_an_event_is_a_line_in_order_of_time() -> None:
    log = stored(
        [
            event(2, "b", "s2", ORDERED, "pan", "cup"),
            event(0, "a", "s1", LIST_VIEWED, "pan", "cup", "pot"),
            event(1, "a", "s1", CLICKED, "cup"),
            event(3, "b", "s2", CHECKOUT, "pan"),
            event(4, None, "s3", VIEWED, "cup"),
        ],
        {"pot": (0, None), "cup": (-5, "Kitchen"), "lid": (9, "Kitchen")},
    )
    ids = log.ids
    assert ids == ("cup", "lid", "pan", "pot")
    lines = log.lines
    assert [ids[item] if item != UNKNOWN else None for item in lines.items] == [
        "pan",
        "cup",
        "pot",
        "cup",
        "pan",
        "cup",
        None,
    ]
    assert lines.kinds.tolist() == [SHOWN, SHOWN, SHOWN, Action.CLICKED, Action.ORDERED, Action.ORDERED, CHECKED_OUT]
    assert ((lines.times - START.timestamp()) / 60).tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert lines.events.tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert log.customer_ids[lines.customers].tolist() == ["a"] * 4 + ["b"] * 3
    assert ((log.since - START.timestamp()) / 60).tolist() == [-5, 9, 0, 0], "in the catalogue or in an event"
    assert log.categories.tolist() == ["Kitchen", "Kitchen", None, None]


@pytest.mark.usefixtures("warehouse")
def test_sessions_are_those_of_the_tracker_or_end_after_half_an_hour_of_idleness() -> None:
    log = stored(
        [
            event(0, "a", "s", VIEWED, "cup", device="mobile"),
            event(1, "b", "s", VIEWED, "cup"),
            event(2, "c", None, VIEWED, "cup", device="desktop"),
            event(3, "c", "t", VIEWED, "pan"),
            event(32, "c", None, VIEWED, "pan", device="tablet"),
            event(50, "c", "", "Cart Viewed"),
            event(62.1, "c", None, VIEWED, "pot"),
            event(92.2, "c", None, VIEWED, "pot"),
            event(95, "a", "s", VIEWED, "pot"),
        ],
        {},
    )
    minutes = ((log.lines.times - START.timestamp()) / 60).round(1)
    sessions = {number: minutes[log.lines.sessions == number].tolist() for number in np.unique(log.lines.sessions)}
    assert sorted(sessions.values()) == [[0, 95], [1], [2, 32, 62.1], [3], [92.2]]
    starts = ((log.starts - START.timestamp()) / 60).round(1)
    assert {number: starts[number] for number in sessions} == {number: times[0] for number, times in sessions.items()}
    devices = {sessions[number][0]: log.devices[number] for number in sessions}
    assert devices == {0: "mobile", 1: None, 2: "desktop", 3: None, 92.2: None}
