"""What is usual for a feed: its events per minute at the same hour of earlier weeks or, before there are any, today."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from ingestion.health.checks import Rate

ALL_EVENTS = "all"
WEEKS = 4
HOUR_MINUTES = 60.0
LEAST_HISTORY_MINUTES = 120.0
TOO_YOUNG = "less than 2 hours of live events to compare with"

Feed = tuple[str, str]


@dataclass(frozen=True)
class Count:
    """Events of a feed in one span of time; what a span is, the caller says."""

    span: int
    source: str
    event: str
    events: int


def with_totals(counts: Iterable[Count]) -> list[Count]:
    """The counts and, per span and source, their sum as event ``all``."""
    found = list(counts)
    totals: dict[tuple[int, str], int] = defaultdict(int)
    for count in found:
        totals[count.span, count.source] += count.events
    return [*found, *(Count(span, source, ALL_EVENTS, events) for (span, source), events in totals.items())]


@dataclass(frozen=True)
class Usual:
    """Events per minute by feed, and what they were taken from; without ``rates``, ``basis`` says why."""

    rates: dict[Feed, float] | None
    basis: str


def usual_of_weeks(counts: Iterable[Count]) -> Usual | None:
    """The mean over earlier weeks.

    Args:
        counts: of one hour each; the span is how many weeks ago. A week without any event does not count: nothing ran.

    Returns:
        None if there is no such week.
    """
    found = list(counts)
    weeks = {count.span for count in found}
    if not weeks:
        return None
    sums: dict[Feed, int] = defaultdict(int)
    for count in found:
        sums[count.source, count.event] += count.events
    rates = {feed: events / len(weeks) / HOUR_MINUTES for feed, events in sums.items()}
    return Usual(rates, "same hour last week" if len(weeks) == 1 else f"same hour of {len(weeks)} earlier weeks")


def usual_of_day(counts: Iterable[Count], windows: int, window_minutes: float) -> Usual:
    """The median over the windows before the present one, for an installation that is younger than a week.

    Args:
        counts: of one window each; the span is how many windows ago, from 1 to ``windows``.
        windows: how many there are since the first live event, at most 24 hours of them.
        window_minutes: their length.
    """
    if windows * window_minutes < LEAST_HISTORY_MINUTES:
        return Usual(None, TOO_YOUNG)
    seen: dict[Feed, list[int]] = defaultdict(list)
    for count in counts:
        if 1 <= count.span <= windows:
            seen[count.source, count.event].append(count.events)
    rates = {feed: median(events + [0] * (windows - len(events))) / window_minutes for feed, events in seen.items()}
    return Usual(rates, f"median of the last {windows * window_minutes / HOUR_MINUTES:.0f} hours")


def rates(present: Iterable[Count], usual: Usual, window_minutes: float, expected: Feed) -> list[Rate]:
    """Each feed's rate beside the usual one.

    Args:
        present: counts of the present window.
        usual: what to compare with.
        window_minutes: length of the window.
        expected: a feed that is listed even if nothing was ever seen of it.
    """
    now = {(count.source, count.event): count.events for count in present}
    known = usual.rates
    feeds = sorted({expected, *now, *(known or {})}, key=lambda feed: (feed[0], feed[1] != ALL_EVENTS, feed[1]))
    return [
        Rate(
            source,
            event,
            now.get((source, event), 0) / window_minutes,
            None if known is None else known.get((source, event), 0.0),
            usual.basis,
        )
        for source, event in feeds
    ]
