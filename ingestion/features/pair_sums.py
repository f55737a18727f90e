"""How often customers turned from one product to another, as decayed sums of all pairs.

Each two interactions of a customer within the declared window are a pair, from the earlier to the later (halfway both ways if
at the same moment). A pair counts the more the closer together its two are, and halves with the half-life. As in
:mod:`feature_repo.aggregates`, all weights refer to one landmark, so that a sum is a plain sum in whatever order events come.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.aggregates import NEXT
from feature_repo.runs import spread
from feature_repo.tables import ITEM_TRANSITIONS, TIMESTAMP
from ingestion.features.contributions import about_products
from ingestion.moments import epoch_ms

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

INTERACTIONS = pa.schema([("customer_id", pa.string()), ("product_id", pa.string()), ("ms", pa.int64())])

_LANDMARK_MS = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000)
_WINDOW_MS = int(NEXT.window.total_seconds() * 1000)
_HALF_LIFE_MS = NEXT.half_life.total_seconds() * 1000
# A pair a minute apart counts half of one at the same moment.
_CLOSE_MS = 60_000.0
_FURTHEST_STEPS = 30


def interactions_in(events: pa.Table) -> pa.Table:
    """What rows of the events table say of who dealt with which product when, in the schema :data:`INTERACTIONS`."""
    chosen = about_products(events, NEXT.events)
    products = chosen["products"].combine_chunks()
    parents = pc.list_parent_indices(products)
    columns = [
        chosen["customer_id"].combine_chunks().take(parents),
        pc.struct_field(pc.list_flatten(products), "product_id"),
        pa.array(epoch_ms(chosen["timestamp"])).take(parents),
    ]
    return pa.table(columns, schema=INTERACTIONS)


class PairSums:
    """The sums of all pairs, sorted by their first product, and what may still become part of a pair."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._codes: dict[str, int] = {}
        self._pairs = np.zeros(0, np.int64)  # code of the first product << 32 | code of the second
        self._sums = np.zeros(0)
        self._from = np.zeros(0)  # by code: of all pairs from a product, and to it
        self._to = np.zeros(0)
        self._latest = np.zeros(0, np.int64)
        self._open = INTERACTIONS.empty_table()

    def fold(self, added: pa.Table) -> Integers:
        """Take in interactions; returns the codes of the products whose sums changed, distinct.

        Pairs with interactions that came by earlier calls are found if those happened less than two windows before the
        newest that is known.
        """
        table = pa.concat_tables([self._open, added])
        fresh = np.arange(table.num_rows) >= self._open.num_rows
        ms = table["ms"].to_numpy()
        self._open = table.filter(pa.array(ms > ms.max(initial=0) - 2 * _WINDOW_MS)).combine_chunks()
        first, second, weights, moments = self._pairs_in(table, fresh)
        if not len(first):
            return np.zeros(0, np.int64)
        self._add((first << 32) | second, weights)
        size = len(self._ids)
        self._from += np.bincount(first, weights, minlength=size)
        self._to += np.bincount(second, weights, minlength=size)
        np.maximum.at(self._latest, first, moments)
        np.maximum.at(self._latest, second, moments)
        return np.unique(np.concatenate([first, second]))

    def changed_after(self, ms: int) -> Integers:
        """The codes of the products that were part of a pair later than that, epoch milliseconds."""
        return np.flatnonzero(self._latest > ms)

    def everything(self) -> Integers:
        """The codes of all products that are part of a pair."""
        return self.changed_after(0)

    def rows(self, codes: Integers) -> pa.Table:
        """Rows of the table of transitions with the present values of some products."""
        begins, ends = np.searchsorted(self._pairs, codes << 32), np.searchsorted(self._pairs, (codes + 1) << 32)
        of, place = spread(begins, ends - begins)
        strongest = np.lexsort((self._pairs[place], -self._sums[place], of))
        rank = np.arange(len(of)) - np.searchsorted(of, of)
        kept = strongest[rank < NEXT.keep]
        decay = np.exp2((_LANDMARK_MS - self._latest[codes]) / _HALF_LIFE_MS)
        weights = self._sums[place[kept]] * decay[of[kept]]
        items = pa.array(self._ids, pa.string()).take(pa.array(self._pairs[place[kept]] & 0xFFFFFFFF))
        offsets = np.concatenate([[0], np.cumsum(np.minimum(ends - begins, NEXT.keep))]).astype(np.int32)
        columns = [
            pa.array([self._ids[code] for code in codes], pa.string()),
            pa.array(self._latest[codes]).cast(pa.timestamp("ms", tz="UTC")).cast(TIMESTAMP),
            pa.repeat(pa.scalar(datetime.now(UTC), TIMESTAMP), len(codes)),
            pa.array(self._latest[codes] / 1000),
            pa.ListArray.from_arrays(pa.array(offsets), items),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(weights.astype(np.float32))),
            pa.array(self._from[codes] * decay),
            pa.array(self._to[codes] * decay),
        ]
        return pa.table(columns, schema=ITEM_TRANSITIONS.schema)

    def _pairs_in(self, table: pa.Table, fresh: NDArray[np.bool_]) -> tuple[Integers, Integers, Floats, Integers]:
        """First and second product, weight and moment of each pair that has a fresh part."""
        customer = table["customer_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        item, ms = self._coded(table["product_id"]), table["ms"].to_numpy()
        concerned = np.zeros(customer.max(initial=-1) + 1, bool)
        concerned[customer[fresh]] = True
        order = np.flatnonzero(concerned[customer])
        order = order[np.lexsort((ms[order], customer[order]))]
        customer, item, ms, fresh = customer[order], item[order], ms[order], fresh[order]
        found: list[tuple[Integers, Integers, Floats, Integers]] = []
        for steps in range(1, min(_FURTHEST_STEPS, len(ms) - 1) + 1):
            near = (customer[steps:] == customer[:-steps]) & (ms[steps:] - ms[:-steps] <= _WINDOW_MS)
            if not near.any():
                break
            place = np.flatnonzero(near & (item[steps:] != item[:-steps]) & (fresh[steps:] | fresh[:-steps]))
            apart, later = ms[place + steps] - ms[place], ms[place + steps]
            weight = np.exp2((later - _LANDMARK_MS) / _HALF_LIFE_MS) / (1 + apart / _CLOSE_MS)
            tied = apart == 0
            weight[tied] /= 2
            found.append((item[place], item[place + steps], weight, later))
            found.append((item[place + steps][tied], item[place][tied], weight[tied], later[tied]))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
        first, second, weights, moments = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return first, second, weights, moments

    def _add(self, pairs: Integers, weights: Floats) -> None:
        distinct, of = np.unique(pairs, return_inverse=True)
        sums = np.bincount(of, weights)
        place = np.searchsorted(self._pairs, distinct)
        known = np.zeros(len(distinct), bool)
        inside = place < len(self._pairs)
        known[inside] = self._pairs[place[inside]] == distinct[inside]
        self._sums[place[known]] += sums[known]
        self._pairs = np.insert(self._pairs, place[~known], distinct[~known])
        self._sums = np.insert(self._sums, place[~known], sums[~known])

    def _coded(self, names: pa.ChunkedArray) -> Integers:
        distinct = names.combine_chunks().dictionary_encode()
        codes = self._codes
        for name in distinct.dictionary.to_pylist():
            if name not in codes:
                codes[name] = len(self._ids)
                self._ids.append(name)
        missing = np.zeros(len(self._ids) - len(self._from))
        self._from, self._to = np.concatenate([self._from, missing]), np.concatenate([self._to, missing])
        self._latest = np.concatenate([self._latest, missing.astype(np.int64)])
        numbers = np.array([codes[name] for name in distinct.dictionary.to_pylist()], np.int64)
        return numbers[distinct.indices.to_numpy()]
