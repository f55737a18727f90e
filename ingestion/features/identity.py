"""Who an id is: ``identify`` ties a tracker's anonymous id to a customer, ``alias`` an earlier id to a later one.

The rule. A tie says that from its time on, what happens under the id is the customer's. What happened under the id before
its first tie is that first customer's, too. So an id that one customer uses is that customer's altogether; on a shared
device each stretch of time belongs to whoever signed in last, and no event to two of them. Customers may be tied on in
turn, which gives a chain of ids: an event counts for every id on its chain. All this follows from the set of ties alone,
so that it does not matter in which order they and the events arrive.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

TIE_TYPES = ("identify", "alias")


@dataclass(frozen=True)
class Tie:
    """``source`` has been ``customer`` since ``ms``, epoch milliseconds."""

    source: str
    ms: int
    customer: str


def tying(events: pa.Table) -> pa.Table:
    """The rows of the events table that may make ties."""
    return events.filter(pc.is_in(events["type"], value_set=pa.array(TIE_TYPES)))


def ties_in(events: pa.Table) -> list[Tie]:
    """The ties that rows of the events table make."""
    names = ["type", "user_id", "anonymous_id", "previous_id", "timestamp"]
    ties = []
    for row in tying(events).select(names).to_pylist():
        source = row["anonymous_id"] if row["type"] == "identify" else (row["previous_id"] or "").strip()
        if source and row["user_id"] and source != row["user_id"]:
            ties.append(Tie(source, round(row["timestamp"].timestamp() * 1000), row["user_id"]))
    return ties


class Identities:
    """All ties known."""

    def __init__(self, ties: Iterable[Tie] = ()) -> None:
        self._ties: dict[str, list[tuple[int, str]]] = {}
        self._sources: dict[str, set[str]] = {}
        for tie in ties:
            self.add(tie)

    def add(self, tie: Tie) -> bool:
        """Take in a tie; whether it was new."""
        known = self._ties.setdefault(tie.source, [])
        if (tie.ms, tie.customer) in known:
            return False
        insort(known, (tie.ms, tie.customer))
        self._sources.setdefault(tie.customer, set()).add(tie.source)
        return True

    def tied(self, key: str) -> bool:
        """Whether anything has been said of ``key``."""
        return key in self._ties

    def moments(self, key: str) -> list[int]:
        """When it may change whom an event of ``key`` counts for, epoch milliseconds, in order."""
        ties = (self._ties.get(one, ()) for one in {key, *self.customers(key)})
        return sorted({ms for of in ties for ms, _ in of})

    def chain(self, key: str, ms: int) -> list[tuple[str, int]]:
        """The ids that an event of ``key`` at ``ms`` counts for.

        Returns:
            Each id with the time from which on the event counts for it: that of the event, or that of the first tie
            which claims what happened before it.
        """
        chain, passed, since = [(key, ms)], {key}, ms
        while ties := self._ties.get(chain[-1][0]):
            latest = bisect_right(ties, ms, key=lambda tie: tie[0]) - 1
            moment, customer = ties[max(latest, 0)]
            if customer in passed:
                break
            since = max(since, moment) if latest < 0 else since
            chain.append((customer, since))
            passed.add(customer)
        return chain

    def comes_last(self, tie: Tie) -> bool:
        """Whether ``tie`` comes after all that is known of its source; of two at one time, by the customer's id."""
        ties = self._ties.get(tie.source)
        return not ties or ties[-1] < (tie.ms, tie.customer)

    def sole_customer(self, key: str) -> str | None:
        """The customer that ``key`` is tied to, if it is one and the same at all times."""
        customers = {customer for _, customer in self._ties.get(key, ())}
        return customers.pop() if len(customers) == 1 else None

    def customers(self, key: str) -> set[str]:
        """Everybody that an event of ``key`` may count for, besides ``key``."""
        return _reached(key, lambda one: {customer for _, customer in self._ties.get(one, ())})

    def sources(self, key: str) -> set[str]:
        """Every id whose events may count for ``key``, besides ``key``."""
        return _reached(key, lambda one: self._sources.get(one, set()))


def _reached(key: str, neighbours: Callable[[str], set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [key]
    while waiting:
        for one in neighbours(waiting.pop()) - found - {key}:
            found.add(one)
            waiting.append(one)
    return found
