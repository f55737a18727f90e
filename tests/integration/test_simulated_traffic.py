"""The simulator's live traffic through a real collector into a real broker."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ingestion_processes import EventsTopic, collector, run, start
from own_stack import OwnStack

from feature_repo.contract import check
from feature_repo.settings import Settings
from ingestion.simulator.history import write_history
from ingestion.simulator.shop import Shop, ShopParameters

RATE, SECONDS = 80.0, 4.0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    parameters = ShopParameters(seed=3, products=200, customers=300, days=1, end="2026-03-10T12:00:00+00:00")
    write_history(Shop(parameters), 500, folder, lambda _written: None)
    return folder


@pytest.fixture(scope="module")
def url(stack_env: OwnStack, kafka_and_redis: Settings) -> Iterator[str]:
    url = f"http://127.0.0.1:{stack_env.port('COLLECTOR__PORT')}"
    with collector(stack_env.environment(), url):
        yield url


def live(shop: Path, *more: str) -> tuple[str, ...]:
    return ("simulate", "live", "--shop", str(shop), "--rate", str(RATE), *more)


def sent(output: str) -> int:
    found = re.findall(r"([\d,]+) events sent in", output)
    assert found, output
    return int(found[-1].replace(",", ""))


def test_traffic_flows_at_the_rate_asked_for(stack_env: OwnStack, url: str, topic: EventsTopic, shop: Path) -> None:
    for _ in range(2):
        done = run(stack_env.environment(), *live(shop, "--duration", str(SECONDS)))
        assert done.returncode == 0, done.stdout
        assert 0.7 * RATE * SECONDS < sent(done.stdout) < 1.1 * RATE * SECONDS
    events = [record.event for record in topic.read()]
    assert len({event["messageId"] for event in events}) == len(events)
    assert [violation for event in events if (violation := check(event))] == []
    for event in events:
        assert datetime.now(UTC) - datetime.fromisoformat(event["timestamp"]) < timedelta(minutes=2)
    assert len({event["context"]["sessionId"] for event in events}) > 10


def test_the_collector_may_go_and_come_back(
    stack_env: OwnStack, kafka_and_redis: Settings, topic: EventsTopic, shop: Path
) -> None:
    port = OwnStack.at(stack_env.home).port("COLLECTOR__PORT")
    url = f"http://127.0.0.1:{port}"
    environment = {**stack_env.environment(), "SHELFWISE_COLLECTOR__PORT": str(port)}
    process = start(environment, *live(shop))
    time.sleep(3.0)
    with collector(environment, url):
        time.sleep(3.0)
    with collector(environment, url):
        time.sleep(3.0)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "waiting for the collector" in output
    events = [record.event["messageId"] for record in topic.read()]
    assert len(set(events)) == sent(output) > 0


def test_a_wrong_write_key_is_named(stack_env: OwnStack, url: str, shop: Path) -> None:
    environment = {**stack_env.environment(), "SHELFWISE_COLLECTOR__WRITE_KEY": "wrong"}
    done = run(environment, *live(shop))
    assert done.returncode == 1
    assert "SHELFWISE_COLLECTOR__WRITE_KEY" in done.stdout
    assert "Traceback" not in done.stdout


def test_without_a_shop(stack_env: OwnStack, tmp_path: Path) -> None:
    done = run(stack_env.environment(), *live(tmp_path))
    assert done.returncode == 1
    assert "simulate history" in done.stdout
