"""What becomes of the events that have arrived: duplicates out, features up to date, both stores written.

Values go to the online store at once, and to the offline store a few seconds later together with the place in Kafka that they
reach. The tables alone say where to go on after a crash: what was read but not committed is read again, and gives the same
values, because the memory for duplicates knows the place of each event. The online store is written before the
commit, so that it never misses a committed value, and gets absolute values, so that writing them twice does no harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.aggregates import Entity
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.settings import get_settings
from feature_repo.tables import ACTIVITY, ITEM_TRANSITIONS
from ingestion import offsets
from ingestion.catalog import store as catalog_store
from ingestion.events.appending import Appender
from ingestion.events.archive import Archive, event_rows
from ingestion.events.recent_ids import RecentIds, horizon_ms, place_numbers, stored_ids
from ingestion.events.stored_events import stored_events
from ingestion.features.contributions import Integers, contributing
from ingestion.features.definition import check_definition
from ingestion.features.engine import CustomerFeatures, ItemFeatures
from ingestion.features.identity import TIE_TYPES, ties_in, tying
from ingestion.features.latest import latest_rows
from ingestion.features.transitions import LiveTransitions
from ingestion.moments import epoch_ms
from ingestion.offsets import Offsets
from ingestion.online import OnlineStore
from ingestion.privacy.tombstones import Tombstones
from ingestion.sql import one_of
from ingestion.streaming.writer import Writer

log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class Intake:
    """Everything that the stream knows, and how it takes in events.

    Attributes:
        milestones: how far in Kafka the tables reach, the least first. What lies between them has to be taken in again,
            one stretch after the other, before anything new: so no table ever misses what it does not know of.
    """

    def __init__(
        self, online: OnlineStore, stopped: Callable[[], bool], offline_seconds: float, archive_seconds: float
    ) -> None:
        """Load what the offline store holds.

        Args:
            online: the online store.
            stopped: whether to give up while the online store does not answer.
            offline_seconds: how often features are committed to the offline store.
            archive_seconds: how often the archive is.

        Raises:
            DefinitionError: the stored features were computed by other definitions, or from another topic.
        """
        check_definition()
        self._online = online
        self._stopped = stopped
        first, following = offsets.in_kafka()
        self._tombstones = Tombstones.load()
        self._archive = Archive(first, following, self._tombstones)
        self._appenders = {entity: Appender(table, first, following) for entity, table in ACTIVITY.items()}
        self._features_writer = Writer(self._write_features, offline_seconds)
        self._archive_writer = Writer(self._archive.write, archive_seconds)
        self._transitions = LiveTransitions(online, self._archive.events_covered)
        self._transitions_writer = Writer(self._transitions.write, get_settings().stream.transitions_seconds)
        places = [*self._archive.covered, *(appender.covered for appender in self._appenders.values())]
        self.milestones = sorted(places, key=lambda place: sum(place.values()))
        self._read = self.milestones[0]
        self._features: dict[Entity, CustomerFeatures | ItemFeatures] = {
            Entity.CUSTOMER: self._features_of_customers(Entity.CUSTOMER),
            Entity.EXPOSURE: self._features_of_customers(Entity.EXPOSURE),
            Entity.ITEM: ItemFeatures(),
        }
        for entity, features in self._features.items():
            features.activity.load(latest_rows(ACTIVITY[entity]))
        self._ids = RecentIds(horizon_ms())
        self._ids.learn(stored_ids())

    def take(self, rows: pa.Table, place: Offsets) -> None:
        """Take in events that have been read together.

        Args:
            rows: rows of :func:`ingestion.events.archive.archivable`.
            place: where in Kafka they end.
        """
        rows = self._tombstones.refused(rows)
        counted = self._counted(rows)
        events = event_rows(rows.filter(counted))
        useful, calls = contributing(events), tying(events)
        changed = {entity: self._fold(entity, useful, calls) for entity in self._features}
        for entity, numbers in changed.items():
            reached = self._appenders[entity].reached(place)
            values = self._features[entity].activity.rows(numbers, reached)
            self._push(entity, values)
            self._appenders[entity].add(values, place)
        self._archive.take(rows, counted, events, place)
        self._transitions.take(useful)
        self._read = place

    def commit_if_due(self) -> None:
        """Begin to write in the background what has been waiting for long enough, unless the last is still on its way."""
        waiting = max(appender.waiting for appender in self._appenders.values())
        if self._features_writer.due(waiting):
            self._begin_features()
        if self._archive_writer.due(self._archive.waiting):
            self._begin_archive()
        if self._transitions.waiting and self._transitions_writer.due(self._transitions.waiting):
            self._begin_transitions()

    def close(self) -> None:
        """Write everything that is waiting."""
        self._begin_features()
        self._begin_archive()
        self._begin_transitions()
        self._transitions_writer.wait()
        self._transitions.write_offline()
        self.abandon()

    def abandon(self) -> None:
        """Wait for what is being written: nobody else may write the tables before."""
        with ExitStack() as stack:
            for writer in (self._features_writer, self._archive_writer, self._transitions_writer):
                stack.callback(writer.close)

    def _begin_features(self) -> None:
        self._features_writer.wait()
        for appender in self._appenders.values():
            appender.begin()
        self._features_writer.start()

    def _begin_archive(self) -> None:
        self._archive_writer.wait()
        self._archive.begin()
        self._archive_writer.start()

    def _begin_transitions(self) -> None:
        self._transitions_writer.wait()
        self._transitions.begin()
        self._transitions_writer.start()

    def _write_features(self) -> None:
        for appender in self._appenders.values():
            appender.write()

    def _counted(self, rows: pa.Table) -> pa.Array:
        """Which rows are events that count: good, and the first of their ids."""
        rows = rows.select(["good", "dedup_key", "received_at", "partition", "offset"])
        by_arrival = [(name, "ascending") for name in ("received_at", "partition", "offset")]
        order = pc.sort_indices(rows, by_arrival)
        good = order.filter(rows["good"].take(order).combine_chunks())
        chosen = rows.take(good)
        places = place_numbers(chosen["partition"], chosen["offset"])
        counted = np.zeros(rows.num_rows, bool)
        first = self._ids.first(chosen["dedup_key"].to_pylist(), places, epoch_ms(chosen["received_at"]))
        counted[good.to_numpy()] = first
        return pa.array(counted)

    def _fold(self, entity: Entity, useful: pa.Table, calls: pa.Table) -> Integers:
        """Let events, and calls that tie ids, count that an entity's features do not know of.

        Returns:
            The numbers of what changed.
        """
        features = self._features[entity]
        appender = self._appenders[entity]
        _, fresh = appender.parted(useful)
        if isinstance(features, ItemFeatures):
            return features.take(fresh)
        known_calls, fresh_calls = appender.parted(calls)
        for tie in ties_in(known_calls):
            features.identities.add(tie)
        return features.take(fresh, ties_in(fresh_calls))

    def _push(self, entity: Entity, values: pa.Table) -> None:
        """Write values online, until it has worked: what is committed offline must be online."""
        while True:
            try:
                if not self._online.push(ACTIVITY[entity], values):
                    self._fill()
                return
            except REDIS_ERRORS as error:
                log.error("the online store does not answer, trying again: %s", error)
                if self._stopped():
                    raise
                time.sleep(_RETRY_SECONDS)

    def _fill(self) -> None:
        """Write everything online: the server had nothing."""
        log.warning("the online store is empty; it is filled with all that is known")
        for entity, features in self._features.items():
            values = features.activity.rows(features.activity.everything(), self._read)
            self._online.fill(ACTIVITY[entity], values, f"{entity.value}s")
        self._online.fill_latest(ITEM_TRANSITIONS)
        catalog_store.fill_online(self._online)

    def _features_of_customers(self, entity: Entity) -> CustomerFeatures:
        """Without values yet, but with the ties that the stored values have been computed with."""
        features = CustomerFeatures(entity, partial(self._stored_events, entity))
        covered = self._appenders[entity].covered
        for tie in ties_in(stored_events(f"{one_of('type', TIE_TYPES)} AND {offsets.before(covered)}")):
            features.identities.add(tie)
        return features

    def _stored_events(self, entity: Entity, customers: set[str]) -> pa.Table:
        """All events so far of some ids that an entity's features know of, those included that are not in the table yet."""
        self._archive_writer.wait()
        reached = self._appenders[entity].reached(self._read)
        stored = stored_events(f"{offsets.before(reached)} AND {one_of('customer_id', customers)}")
        waiting = self._archive.waiting_events()
        mine = waiting.filter(pc.is_in(waiting["customer_id"], value_set=pa.array(sorted(customers), pa.string())))
        return pa.concat_tables([stored, mine])
