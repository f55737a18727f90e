"""Every customer's last k interactions, in a few large arrays.

A customer's interactions lie side by side, newest first; a changed customer's are written anew at the end, and the arrays are
tidied up when half of them is no longer used. That takes 13 bytes per interaction, and a batch is merged by sorting once.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.aggregates import RECENT

Integers = NDArray[np.int64]
_SPARE = 1_000_000


class RecentInteractions:
    """The last-k sequences of numbered customers."""

    def __init__(self) -> None:
        self._start = np.zeros(0, np.int64)
        self._length = np.zeros(0, np.int64)
        self._ms = np.zeros(0, np.int64)
        self._item = np.zeros(0, np.int32)
        self._action = np.zeros(0, np.int8)
        self._used = 0
        self._names: list[str] = []
        self._codes: dict[str, int] = {}
        self._ranks = np.zeros(0, np.int64)
        self._texts = pa.array([], pa.string())

    def grow(self, customers: int) -> None:
        """Make room for so many customers."""
        missing = customers - len(self._start)
        self._start = np.concatenate([self._start, np.zeros(missing, np.int64)])
        self._length = np.concatenate([self._length, np.zeros(missing, np.int64)])

    def clear(self, customers: Integers) -> None:
        """Forget the sequences of ``customers``."""
        self._length[customers] = 0

    def extend(self, customers: Integers, of: Integers, ms: Integers, items: pa.Array, actions: Integers) -> None:
        """Merge interactions in; the order in which they come does not matter.

        Args:
            customers: the distinct customers concerned.
            of: position in ``customers`` of each interaction, shape (m,).
            ms: epoch milliseconds, shape (m,).
            items: product ids, shape (m,).
            actions: codes, shape (m,).
        """
        old_of, at = self._places(customers)
        of = np.concatenate([old_of, of])
        ms = np.concatenate([self._ms[at], ms])
        item = np.concatenate([self._item[at], self._encode(items)])
        action = np.concatenate([self._action[at], actions.astype(np.int8)])
        order = np.lexsort((-action.astype(np.int64), -self._ranks[item], -ms, of))
        of = of[order]
        first = np.searchsorted(of, np.arange(len(customers)))
        newest = order[np.arange(len(of)) - first[of] < RECENT.k]
        lengths = np.minimum(np.bincount(of, minlength=len(customers)), RECENT.k)
        self._write(customers, lengths, ms[newest], item[newest], action[newest])

    def columns(self, customers: Integers) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Items, actions and times (epoch milliseconds) of ``customers``, newest first, as lists."""
        _, at = self._places(customers)
        ends = pa.array(np.concatenate([[0], np.cumsum(self._length[customers])]), pa.int32())
        return (
            pa.ListArray.from_arrays(ends, self._texts.take(pa.array(self._item[at]))),
            pa.ListArray.from_arrays(ends, pa.array(self._action[at].astype(np.int32))),
            pa.ListArray.from_arrays(ends, pa.array(self._ms[at])),
        )

    def _places(self, customers: Integers) -> tuple[Integers, Integers]:
        """Position in ``customers`` and place in the arrays of each of their interactions."""
        lengths = self._length[customers]
        of = np.repeat(np.arange(len(customers)), lengths)
        within = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return of, self._start[customers][of] + within

    def _write(
        self, customers: Integers, lengths: Integers, ms: Integers, item: NDArray[np.int32], action: NDArray[np.int8]
    ) -> None:
        end = self._used + len(ms)
        if end > len(self._ms):
            self._tidy(len(ms))
            end = self._used + len(ms)
        self._ms[self._used : end], self._item[self._used : end], self._action[self._used : end] = ms, item, action
        self._start[customers] = self._used + np.cumsum(lengths) - lengths
        self._length[customers] = lengths
        self._used = end

    def _tidy(self, wanted: int) -> None:
        """Keep what is in use, and make room for as much again."""
        everybody = np.arange(len(self._start))
        _, at = self._places(everybody)
        room = 2 * (len(at) + wanted) + _SPARE
        for name in ("_ms", "_item", "_action"):
            old = getattr(self, name)
            new = np.zeros(room, old.dtype)
            new[: len(at)] = old[at]
            setattr(self, name, new)
        self._start = np.cumsum(self._length) - self._length
        self._used = len(at)

    def _encode(self, items: pa.Array) -> NDArray[np.int32]:
        distinct = items.dictionary_encode()
        known = self._codes
        fresh = [name for name in distinct.dictionary.to_pylist() if name not in known]
        if fresh:
            for name in fresh:
                known[name] = len(self._names)
                self._names.append(name)
            self._texts = pa.array(self._names, pa.string())
            # Compared as UTF-8 bytes, which is also the order of code points.
            self._ranks = np.argsort(np.argsort(np.array([name.encode() for name in self._names], dtype=object)))
        codes = np.array([known[name] for name in distinct.dictionary.to_pylist()], np.int32)
        return codes[distinct.indices.to_numpy()] if len(items) else np.zeros(0, np.int32)
