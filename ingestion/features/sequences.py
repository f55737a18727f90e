"""Every customer's last k products, of one declared sequence, in a few large arrays.

A customer's products lie side by side, newest first; a changed customer's are written anew at the end, and the arrays are
tidied up when half of them is no longer used. That takes 14 bytes per product, and a batch is merged by sorting once.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.aggregates import LastK
from feature_repo.runs import spread

Integers = NDArray[np.int64]
_DETAIL_BITS = 16
_SPARE = 1_000_000


class Sequences:
    """The last-k sequences of numbered customers."""

    def __init__(self, declared: LastK) -> None:
        self._k = declared.k
        self._start = np.zeros(0, np.int64)
        self._length = np.zeros(0, np.int64)
        self._ms = np.zeros(0, np.int64)
        self._item = np.zeros(0, np.int32)
        self._detail = np.zeros(0, np.int16)
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

    def extend(self, customers: Integers, of: Integers, ms: Integers, items: pa.Array, details: Integers) -> None:
        """Merge products in; the order in which they come does not matter.

        Args:
            customers: the distinct customers concerned.
            of: position in ``customers`` of each product, shape (m,).
            ms: epoch milliseconds, shape (m,).
            items: product ids, shape (m,).
            details: what is kept of each beside, 0 to 32,767, shape (m,).
        """
        old_of, at = self._places(customers)
        of = np.concatenate([old_of, of])
        ms = np.concatenate([self._ms[at], ms])
        item = np.concatenate([self._item[at], self._encode(items)])
        detail = np.concatenate([self._detail[at], details.astype(np.int16)])
        # A key less to sort by, which is most of the work.
        what = -((self._ranks[item] << _DETAIL_BITS) | detail)
        order = np.lexsort((what, -ms, of))
        of = of[order]
        first = np.searchsorted(of, np.arange(len(customers)))
        newest = order[np.arange(len(of)) - first[of] < self._k]
        lengths = np.minimum(np.bincount(of, minlength=len(customers)), self._k)
        self._write(customers, lengths, ms[newest], item[newest], detail[newest])

    def columns(self, customers: Integers) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Items, details and times (epoch milliseconds) of ``customers``, newest first, as lists."""
        _, at = self._places(customers)
        ends = pa.array(np.concatenate([[0], np.cumsum(self._length[customers])]), pa.int32())
        return (
            pa.ListArray.from_arrays(ends, self._texts.take(pa.array(self._item[at]))),
            pa.ListArray.from_arrays(ends, pa.array(self._detail[at].astype(np.int32))),
            pa.ListArray.from_arrays(ends, pa.array(self._ms[at])),
        )

    def _places(self, customers: Integers) -> tuple[Integers, Integers]:
        """Position in ``customers`` and place in the arrays of each of their interactions."""
        return spread(self._start[customers], self._length[customers])

    def _write(
        self, customers: Integers, lengths: Integers, ms: Integers, item: NDArray[np.int32], detail: NDArray[np.int16]
    ) -> None:
        end = self._used + len(ms)
        if end > len(self._ms):
            self._tidy(len(ms))
            end = self._used + len(ms)
        self._ms[self._used : end], self._item[self._used : end], self._detail[self._used : end] = ms, item, detail
        self._start[customers] = self._used + np.cumsum(lengths) - lengths
        self._length[customers] = lengths
        self._used = end

    def _tidy(self, wanted: int) -> None:
        """Keep what is in use, and make room for as much again."""
        everybody = np.arange(len(self._start))
        _, at = self._places(everybody)
        room = 2 * (len(at) + wanted) + _SPARE
        for name in ("_ms", "_item", "_detail"):
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
