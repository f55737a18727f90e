"""The three tasks: which questions are asked of a recommender, and what would have been right.

- ``next``: for each session that starts after the cut, and each prefix of its sequence of products, what comes next? It is
  asked right after the prefix's last event, when the page with that product is shown: what the customer is shown on his way
  to the next product would give it away.
- ``purchase``: for each such session with an order, just before its first product went into the cart: what is ordered?
- ``rerank``: for each list of five products or more, seen after the cut, that led to a click: which are clicked?

A session's sequence is what was clicked, viewed or put into the cart in it, consecutive repeats counted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.reading import Floats
from training.evaluation.log import CHECKED_OUT, ITEM_ACTIONS, SHOWN, Clock, Lines, Log
from training.evaluation.ragged import Ragged

SHORTEST_LIST = 5
# The contract's times are in milliseconds.
_RIGHT_AFTER = 0.001


class Task(StrEnum):
    """What is asked."""

    NEXT = "next"
    PURCHASE = "purchase"
    RERANK = "rerank"


@dataclass(frozen=True)
class Queries:
    """Questions of one task, in order of their moments.

    Attributes:
        task: which one.
        moments: when each is asked, epoch seconds: what happens at that moment is not known yet.
        customers, sessions: who asks, and in which session.
        prefixes: the session's sequence so far, oldest first.
        wanted: the right answers, distinct.
        listed: for ``rerank``, the distinct products of the list in their original order; else empty.
    """

    task: Task
    moments: Floats
    customers: Codes
    sessions: Codes
    prefixes: Ragged
    wanted: Ragged
    listed: Ragged

    def __len__(self) -> int:
        return len(self.moments)

    def take(self, numbers: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Queries:
        """The chosen questions."""
        return Queries(
            self.task,
            self.moments[numbers],
            self.customers[numbers],
            self.sessions[numbers],
            self.prefixes.take(numbers),
            self.wanted.take(numbers),
            self.listed.take(numbers),
        )

    @property
    def last(self) -> Codes:
        """The last product of each prefix, which is no candidate in ``next``; :data:`UNKNOWN` for an empty one."""
        some = self.prefixes.lengths > 0
        last = np.full(len(self), UNKNOWN, dtype=np.int32)
        last[some] = self.prefixes.values[self.prefixes.stops[some] - 1]
        return last


def queries_of(task: Task, log: Log, cut: float) -> Queries:
    """All queries of a task after a moment (epoch seconds)."""
    make = {Task.NEXT: _next_queries, Task.PURCHASE: _purchase_queries, Task.RERANK: _rerank_queries}
    found = make[task](log, cut)
    return found.take(np.argsort(found.moments, kind="stable"))


@dataclass(frozen=True)
class _Sequences:
    """The sequences of all sessions, one after the other, with their keys of the clock.

    ``previous`` is the time of the session's last event before each line, also if that was a repeat.
    """

    lines: Lines
    previous: Floats
    keys: NDArray[np.int64]
    clock: Clock

    @classmethod
    def of(cls, log: Log) -> _Sequences:
        lines = log.lines.of(ITEM_ACTIONS)
        lines = lines.take(np.argsort(lines.sessions, kind="stable"))
        new = np.ones(len(lines), dtype=bool)
        new[1:] = (lines.sessions[1:] != lines.sessions[:-1]) | (lines.items[1:] != lines.items[:-1])
        previous = np.concatenate([lines.times[:1], lines.times[:-1]])[new]
        lines = lines.take(new)
        return cls(lines, previous, log.clock.keys(lines.sessions, lines.times), log.clock)

    def starts(self, sessions: Codes) -> NDArray[np.int64]:
        return np.searchsorted(self.lines.sessions, sessions).astype(np.int64)

    def before(self, sessions: Codes, moments: Floats) -> Ragged:
        """The sequence of each session strictly before a moment."""
        stops = np.searchsorted(self.keys, self.clock.keys(sessions, moments)).astype(np.int64)
        return Ragged(self.lines.items, self.starts(sessions), stops)


def _next_queries(log: Log, cut: float) -> Queries:
    sequences = _Sequences.of(log)
    lines = sequences.lines
    starts = sequences.starts(lines.sessions)
    rows = np.arange(len(lines))
    asked = np.flatnonzero((starts < rows) & (log.starts[lines.sessions] >= cut))
    return Queries(
        Task.NEXT,
        np.minimum(sequences.previous[asked] + _RIGHT_AFTER, lines.times[asked]),
        lines.customers[asked],
        lines.sessions[asked],
        Ragged(lines.items, starts[asked], asked),
        Ragged(lines.items, asked, asked + 1),
        _no_lists(len(asked)),
    )


def _purchase_queries(log: Log, cut: float) -> Queries:
    ordered = log.lines.of([Action.ORDERED])
    ordered = ordered.take(log.starts[ordered.sessions] >= cut)
    sessions, first = np.unique(ordered.sessions, return_index=True)
    order = _first_times(ordered, log)
    moments = order[sessions]
    # What is put into the cart after an order belongs to the next one: asked then, the order would be known.
    for kind in (CHECKED_OUT, Action.ADDED):
        times = _first_times(log.lines.of([kind]), log)[sessions]
        moments = np.where(times <= order[sessions], times, moments)
    pairs = np.unique(np.column_stack([ordered.sessions, ordered.items]), axis=0)
    starts, stops = (np.searchsorted(pairs[:, 0], sessions, side=side).astype(np.int64) for side in ("left", "right"))
    return Queries(
        Task.PURCHASE,
        moments,
        ordered.customers[first],
        sessions,
        _Sequences.of(log).before(sessions, moments),
        Ragged(pairs[:, 1], starts, stops),
        _no_lists(len(sessions)),
    )


def _rerank_queries(log: Log, cut: float) -> Queries:
    shown, clicks = log.lines.of([SHOWN]), log.lines.of([Action.CLICKED])
    # A session's lists of one moment are one page; a click is on the latest page before it.
    pages = np.unique(log.clock.keys(shown.sessions, shown.times))
    page_of = np.searchsorted(pages, log.clock.keys(shown.sessions, shown.times))
    latest = np.searchsorted(pages, log.clock.keys(clicks.sessions, clicks.times)) - 1
    size = len(log.ids)
    session_of = np.zeros(len(pages), dtype=np.int64)
    session_of[page_of] = shown.sessions
    on_page = (latest >= 0) & (session_of[latest] == clicks.sessions) if len(pages) else np.zeros(0, dtype=bool)
    clicked = np.isin(page_of * size + shown.items, (latest * size + clicks.items)[on_page])

    # A product that a list shows twice counts where it is shown first.
    _, firsts = np.unique(shown.events * size + shown.items, return_index=True)
    firsts = firsts[shown.times[firsts] >= cut]
    firsts.sort()
    shown, clicked = shown.take(firsts), clicked[firsts]
    events, begin, lengths = np.unique(shown.events, return_index=True, return_counts=True)
    with_click = np.add.reduceat(clicked, begin) > 0 if len(events) else np.zeros(0, dtype=bool)
    chosen = np.flatnonzero((lengths >= SHORTEST_LIST) & with_click)
    starts = begin[chosen].astype(np.int64)
    listed = Ragged(shown.items, starts, starts + lengths[chosen])
    clicks_before = np.concatenate([[0], np.cumsum(clicked)]).astype(np.int64)
    wanted = Ragged(shown.items[clicked], clicks_before[listed.starts], clicks_before[listed.stops])
    moments, sessions = shown.times[starts], shown.sessions[starts]
    prefixes = _Sequences.of(log).before(sessions, moments)
    return Queries(Task.RERANK, moments, shown.customers[starts], sessions, prefixes, wanted, listed)


def _first_times(lines: Lines, log: Log) -> Floats:
    """Time of each session's first of some lines; infinity where it has none."""
    times = np.full(len(log.starts), np.inf)
    np.minimum.at(times, lines.sessions, lines.times)
    return times


def _no_lists(count: int) -> Ragged:
    nowhere = np.zeros(count, dtype=np.int64)
    return Ragged(np.empty(0, dtype=np.int32), nowhere, nowhere)
