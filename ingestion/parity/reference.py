"""What a feature row must hold, computed anew from the raw events: the reference that stored features are judged by.

It shares the declarations (``feature_repo/aggregates.py``) with the code that computes the features, and nothing else.
Here every requested row is a query over all events it knows of, without any state, in the order of the definition: which
events contribute, when the last of them happened, what each weighs by then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from feature_repo.aggregates import ACTION_OF_EVENT, DecayedSum, Entity, LastK, decayed_sums, last_k
from feature_repo.settings import get_settings
from feature_repo.tables import ACTIVITY, TIMESTAMP

REQUESTS = pa.schema(
    [
        ("key", pa.string()),
        ("event_timestamp", TIMESTAMP),
        ("place", pa.list_(pa.int64())),
        ("recomputed", pa.bool_()),
    ]
)

_NOT_RECOMPUTED = ("event_timestamp", "created", "place", "recomputed")
_EVER = (-(2**62), 2**62)  # milliseconds
_SPANS = pa.schema([("number", pa.int64()), ("id", pa.string()), ("first", pa.int64()), ("end", pa.int64())])

# DuckDB counts list elements from 1, and what lies beyond a list's end is null. All times are whole milliseconds.
_KNOWN = """
    (a.partition IS NULL OR a."offset" < coalesce(r.place[a.partition + 1], 0))
    AND (NOT r.recomputed OR a.ms <= r.ms)
"""


def schema(entity: Entity) -> pa.Schema:
    """Columns of a recomputed row: ``key``, and what the entity's activity table says of it."""
    stored = ACTIVITY[entity].schema
    return pa.schema(
        [("key", pa.string()), *(field for field in stored if field.name not in (entity.key, *_NOT_RECOMPUTED))]
    )


def recompute(entity: Entity, events: pa.Table | ds.Dataset, requests: pa.Table) -> pa.Table:
    """What rows of an activity table must hold.

    Args:
        entity: whose features.
        events: rows of the events table.
        requests: one row per wanted feature row, in the schema :data:`REQUESTS`; ``place`` and ``recomputed`` say what
            the row knows of, as in the activity tables.

    Returns:
        One row per request, in their order, in the schema :func:`schema`. Where no event contributes, ``event_count`` is
        0, the sequences are empty and the rest is null.
    """
    numbered = requests.cast(REQUESTS).append_column("number", pa.array(range(requests.num_rows), pa.int64()))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("stored", events)
        # What came by another topic is known altogether, like what came from a file.
        topic = _text(get_settings().kafka.events_topic)
        connection.execute(
            "CREATE TEMP VIEW events AS "
            f"SELECT * REPLACE (CASE WHEN source = {topic} THEN partition END AS partition) FROM stored"
        )
        connection.register("given", numbered)
        connection.execute(
            "CREATE TEMP TABLE requests AS SELECT number, key, epoch_ms(event_timestamp) AS ms, place, "
            "coalesce(recomputed, false) AS recomputed FROM given"
        )
        if entity is not Entity.ITEM:
            connection.register("spans", _spans(connection))
        contributing = _of_items() if entity is Entity.ITEM else _of_customers(entity)
        connection.execute(f"CREATE TEMP TABLE contributions AS {contributing}")
        rows = connection.sql(_features(entity)).to_arrow_table()
    return rows.select(schema(entity).names).cast(schema(entity))


def _features(entity: Entity) -> str:
    """SQL: what the ``contributions`` to each request amount to, in the order of the requests."""
    sums = "".join(f", {_decayed(aggregate)} AS {aggregate.name}" for aggregate in decayed_sums(entity))
    amounts = f"""
        WITH last AS (SELECT number, max(ms) AS last_ms, count(*) AS event_count FROM contributions GROUP BY number),
        amounts AS (
            SELECT number, last_ms / 1e3 AS last_event_at, event_count {sums}
            FROM contributions JOIN last USING (number) GROUP BY number, last_ms, event_count
        )"""
    sequence = last_k(entity)
    if not sequence:
        return f"""{amounts}
            SELECT r.key, amounts.* REPLACE (coalesce(event_count, 0) AS event_count)
            FROM requests r LEFT JOIN amounts USING (number) ORDER BY r.number"""
    columns = dict(zip(sequence.columns, ("product_id", "detail", "ms"), strict=True))
    lists = ", ".join(f"list({part} ORDER BY rank) AS {column}" for column, part in columns.items())
    empty = ", ".join(f"coalesce({column}, []) AS {column}" for column in columns)
    return f"""{amounts},
        elements AS (
            SELECT number, ms, line.product_id AS product_id, {_detail(sequence)} AS detail
            FROM (SELECT number, ms, event, unnest(lines) AS line FROM contributions)
            WHERE event IN {_texts(sequence.events)}
        ), newest AS (
            SELECT *, row_number() OVER (
                PARTITION BY number ORDER BY ms DESC, product_id DESC, detail DESC
            ) AS rank
            FROM elements QUALIFY rank <= {sequence.k}
        ), sequences AS (SELECT number, {lists} FROM newest GROUP BY number)
        SELECT r.key, amounts.* REPLACE (coalesce(event_count, 0) AS event_count), {empty}
        FROM requests r LEFT JOIN amounts USING (number) LEFT JOIN sequences USING (number) ORDER BY r.number"""


def _detail(sequence: LastK) -> str:
    """SQL: what a sequence keeps of an element beside its product and time."""
    if sequence.detail == "positions":
        return "coalesce(line.position, 0)"
    codes = " ".join(f"WHEN {_text(name)} THEN {int(ACTION_OF_EVENT[name])}" for name in sequence.events)
    return f"CASE event {codes} END"


def _decayed(aggregate: DecayedSum) -> str:
    """SQL: the sum as of the last contribution. ``fsum`` does not lose what many small terms add up to."""
    weight = aggregate.value or 1.0
    decay = f"pow(2, -((last_ms - ms) / 1e3) / {aggregate.half_life_seconds})"
    return f"fsum(CASE WHEN event = {_text(aggregate.event)} THEN {weight} * {decay} ELSE 0 END)"


def _of_items() -> str:
    """SQL: a contribution for each line about the requested key."""
    names = {aggregate.event for aggregate in decayed_sums(Entity.ITEM)}
    return f"""
        SELECT r.number, a.event, a.ms,
            coalesce(a.line.price, 0) AS price, coalesce(a.line.quantity, 0)::DOUBLE AS quantity
        FROM (SELECT * EXCLUDE (lines), unnest(lines) AS line FROM ({_track(names)})) a
        JOIN requests r ON a.line.product_id = r.key
        WHERE {_KNOWN}
    """


def _of_customers(entity: Entity) -> str:
    """SQL: a contribution for each event of an id while that id belongs to the requested key."""
    sequence = last_k(entity)
    names = {aggregate.event for aggregate in decayed_sums(entity)} | set(sequence.events if sequence else ())
    return f"""
        SELECT r.number, a.event, a.ms,
            list_sum([coalesce(line.price, 0) for line in a.lines]) AS price,
            list_sum([coalesce(line.quantity, 0)::DOUBLE for line in a.lines]) AS quantity,
            a.lines
        FROM requests r
        JOIN spans s USING (number)
        JOIN ({_track(names)}) a ON a.customer_id = s.id AND a.ms >= s.first AND a.ms < s.end
        WHERE {_KNOWN}
    """


def _track(names: Iterable[str]) -> str:
    """SQL: the ``track`` events of these names that are about any product."""
    return f"""
        SELECT customer_id, event, epoch_ms(timestamp) AS ms, partition, "offset",
            [{{'product_id': p.product_id, 'price': p.price, 'quantity': p.quantity, 'position': p.position}}
                for p in products] AS lines
        FROM events WHERE type = 'track' AND event IN {_texts(names)} AND len(products) > 0
    """


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _texts(values: Iterable[str]) -> str:
    return f"({', '.join(_text(value) for value in sorted(values))})"


@dataclass(frozen=True)
class Link:
    """From ``ms`` on, ``id`` belongs to ``user``; where in Kafka that was said (partition None: in a file)."""

    id: str
    user: str
    ms: int
    partition: int | None = None
    offset: int | None = None


class Links:
    """All links, by the ids they join."""

    def __init__(self, links: Iterable[Link]) -> None:
        self._of: dict[str, list[Link]] = defaultdict(list)
        self._ids: dict[str, set[str]] = defaultdict(set)
        for link in links:
            self._of[link.id].append(link)
            self._ids[link.user].add(link.id)

    def spans(self, key: str, known: Callable[[Link], bool]) -> Iterator[tuple[str, int, int]]:
        """When the events of which ids count for ``key``, as far as the ``known`` links tell.

        Yields:
            (id, first ms, end ms), half-open; the spans of one id do not overlap.
        """
        yield key, *_EVER
        for raw_id in _reached(key, lambda user: self._ids.get(user, ())) - {key}:
            owners = {
                id_: sorted((link.ms, link.user) for link in self._of[id_] if known(link))
                for id_ in _reached(raw_id, lambda id_: [link.user for link in self._of.get(id_, ())])
                if id_ in self._of
            }
            # Between two moments at which something is said about any of its ids, a chain stays the same.
            moments = sorted({*_EVER, *(ms for said in owners.values() for ms, _ in said)})

            def passes(between: tuple[int, int], raw_id: str = raw_id, owners: _Owners = owners) -> bool:
                return key in chain(raw_id, between[0], owners)

            for counts, stretch in groupby(pairwise(moments), passes):
                if counts:
                    together = list(stretch)
                    yield raw_id, together[0][0], together[-1][1]


_Owners = Mapping[str, list[tuple[int, str]]]


def chain(raw_id: str, ms: int, owners: _Owners) -> list[str]:
    """The ids that an event of ``raw_id`` at ``ms`` counts for.

    Args:
        raw_id: the id that the event came with.
        ms: when it happened.
        owners: for each linked id, since when it belonged to which user, in ascending order.
    """
    ids = [raw_id]
    while said := owners.get(ids[-1]):
        # Before anything was said, the first that is said counts: who a visitor was shows later.
        place = max(0, bisect_right(said, ms, key=lambda since: since[0]) - 1)
        if said[place][1] in ids:
            break
        ids.append(said[place][1])
    return ids


def _reached(start: str, following: Callable[[str], Iterable[str]]) -> set[str]:
    """``start`` and everything that can be reached from it."""
    reached, waiting = {start}, [start]
    while waiting:
        new = set(following(waiting.pop())) - reached
        reached |= new
        waiting.extend(new)
    return reached


def _spans(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """For each request, when the events of which ids count for its key: columns number, id, first, end (ms)."""
    said = connection.sql(
        """
        WITH said AS (
            SELECT CASE type WHEN 'identify' THEN anonymous_id ELSE previous_id END AS id, user_id,
                epoch_ms(timestamp) AS ms, partition, "offset"
            FROM events WHERE type IN ('identify', 'alias')
        )
        SELECT * FROM said WHERE id <> '' AND user_id <> '' AND id <> user_id
        """
    )
    links = Links(Link(*row) for row in said.fetchall())
    rows: list[tuple[int, str, int, int]] = []
    for number, key, ms, place, recomputed in connection.sql(
        "SELECT number, key, ms, place, recomputed FROM requests"
    ).fetchall():
        known = _knowledge(place or [], ms if recomputed else None)
        rows.extend((number, *span) for span in links.spans(key, known))
    return pa.Table.from_arrays([pa.array(column) for column in zip(*rows, strict=True)] or [[]] * 4, schema=_SPANS)


def _knowledge(place: list[int], until: int | None) -> Callable[[Link], bool]:
    """Whether a link lies before ``place`` and, if given, not after ``until`` (ms)."""

    def known(link: Link) -> bool:
        if until is not None and link.ms > until:
            return False
        if link.partition is None:
            return True
        reached = place[link.partition] if link.partition < len(place) else 0
        return link.offset is not None and link.offset < (reached or 0)

    return known
