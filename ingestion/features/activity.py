"""The current values of the declared aggregates of one entity's keys, in arrays; and how contributions are folded in.

A sum is held as of its key's last contribution, and decayed to the next one when that comes: exponents are never positive,
so that no span of time is too long, and no common landmark is needed. Folding is exact whatever the order: what comes late
is decayed by its age.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from feature_repo.aggregates import Entity, decayed_sums, last_k
from feature_repo.tables import ACTIVITY, TIMESTAMP
from ingestion.features.contributions import Contributions, Integers
from ingestion.features.sequences import Sequences
from ingestion.moments import epoch_ms
from ingestion.offsets import Offsets

_NEVER = np.iinfo(np.int64).min // 2


class Activity:
    """What is true now of every key of an entity."""

    def __init__(self, entity: Entity) -> None:
        self.entity = entity
        self._half_lives = np.array([a.half_life_seconds * 1000 for a in decayed_sums(entity)])
        self._keys: list[str] = []
        self._numbers: dict[str, int] = {}
        self._last = np.zeros(0, np.int64)
        self._as_of = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._sums = np.zeros((0, len(self._half_lives)))
        self._declared = last_k(entity)
        self._sequences = Sequences(self._declared) if self._declared else None

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        number = self._numbers.get(key)
        return number is not None and bool(self._count[number])

    def last_ms(self, key: str) -> int:
        """When the key's last contribution happened, epoch milliseconds."""
        return int(self._last[self._numbers[key]])

    def load(self, rows: pa.Table) -> None:
        """Start from rows of the entity's activity table, one per key."""
        numbers = self._numbered(rows[self.entity.key].to_pylist())
        self._last[numbers] = np.round(rows["last_event_at"].to_numpy() * 1000).astype(np.int64)
        self._as_of[numbers] = epoch_ms(rows["event_timestamp"])
        self._count[numbers] = rows["event_count"].to_numpy()
        self._last[numbers[self._count[numbers] == 0]] = _NEVER
        for position, aggregate in enumerate(decayed_sums(self.entity)):
            self._sums[numbers, position] = rows[aggregate.name].to_numpy()
        if self._sequences and self._declared and rows.num_rows:
            items, details, times = (rows[name].combine_chunks() for name in self._declared.columns)
            of = items.value_parent_indices().to_numpy().astype(np.int64)
            times, details = times.flatten().to_numpy(), details.flatten().to_numpy()
            self._sequences.extend(numbers, of, times, items.flatten(), details)

    def fold(self, added: Contributions) -> Integers:
        """Take in contributions; returns the numbers of the keys that changed, distinct."""
        distinct = added.keys.dictionary_encode()
        touched = self._numbered(distinct.dictionary.to_pylist())
        of = distinct.indices.to_numpy().astype(np.int64)
        latest = np.full(len(touched), _NEVER)
        np.maximum.at(latest, of, added.ms)
        self._advance(touched, latest)
        ages = self._last[touched][of] - added.ms
        for position, mask, weight in added.weights():
            if mask.any():
                decayed = weight * np.exp2(-ages[mask] / self._half_lives[position])
                self._sums[touched, position] += np.bincount(of[mask], decayed, minlength=len(touched))
        self._count[touched] += np.bincount(of, minlength=len(touched))
        np.maximum.at(self._as_of, touched[of], added.moments)
        if self._sequences and added.elements:
            elements = added.elements
            parents = of[elements.rows]
            self._sequences.extend(touched, parents, added.ms[elements.rows], elements.items, elements.details)
        return touched

    def date(self, numbers: Integers, moment_ms: int) -> None:
        """Let rows hold as of ``moment_ms`` at the earliest: something became known then."""
        self._as_of[numbers] = np.maximum(self._as_of[numbers], moment_ms)

    def merge(self, into: str, key: str, moment_ms: int) -> int:
        """Let everything of ``key`` count for ``into`` as well, from ``moment_ms`` on; returns the number of ``into``."""
        number, source = (int(one) for one in self._numbered([into, key]))
        one = np.array([number])
        self._advance(one, self._last[[source]])
        ages = self._last[number] - self._last[source]
        self._sums[number] += self._sums[source] * np.exp2(-ages / self._half_lives)
        self._count[number] += self._count[source]
        self._as_of[number] = max(self._as_of[number], self._last[number], moment_ms)
        if self._sequences:
            items, details, times = (column.flatten() for column in self._sequences.columns(np.array([source])))
            self._sequences.extend(one, np.zeros(len(items), np.int64), times.to_numpy(), items, details.to_numpy())
        return number

    def forget(self, keys: Sequence[str]) -> Integers:
        """Let ``keys`` have no contributions, to be folded anew; returns their numbers.

        The time that their rows are as of does not go back.
        """
        numbers = self._numbered(keys)
        self._last[numbers] = _NEVER
        self._count[numbers] = 0
        self._sums[numbers] = 0.0
        if self._sequences:
            self._sequences.clear(numbers)
        return numbers

    def everything(self) -> Integers:
        """The numbers of all keys that have contributions."""
        return np.flatnonzero(self._count)

    def rows(self, numbers: Integers, place: Offsets, recomputed: bool = False) -> pa.Table:
        """Rows of the entity's activity table with the present values.

        Args:
            numbers: which keys.
            place: how far in Kafka the events reach that the values come from.
            recomputed: whether they come from a recomputation over history.
        """
        count = len(numbers)
        columns: dict[str, pa.Array] = {
            self.entity.key: pa.array([self._keys[number] for number in numbers], pa.string()),
            "event_timestamp": pa.array(self._as_of[numbers]).cast(pa.timestamp("ms", tz="UTC")),
            "created": pa.repeat(pa.scalar(datetime.now(UTC), TIMESTAMP), count),
            "last_event_at": pa.array(
                np.where(self._count[numbers] > 0, self._last[numbers], self._as_of[numbers]) / 1000
            ),
            "event_count": pa.array(self._count[numbers]),
            "place": _repeated([place[partition] for partition in sorted(place)], count),
            "recomputed": pa.repeat(pa.scalar(recomputed), count),
        }
        for position, aggregate in enumerate(decayed_sums(self.entity)):
            columns[aggregate.name] = pa.array(self._sums[numbers, position])
        if self._sequences and self._declared:
            columns |= dict(zip(self._declared.columns, self._sequences.columns(numbers), strict=True))
        schema = ACTIVITY[self.entity].schema
        return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)

    def _advance(self, numbers: Integers, latest: Integers) -> None:
        """Decay the sums of distinct keys to ``latest``, where that is later than what they are as of."""
        last = self._last[numbers]
        new = np.maximum(last, latest)
        elapsed = np.where(last == _NEVER, 0, new - last)
        self._sums[numbers] *= np.exp2(-elapsed[:, None] / self._half_lives)
        self._last[numbers] = new

    def _numbered(self, keys: Sequence[str]) -> Integers:
        """The numbers of ``keys``; new keys get one."""
        known = self._numbers
        numbers = np.empty(len(keys), np.int64)
        for position, key in enumerate(keys):
            number = known.get(key)
            if number is None:
                number = known[key] = len(self._keys)
                self._keys.append(key)
            numbers[position] = number
        self._make_room()
        return numbers

    def _make_room(self) -> None:
        if len(self._keys) > len(self._last):
            size = max(1024, 2 * len(self._keys))
            self._last = _grown(self._last, size, _NEVER)
            self._as_of = _grown(self._as_of, size, _NEVER)
            self._count = _grown(self._count, size, 0)
            self._sums = np.vstack([self._sums, np.zeros((size - len(self._sums), self._sums.shape[1]))])
            if self._sequences:
                self._sequences.grow(size)


def _grown(values: Integers, size: int, filling: int) -> Integers:
    return np.concatenate([values, np.full(size - len(values), filling, np.int64)])


def _repeated(values: list[int], count: int) -> pa.Array:
    ends = np.arange(count + 1) * len(values)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values * count, pa.int64()))
