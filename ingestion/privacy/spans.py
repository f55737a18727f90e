"""What is a customer's: of which ids, and of which spans of time of each.

An id that one customer alone uses is that customer's at all times. Of a device that several customers share, each has the
stretches that :mod:`ingestion.features.identity` attributes to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ingestion import sql
from ingestion.features.identity import Identities

# Epoch milliseconds before all events.
ALWAYS = -62_135_596_800_000

Spans = dict[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class Theirs:
    """What is one customer's, or what is that of several.

    Attributes:
        spans: of each id the spans of time, epoch milliseconds, both ends included.
        whole: the ids that were nobody else's.
        affected: the ids whose features rest on what happened in these spans.
    """

    spans: Spans = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    affected: frozenset[str] = frozenset()

    def __or__(self, other: Theirs) -> Theirs:
        """This and that."""
        ids = self.spans.keys() | other.spans.keys()
        spans = {id_: joined([*self.spans.get(id_, ()), *other.spans.get(id_, ())]) for id_ in ids}
        return Theirs(spans, self.whole | other.whole, self.affected | other.affected)


def theirs(identities: Identities, customer: str, until: int) -> Theirs:
    """What happened up to ``until``, epoch milliseconds, and is the customer's.

    Args:
        identities: all ties.
        customer: any of the customer's ids; if one customer alone has used it, everything of this customer is meant.
        until: the end of each span.
    """
    wanted, last = {customer}, customer
    while (further := identities.sole_customer(last)) and further not in wanted:
        wanted.add(further)
        last = further
    spans, whole, affected = Spans(), set(), set(wanted)
    for id_ in wanted.union(*(identities.sources(one) for one in wanted)):
        starts = [ALWAYS, *(moment for moment in identities.moments(id_) if moment <= until)]
        found = []
        for start, end in zip(starts, [*(moment - 1 for moment in starts[1:]), until], strict=True):
            chain = [key for key, _ in identities.chain(id_, start)]
            if not wanted.isdisjoint(chain):
                found.append((start, end))
                affected |= set(chain)
        if found:
            spans[id_] = joined(found)
        if spans.get(id_) == [(ALWAYS, until)]:
            whole.add(id_)
    return Theirs(spans, frozenset(whole), frozenset(affected))


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for since, until in sorted(spans):
        if found and since <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((since, until))
    return found


def condition(spans: Spans, id_column: str, time_column: str) -> str:
    """SQL, for Delta's engine and DuckDB: the row is of one of the ids, and of one of its spans."""
    alike: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for id_, of in spans.items():
        alike.setdefault(tuple(of), []).append(id_)
    parts = []
    for stretches, ids in alike.items():
        within = (
            f"({time_column} >= {_moment(since)} AND {time_column} < {_moment(until + 1)})"
            for since, until in stretches
        )
        parts.append(f"({sql.one_of(id_column, ids)} AND ({' OR '.join(within)}))")
    return f"({' OR '.join(parts)})" if parts else "false"


def _moment(ms: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    # Neither engine takes the other's way to write a type of time; a text is compared as the column's.
    return sql.text(f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z".rjust(24, "0"))
