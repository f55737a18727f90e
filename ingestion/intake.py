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

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from redis.exceptions import RedisError

from feature_repo.aggregates import Entity
from feature_repo.tables import ACTIVITY, EVENTS
from ingestion import catalog_store, offsets
from ingestion.activity import Activity
from ingestion.appending import Appender
from ingestion.archive import Archive, event_rows
from ingestion.contributions import Integers
from ingestion.definition import check_definition
from ingestion.feature_engine import CustomerFeatures, ItemFeatures
from ingestion.identity import TIE_TYPES, Tie, ties_in
from ingestion.latest import latest_rows
from ingestion.moments import epoch_ms
from ingestion.offsets import Offsets
from ingestion.online import OnlineStore
from ingestion.recent_ids import RecentIds, horizon_ms, place_numbers, stored_ids
from ingestion.writer import Writer

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
        self._archive = Archive(first, following)
        self._appenders = {entity: Appender(table, first, following) for entity, table in ACTIVITY.items()}
        self._features_writer = Writer(self._write_features, offline_seconds)
        self._archive_writer = Writer(self._archive.write, archive_seconds)
        places = [*self._archive.covered, *(appender.covered for appender in self._appenders.values())]
        self.milestones = sorted(places, key=lambda place: sum(place.values()))
        self._read = self.milestones[0]
        self._customers, self._items = CustomerFeatures(self._stored_events), ItemFeatures()
        for entity, activity in self._activities.items():
            activity.load(latest_rows(entity))
        for tie in self._stored_ties():
            self._customers.identities.add(tie)
        self._ids = RecentIds(horizon_ms())
        self._ids.learn(stored_ids())

    @property
    def _activities(self) -> dict[Entity, Activity]:
        return {Entity.CUSTOMER: self._customers.activity, Entity.ITEM: self._items.activity}

    def take(self, rows: pa.Table, place: Offsets) -> None:
        """Take in events that have been read together.

        Args:
            rows: rows of :func:`ingestion.archive.archivable`.
            place: where in Kafka they end.
        """
        rows = rows.sort_by([("received_at", "ascending"), ("partition", "ascending"), ("offset", "ascending")])
        counted = self._counted(rows)
        events = event_rows(rows.filter(counted))
        changed = {Entity.CUSTOMER: self._of_customers(events), Entity.ITEM: self._of_items(events)}
        for entity, numbers in changed.items():
            reached = self._appenders[entity].reached(place)
            values = self._activities[entity].rows(numbers, reached)
            self._push(entity, values)
            self._appenders[entity].add(values, place)
        self._archive.take(rows, counted, events, place)
        self._read = place

    def commit_if_due(self) -> None:
        """Begin to write to the offline store what has been waiting for long enough, unless the last is still on its way."""
        waiting = max(appender.waiting for appender in self._appenders.values())
        if self._features_writer.due(waiting):
            self._begin_features()
        if self._archive_writer.due(self._archive.waiting):
            self._begin_archive()

    def close(self) -> None:
        """Write everything that is waiting."""
        self._begin_features()
        self._begin_archive()
        self.abandon()

    def abandon(self) -> None:
        """Wait for what is being written: nobody else may write the tables before."""
        try:
            self._features_writer.close()
        finally:
            self._archive_writer.close()

    def _begin_features(self) -> None:
        self._features_writer.wait()
        for appender in self._appenders.values():
            appender.begin()
        self._features_writer.start()

    def _begin_archive(self) -> None:
        self._archive_writer.wait()
        self._archive.begin()
        self._archive_writer.start()

    def _write_features(self) -> None:
        for appender in self._appenders.values():
            appender.write()

    def _counted(self, rows: pa.Table) -> pa.Array:
        """Which rows are events that count: good, and the first of their ids."""
        good = rows["good"].combine_chunks()
        chosen = rows.filter(good)
        arrived = epoch_ms(chosen["received_at"])
        places = place_numbers(chosen["partition"], chosen["offset"])
        counted = np.zeros(rows.num_rows, bool)
        counted[good.to_numpy(False)] = self._ids.first(chosen["dedup_key"].to_pylist(), places, arrived)
        return pa.array(counted)

    def _of_customers(self, events: pa.Table) -> Integers:
        beyond = self._appenders[Entity.CUSTOMER].beyond(events)
        fresh = events.filter(pa.array(beyond))
        for tie in ties_in(events.filter(pa.array(~beyond))):
            self._customers.identities.add(tie)
        return self._customers.take(fresh, ties_in(fresh))

    def _of_items(self, events: pa.Table) -> Integers:
        return self._items.take(events.filter(pa.array(self._appenders[Entity.ITEM].beyond(events))))

    def _push(self, entity: Entity, values: pa.Table) -> None:
        """Write values online, until it has worked: what is committed offline must be online."""
        while True:
            try:
                if not self._online.push(ACTIVITY[entity], values):
                    self._fill()
                return
            except RedisError as error:
                log.error("the online store does not answer, trying again: %s", error)
                if self._stopped():
                    raise
                time.sleep(_RETRY_SECONDS)

    def _fill(self) -> None:
        """Write everything online: the server had nothing."""
        log.warning("the online store is empty; it is filled with all that is known")
        for entity, activity in self._activities.items():
            values = activity.rows(activity.everything(), self._read)
            self._online.fill(ACTIVITY[entity], values, f"{entity.value}s")
        catalog_store.fill_online(self._online)

    def _stored_ties(self) -> list[Tie]:
        """The ties that the stored values of customers have been computed with."""
        covered = self._appenders[Entity.CUSTOMER].covered
        return ties_in(_events(f"type IN {TIE_TYPES} AND {offsets.before(covered)}"))

    def _stored_events(self, customers: set[str]) -> pa.Table:
        """All events so far of some ids, those included that are not in the table yet."""
        self._archive_writer.wait()
        reached = self._appenders[Entity.CUSTOMER].reached(self._read)
        stored = _events(f"{offsets.before(reached)} AND customer_id IN (SELECT unnest(?))", sorted(customers))
        waiting = self._archive.waiting_events()
        mine = waiting.filter(pc.is_in(waiting["customer_id"], value_set=pa.array(sorted(customers), pa.string())))
        return pa.concat_tables([stored.cast(EVENTS.schema), mine])


def _events(condition: str, *parameters: object) -> pa.Table:
    """Rows of the events table."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", DeltaTable(EVENTS.uri).to_pyarrow_dataset())
        return connection.execute(f"SELECT * FROM events WHERE {condition}", list(parameters)).to_arrow_table()
