"""Following the topic of changes: what counts is delivered first, and then it is noted how far that was."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError
from kafka import KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError, TopicAlreadyExistsError

from feature_repo.errors import InputError, UnavailableError
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.settings import get_settings
from feature_repo.tables import CATALOG
from ingestion.catalog import store as catalog_store
from ingestion.changes import envelope
from ingestion.changes.config import Mapping
from ingestion.changes.mapper import Mapper
from ingestion.changes.products import ProductRow, catalogue_rows
from ingestion.changes.state import State
from ingestion.crm.delivery import Delivery
from ingestion.locks import writing_catalogue
from ingestion.quarantine.reasons import objection

_MOST_RECORDS = 5_000
_SHOWN = 2_000


@dataclass
class Counts:
    """What was done: changes read, orders and refusals sent, orders that were known, rows of the catalogue written."""

    changes: int = 0
    orders: int = 0
    known: int = 0
    refused: int = 0
    products: int = 0
    taken_back: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Follower:
    """Reads on from where the last one came to; a context manager."""

    def __init__(self, mapping: Mapping, delivery: Delivery) -> None:
        """Connect.

        Raises:
            UnavailableError: Kafka does not answer.
            InputError: the topic, or what is remembered of it, cannot be used.
        """
        settings = get_settings()
        self._topic = TopicPartition(mapping.topic, 0)
        self._mapping, self._state = mapping, State(mapping.name)
        self._delivery = delivery
        with ExitStack() as opened:
            opened.callback(self._state.close)
            try:
                self._consumer = KafkaConsumer(
                    bootstrap_servers=settings.kafka.servers.split(","),
                    # For those who watch how far behind the group is; the place that counts is in the state.
                    group_id=f"shelfwise-cdc-{mapping.name}",
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    isolation_level="read_committed",
                    max_poll_records=_MOST_RECORDS,
                    metrics_enabled=False,
                )
                opened.callback(self._consumer.close)
                self.lost = self._go_to_place()
            except KafkaError as error:
                raise UnavailableError(f"Kafka does not answer at {settings.kafka.servers}: {error}") from error
            self._opened = opened.pop_all()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def waiting(self) -> int:
        """How many orders have not counted yet: not as they must be, without lines, or in the middle of a change."""
        return self._state.uncounted()

    @property
    def more(self) -> bool:
        """Whether there are orders to look at, whatever comes."""
        return self._state.any_due()

    def end(self) -> int:
        """The offset that follows the last change there is."""
        return int(self._consumer.end_offsets([self._topic])[self._topic])

    def place(self) -> int:
        return int(self._consumer.position(self._topic))

    def step(self, wait_seconds: float, gather_seconds: float) -> Counts:
        """Take what there is, at most some thousands of changes.

        Args:
            wait_seconds: for the first of them.
            gather_seconds: for more, as each step that has news of products makes a version of the catalogue.

        Raises:
            UnavailableError: a part does not take what is news; nothing is noted, so that the next follower begins there.
        """
        try:
            records = self._poll(wait_seconds, _MOST_RECORDS)
            until = time.monotonic() + gather_seconds
            while records and len(records) < _MOST_RECORDS and (left := until - time.monotonic()) > 0:
                records += self._poll(left, _MOST_RECORDS - len(records))
        except KafkaError as error:
            raise UnavailableError(f"Kafka does not give the changes: {error}") from error
        mapper, changes = Mapper(self._mapping, self._state), 0
        for record in records:
            try:
                if said := envelope.read(record.key, record.value):
                    mapper.take(said)
                    changes += not isinstance(said, envelope.Ended | envelope.Passed)
            except envelope.NotUnderstoodError as error:
                text = (record.value or b"").decode(errors="replace")[:_SHOWN]
                changes += 1
                mapper.refuse(str(error), datetime.fromtimestamp(record.timestamp / 1000, UTC), text)
        mapper.take_complete()
        news = mapper.news
        counts = Counts(changes=changes, taken_back=news.taken_back)
        if events := [*news.orders.values(), *news.refused]:
            delivered = self._delivery.deliver(events)
            counts.orders, counts.known, counts.refused = delivered.sent, delivered.known, delivered.refused
        if news.products:
            counts.products = _into_catalogue(news.products, self._mapping)
        for order_id, event in news.orders.items():
            # One that is refused may be mended in the database, and then comes again.
            if objection(orjson.dumps(event).decode(), datetime.now(UTC)) is None:
                self._state.forget_counted(order_id)
        self._note(records[-1].offset + 1 if records else None)
        return counts

    def _poll(self, seconds: float, most: int) -> list[Any]:
        found = self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=most)
        return list(found.get(self._topic, []))

    def _note(self, reached: int | None) -> None:
        if reached is not None:
            self._state.reach(self._topic.topic, reached)
        self._state.commit()
        if reached is not None:
            self._consumer.commit_async({self._topic: OffsetAndMetadata(reached, "", -1)})

    def _go_to_place(self) -> int:
        """Go on where the state ends; how many changes Kafka has deleted that were not read."""
        topic = self._topic.topic
        partitions = self._consumer.partitions_for_topic(topic) or _created(topic)
        if len(partitions) > 1:
            raise InputError(f"{topic} has {len(partitions)} partitions; it must have one, or changes lose their order")
        self._consumer.assign([self._topic])
        first, end = self._consumer.beginning_offsets([self._topic])[self._topic], self.end()
        place = self._state.place(topic)
        if place is not None and place > end:
            raise InputError(
                f"{topic} ends at {end}, but {place} changes of it have been read: it was made anew. Delete "
                f"{self._state.path} to read it from its beginning; what is known already is not counted twice"
            )
        self._consumer.seek(self._topic, first if place is None else max(place, first))
        return 0 if place is None else max(0, first - place)


def _created(topic: str) -> set[int]:
    """Make the topic, which Connect would only do with the first change; gives its partitions."""
    kafka = get_settings().kafka
    admin = KafkaAdminClient(bootstrap_servers=kafka.servers.split(","))
    try:
        admin.create_topics({topic: kafka.new_topic(1)}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        pass  # Connect was faster
    finally:
        admin.close()
    return {0}


@writing_catalogue()
def _into_catalogue(products: list[ProductRow], mapping: Mapping) -> int:
    assert mapping.products
    try:
        CATALOG.create_if_missing()
        ids = pa.array(sorted({product.fields["product_id"] for product in products}), pa.string())
        rows = catalog_store.current_rows()
        known = {row["product_id"]: row for row in rows.filter(pc.is_in(rows["product_id"], value_set=ids)).to_pylist()}
        return catalog_store.upsert(catalogue_rows(products, known, mapping.products.says))
    except REDIS_ERRORS as error:
        raise UnavailableError(f"the online store cannot be used: {error}; `make status` shows what runs") from error
    except DeltaError as error:
        raise UnavailableError(f"the offline store did not take the products ({error})") from error
