"""The feature engine: events in, changed feature rows out; the stream and the backfill both run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.aggregates import Entity
from ingestion.features.activity import Activity
from ingestion.features.contributions import Contributions, Integers, contributing, of_customers, of_items
from ingestion.features.identity import Identities, Tie
from ingestion.moments import epoch_ms

StoredEvents = Callable[[set[str]], pa.Table]


class CustomerFeatures:
    """The features of customers (what they did, or what they were shown), whoever they turn out to be.

    Attributes:
        activity: the values of every id.
        identities: which ids are tied.
    """

    def __init__(self, entity: Entity, stored_events: StoredEvents) -> None:
        """Start empty.

        Args:
            entity: CUSTOMER or EXPOSURE.
            stored_events: gives the rows of the events table whose ``customer_id`` is one of some ids, of all events
                taken in so far. It is asked only when ties change what had been concluded from others.
        """
        self.activity = Activity(entity)
        self.identities = Identities()
        self._stored_events = stored_events

    def take(self, events: pa.Table, ties: Iterable[Tie]) -> Integers:
        """Take in rows of :func:`ingestion.features.contributions.contributing` and the ties made at the same time.

        Returns:
            The numbers of the ids whose values changed, distinct.
        """
        changed = [self._tie(sorted(ties, key=lambda tie: (tie.ms, tie.customer)))]
        if events.num_rows:
            changed.append(self.activity.fold(self._contributions(events, *attributed(events, self.identities))))
        return np.unique(np.concatenate(changed))

    def _tie(self, ties: Iterable[Tie]) -> Integers:
        changed: list[int] = []
        doubtful: dict[str, int] = {}
        for tie in ties:
            certain = self._merge_if_certain(tie)
            if certain is None:
                # Whom its events count for has changed, and the sums cannot be split: they are made anew.
                doubtful |= dict.fromkeys(self.identities.customers(tie.source), tie.ms)
            else:
                changed += certain
        # What follows from doubtful values is doubtful.
        for key in list(doubtful):
            doubtful |= {
                further: doubtful[key] for further in self.identities.customers(key) if further not in doubtful
            }
        if doubtful:
            changed += self._made_anew(doubtful).tolist()
        return np.array(changed, np.int64)

    def _merge_if_certain(self, tie: Tie) -> list[int] | None:
        """Take in a tie and let past events count for whom it says; None if that cannot be done by merging sums."""
        activity, known = self.activity, self.identities
        claimed = known.tied(tie.source)
        sole = known.sole_customer(tie.source)
        last = known.comes_last(tie)
        if not known.add(tie) or tie.source not in activity or sole == tie.customer:
            return []
        if claimed:
            return [] if last and activity.last_ms(tie.source) < tie.ms else None
        chain = [tie.customer]
        while (further := known.sole_customer(chain[-1])) and further not in chain:
            chain.append(further)
        if known.tied(chain[-1]):  # to several customers, or in a circle
            return None
        return [activity.merge(key, tie.source, tie.ms) for key in chain]

    def _made_anew(self, moments: dict[str, int]) -> Integers:
        """Fold all stored events of some ids again, from which their values follow."""
        sources = set(moments).union(*(self.identities.sources(key) for key in moments))
        events = contributing(self._stored_events(sources))
        before = {key for key in moments if key in self.activity}
        numbers = self.activity.forget(list(moments))
        rows, keys, since = attributed(events, self.identities)
        wanted = pc.is_in(keys, value_set=pa.array(list(moments), pa.string())).to_numpy(False)
        if wanted.any():
            chosen = keys.filter(pa.array(wanted))
            self.activity.fold(self._contributions(events, rows[wanted], chosen, since[wanted]))
        for number, moment in zip(numbers.tolist(), moments.values(), strict=True):
            self.activity.date(np.array([number]), moment)
        # Of whom nothing was known and nothing is, there is nothing to say.
        some = [key in before or key in self.activity for key in moments]
        return numbers[np.array(some, bool)]

    def _contributions(self, events: pa.Table, rows: Integers, keys: pa.Array, since: Integers) -> Contributions:
        return of_customers(self.activity.entity, events, rows, keys, since)


class ItemFeatures:
    """The features of items."""

    def __init__(self) -> None:
        self.activity = Activity(Entity.ITEM)

    def take(self, events: pa.Table) -> Integers:
        """Take in rows of :func:`ingestion.features.contributions.contributing`.

        Returns:
            The numbers of the items whose values changed, distinct.
        """
        added = of_items(events)
        return self.activity.fold(added) if len(added) else np.zeros(0, np.int64)


def attributed(events: pa.Table, identities: Identities) -> tuple[Integers, pa.Array, Integers]:
    """Whom each event counts for.

    Args:
        events: rows of the events table.
        identities: which ids are tied.

    Returns:
        For each event and id on its chain: the position of the event, ascending, the id, and the time from which on the
        event counts for it, epoch milliseconds.
    """
    sources = events["customer_id"].combine_chunks().dictionary_encode()
    ms = epoch_ms(events["timestamp"])
    rows, keys = np.arange(events.num_rows), sources.dictionary_decode()
    tied = np.array([identities.tied(key) for key in sources.dictionary.to_pylist()], bool)
    if not tied.any():
        return rows, keys, ms
    concerned = np.flatnonzero(tied[sources.indices.to_numpy()])
    names = keys.take(pa.array(concerned)).to_pylist()
    more = [
        (row, key, since)
        for row, name in zip(concerned.tolist(), names, strict=True)
        for key, since in identities.chain(name, int(ms[row]))[1:]
    ]
    if not more:
        return rows, keys, ms
    further_rows, further_keys, further_moments = zip(*more, strict=True)
    all_rows = np.concatenate([rows, np.array(further_rows)])
    order = np.argsort(all_rows, kind="stable")
    all_keys = pa.concat_arrays([keys, pa.array(further_keys, pa.string())]).take(pa.array(order))
    return all_rows[order], all_keys, np.concatenate([ms, np.array(further_moments)])[order]
