"""Nothing of an erased customer comes back: late, repeated and replayed events of the time before are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.contract import time_of
from ingestion.moments import epoch_ms
from ingestion.privacy.record import Digests, ErasureRecord, digest_of, record_path

# Beside the id that an event counts for.
OTHER_IDS = ("anonymous_id", "previous_id")
# As payloads that break the contract may name ids: without regard to case and underscores.
_ID_FIELDS = ("userid", "anonymousid", "previousid", "customerid")
_WORD = re.compile(r"[^\s\"'{}\[\],:]+")


class Tombstones:
    """What may not come back."""

    def __init__(self, salt: bytes, digests: Digests) -> None:
        self._salt, self._digests = salt, digests
        self._latest = max((until for spans in digests.values() for _, until in spans), default=0)

    @classmethod
    def load(cls) -> Tombstones:
        """Those of this installation.

        Raises:
            UnavailableError: they cannot be read.
        """
        if not record_path().exists():
            return cls(b"", {})
        with ErasureRecord() as record:
            return cls(*record.tombstones())

    def cover(self, id_: str, ms: int) -> bool:
        """Whether what happened under an id at a moment, epoch milliseconds, has been erased."""
        return any(since <= ms <= until for since, until in self._spans(id_))

    def refused(self, rows: pa.Table) -> pa.Table:
        """Rows of :func:`ingestion.events.archive.archivable`, of which those of erased customers are no longer good.

        They have no payload, so that nothing of them is kept. Another customer's row loses the mention of an erased id.
        """
        if not self._digests or not rows.num_rows:
            return rows
        # A tracker's clock may be ahead: what had arrived before the erasure happened before it.
        arrived = rows["received_at"]
        ms = np.minimum(epoch_ms(pc.coalesce(rows["timestamp"], arrived)), epoch_ms(arrived))
        old = np.flatnonzero(rows["good"].to_numpy() & (ms <= self._latest))
        if not len(old):  # nearly always
            return rows
        chosen = rows.select(["customer_id", *OTHER_IDS]).take(pa.array(old)).to_pylist()
        good = rows["good"].to_numpy().copy()
        columns = {name: rows[name].to_pylist() for name in OTHER_IDS}
        for place, row in zip(old.tolist(), chosen, strict=True):
            moment = int(ms[place])
            good[place] = not self.cover(row["customer_id"], moment)
            for name in OTHER_IDS:
                if row[name] and self.cover(row[name].strip(), moment):
                    columns[name][place] = None
        made = {"good": pa.array(good), **{name: pa.array(values, pa.string()) for name, values in columns.items()}}
        return pa.table([made.get(name, rows[name]) for name in rows.schema.names], names=rows.schema.names)

    def cover_payload(self, payload: str | None, received_at: datetime) -> bool:
        """Whether a refused event is an erased customer's, as far as can be told."""
        if not payload or not self._digests:
            return False
        ids, ms = named_in(payload, received_at)
        # In text that is no JSON each word may be an id.
        return any(self.cover(id_, ms) for id_ in (set(_WORD.findall(payload)) if ids is None else ids))

    def _spans(self, id_: str) -> list[tuple[int, int]]:
        return self._digests.get(digest_of(self._salt, id_), [])


def named_in(payload: str, received_at: datetime) -> tuple[set[str] | None, int]:
    """The ids that a refused event may be of, None if it is no JSON; and when it happened or arrived, epoch milliseconds.

    Of both times, the earlier one.
    """
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        return None, round(received_at.timestamp() * 1000)
    moment = received_at
    with suppress(KeyError, TypeError, ValueError):
        moment = min(time_of(event["timestamp"]), received_at)
    return set(_ids(event)), round(moment.timestamp() * 1000)


def _ids(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _ids(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name.lower().replace("_", "") in _ID_FIELDS and isinstance(one, str | int):
                yield str(one).strip()
            else:
                yield from _ids(one)
