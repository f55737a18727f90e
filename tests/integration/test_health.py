"""The health of an installation with a real broker, a real Redis and real tables, in which things go wrong."""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from kafka import KafkaAdminClient, KafkaProducer
from own_stack import free_ports
from prometheus_client import CollectorRegistry
from redis import Redis

from feature_repo.contract import VIEWED
from feature_repo.settings import HOME_VARIABLE, Settings, get_settings
from feature_repo.tables import (
    ACTIVITY,
    CATALOG,
    CATALOG_INDEX,
    CUSTOMER_ACTIVITY,
    EVENTS,
    ITEM_ACTIVITY,
    ONLINE_WRITES,
    Table,
    create_missing_tables,
)
from ingestion import offsets
from ingestion.commands import health
from ingestion.health.metrics import serve_metrics

TOPIC = "shelfwise.health-test"
VIEWS = ("customer_activity", "customer_exposure", "item_activity", "item_catalog", "catalog_index")
FOLLOWING = (EVENTS, *ACTIVITY.values())
VIEW = orjson.dumps({"type": "track", "event": VIEWED, "properties": {"product_id": "p"}})

Alarms = set[tuple[str, str]]


class Shop:
    """An installation with a topic and tables of its own, whose stream is played by the test."""

    def __init__(self, settings: Settings) -> None:
        self.redis = Redis(host=settings.redis.host, port=settings.redis.port)
        self._producer = KafkaProducer(bootstrap_servers=settings.kafka.servers)
        self._sent = dict.fromkeys(range(3), 0)

    def close(self) -> None:
        self._producer.close()
        self.redis.close()

    def send(self, partition: int, messages: int, seconds_ago: float = 0.0) -> None:
        at = int((time.time() - seconds_ago) * 1000)
        for _ in range(messages):
            self._producer.send(TOPIC, VIEW, partition=partition, timestamp_ms=at)
        self._producer.flush()
        self._sent[partition] += messages

    def push(self, seconds_ago: float = 0.0) -> None:
        at = int((time.time() - seconds_ago) * 1000)
        self.redis.hset(ONLINE_WRITES, mapping=dict.fromkeys(VIEWS, at))

    def catch_up(self) -> None:
        """Every table reaches to the end of the topic."""
        for table in FOLLOWING:
            self.append(table, {})

    def append(self, table: Table, row: dict[str, Any], rows: int = 1) -> None:
        properties = offsets.commit(self._sent) if table in FOLLOWING else None
        given = pa.Table.from_pylist([row] * rows, schema=table.schema)
        write_deltalake(table.uri, given, mode="append", commit_properties=properties)


@pytest.fixture
def shop(kafka_and_redis: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shared broker and Redis, a topic and a home of the test's own; Redis keeps what others had noted there."""
    admin = KafkaAdminClient(bootstrap_servers=kafka_and_redis.kafka.servers)
    # The times of messages are the test's, not the broker's.
    own_times = {"message.timestamp.type": "CreateTime"}
    admin.create_topics({TOPIC: {"num_partitions": 3, "configs": own_times}}, wait_for_metadata=True)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv("SHELFWISE_KAFKA__EVENTS_TOPIC", TOPIC)
    get_settings.cache_clear()
    create_missing_tables()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stream.ready").touch()
    shop = Shop(get_settings())
    noted = shop.redis.hgetall(ONLINE_WRITES)
    try:
        yield shop
    finally:
        shop.redis.delete(ONLINE_WRITES)
        if noted:
            shop.redis.hset(ONLINE_WRITES, mapping=noted)
        shop.close()
        admin.delete_topics([TOPIC])
        admin.close()
        monkeypatch.undo()
        get_settings.cache_clear()


def alarms(capsys: pytest.CaptureFixture[str]) -> Alarms:
    """What the command raises, by check and subject; its exit code says the same."""
    code = health.run(argparse.Namespace(json=True, serve=False, watch=None))
    found = json.loads(capsys.readouterr().out)
    raised = {(check["name"], check["subject"]) for check in found["checks"] if check["status"] == "alarm"}
    assert code == (1 if raised else 0)
    return raised


def test_an_installation_in_which_things_go_wrong(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    shop.push(seconds_ago=400.0)
    assert alarms(capsys) == set()  # nothing has happened yet

    # One partition gets nothing while the others do.
    for partition in (0, 1):
        shop.send(partition, 60)
    shop.catch_up()
    assert alarms(capsys) == {("partition", "2")}
    shop.send(2, 1)
    shop.catch_up()
    assert alarms(capsys) == set()

    # The stream falls behind: messages have been waiting for long, and the online store does not show them.
    shop.send(0, 1_100, seconds_ago=300.0)
    lag = {("lag", f"{table.name}/0") for table in FOLLOWING}
    stale = {("freshness", table.name) for table in (CUSTOMER_ACTIVITY, ITEM_ACTIVITY)}  # nothing was shown
    assert alarms(capsys) == lag | stale
    shop.push()
    shop.catch_up()
    assert alarms(capsys) == set()

    # The stream archives an event, but pushes nothing.
    shop.push(seconds_ago=200.0)
    arrived = {"received_at": datetime.fromtimestamp(time.time() - 100.0, UTC), "timestamp": now, "dt": now.date()}
    viewed = {"type": "track", "event": VIEWED, "source": TOPIC, "partition": 0, "products": [{"product_id": "p"}]}
    shop.append(EVENTS, {**viewed, **arrived})
    assert alarms(capsys) == stale
    shop.push()
    assert alarms(capsys) == set()

    # Redis loses everything, at first without and then with a stream that goes on pushing what changes.
    products = [f"p{n}" for n in range(2 * int(shop.redis.dbsize()) + 100)]  # type: ignore[arg-type]
    catalogue = pa.Table.from_pylist([{"product_id": p, "created": now} for p in products], schema=CATALOG.schema)
    write_deltalake(CATALOG.uri, catalogue, mode="append")
    shop.append(CATALOG_INDEX, {"shop": "all", "created": now, "product_ids": products})
    shop.redis.delete(ONLINE_WRITES)
    assert alarms(capsys) == {("online store", "redis"), *(("freshness", view) for view in VIEWS)}
    shop.push()
    assert alarms(capsys) == {("online store", "redis")}


def test_page_metrics_and_command_tell_the_same(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.send(0, 1_007, seconds_ago=300.0)
    shop.push(seconds_ago=400.0)
    registry, port = CollectorRegistry(), free_ports(1)[0]
    close = serve_metrics("127.0.0.1", port, registry)
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=30).read().decode()
        lag = registry.get_sample_value("shelfwise_consumer_lag_messages", {"table": EVENTS.name, "partition": "0"})
        age = registry.get_sample_value("shelfwise_view_age_seconds", {"view": CUSTOMER_ACTIVITY.name})
        raised = {
            (sample.labels["check"], sample.labels["subject"])
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "shelfwise_alarm" and sample.value
        }
    finally:
        close()
    assert lag == 1_007.0
    assert age is not None
    assert 400.0 <= age < 460.0
    shown = re.findall(r'data-check="([^"]*)" data-subject="([^"]*)" data-status="alarm"', page)
    assert f'data-subject="{EVENTS.name}/0" data-status="alarm"' in page
    assert "1,007 messages" in page
    assert alarms(capsys) == raised == set(shown)
    assert len(shown) == len(raised) > len(FOLLOWING)
