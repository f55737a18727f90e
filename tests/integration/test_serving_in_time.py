"""The service answers in time whatever is slow, hangs, is gone or too much: servers are stopped, killed, or behind a slow one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from own_stack import free_ports
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis, RedisError
from shop_stack import ShopStack, shop_stack
from tcp_proxy import Proxy, proxy_to
from waiting import until

from deploy.records import Records
from deploy.redis_server import find_server
from feature_repo.feast_parts.stores import entity_keys
from feature_repo.models.promotions import promote
from feature_repo.settings import PROJECT_ROOT, get_settings
from feature_repo.tables import SHOP

# Wide enough for a machine that also runs other tests.
DEADLINE = 0.4
READ_SHARE = 0.2
STALE_SECONDS = 5.0
MOST_IN_HAND = 4
# What client, network and a busy machine add.
SLACK = 1.0
# What readiness says while Redis cannot be read, whichever it notices first.
UNREADABLE = re.compile("cannot be read|the catalogue was read")
# What the model is worth does not matter here.
SMALL = {"ITEM_SPACES": "1", "FACTORS": "16", "TEST_TURNS": "50", "MAX_TURNS": "2000", "LIST_RANKER__TREES": "20"}
SMALL |= {"TURN_RANKER__TREES": "20", "ORDER_RANKER__TREES": "20"}
SETTINGS = {
    "DEADLINE_MS": str(DEADLINE * 1000),
    "READ_TIMEOUT_MS": str(READ_SHARE * 1000),
    "STALE_SECONDS": str(STALE_SECONDS),
    "MAX_CONCURRENCY": str(MOST_IN_HAND),
    "SNAPSHOT_SECONDS": "0.3",
    "MODEL_POLL_SECONDS": "0.5",
}


@dataclass
class Served:
    """The running service, its Redis behind a proxy."""

    shop: ShopStack
    proxy: Proxy
    client: httpx.Client

    def ask(self, **body: Any) -> dict[str, Any]:
        """A useful answer, in time."""
        begun = time.monotonic()
        response = self.client.post("/recommend", json={"user_id": "c1", "k": 5, **body})
        assert time.monotonic() - begun < DEADLINE + SLACK
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        assert len(answer["items"]) == 5
        assert answer["model_version"]
        return answer

    def is_whole(self) -> bool:
        """Whether nothing is missing, in answers and to readiness."""
        answer = self.ask()
        whole: bool = (answer["degraded"], answer["fallback"]) == ([], None)
        return whole and self.client.get("/readyz").status_code == 200

    def not_ready(self) -> str:
        """What readiness says, once it is not ready."""
        found = until(lambda: (answer := self.client.get("/readyz")).status_code == 503 and answer, seconds=10)
        return str(found.text)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have some labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.client.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def pid(self, name: str) -> int:
        process = Records(self.shop.stack.home / "run").running(name)
        assert process is not None
        return int(process.pid)

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """A process that hangs for a while."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with (
        shop_stack(tmp_path_factory.mktemp("in-time"), customers=150) as shop,
        pytest.MonkeyPatch.context() as patch,
        proxy_to(shop.stack.port("REDIS__PORT")) as proxy,
    ):
        for section, settings in (("TRAINING", SMALL), ("SERVING", SETTINGS)):
            for name, value in settings.items():
                patch.setitem(shop.stack.variables, f"SHELFWISE_{section}__{name}", value)
        shop.deploy("up", "kafka")
        shop.materialise()
        shop.train()
        patch.setitem(shop.stack.variables, "SHELFWISE_REDIS__URL", f"127.0.0.1:{proxy.port}")
        shop.deploy("up", "serving")
        port = shop.stack.port("SERVING__PORT")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield Served(shop, proxy, client)


@pytest.fixture(autouse=True)
def _well_before(served: Served) -> Iterator[None]:
    until(served.is_whole, seconds=20)
    yield
    served.proxy.delay = 0.0


def test_an_answer_tells_how_old_what_it_rests_on_is(served: Served) -> None:
    before = served.metric("shelfwise_catalogue_age_seconds_count")
    known, unknown = served.ask(), served.ask(user_id="nobody")
    assert known["feature_age_ms"] > 0
    assert unknown["feature_age_ms"] is None
    assert 0 <= known["catalogue_age_ms"] < STALE_SECONDS * 1000
    assert served.metric("shelfwise_catalogue_age_seconds_count") == before + 2


def test_a_slow_store_costs_its_share_and_then_nothing(served: Served) -> None:
    timeouts = served.metric("shelfwise_feature_reads_total", result="timeout")
    served.proxy.delay = READ_SHARE + 0.3
    answers = [served.ask(context_items=["p2"]) for _ in range(3)]
    assert all("customer" in answer["degraded"] and answer["fallback"] == "session" for answer in answers)
    assert UNREADABLE.search(served.not_ready())
    assert served.metric("shelfwise_circuit_open") == 1
    assert served.metric("shelfwise_feature_reads_total", result="timeout") >= timeouts + 3
    begun = time.monotonic()
    for _ in range(20):
        served.ask()
    assert time.monotonic() - begun < 20 * READ_SHARE, "hardly any of them waits"
    assert served.metric("shelfwise_feature_reads_total", result="skipped") > 0
    served.proxy.delay = 0.0
    until(lambda: served.client.get("/readyz").status_code == 200, seconds=10)  # although nobody asks
    assert served.metric("shelfwise_circuit_open") == 0


def test_a_store_that_hangs_makes_answers_poorer_and_not_later(served: Served) -> None:
    with served.stopped("redis"):
        answer = until(lambda: "catalogue" in (found := served.ask())["degraded"] and found, seconds=30)
        assert answer["degraded"] == ["customer", "catalogue"]
        assert answer["fallback"] == "popular"
        assert answer["catalogue_age_ms"] > STALE_SECONDS * 1000
        assert UNREADABLE.search(served.not_ready())
        assert served.client.get("/livez").status_code == 200
    assert served.metric("shelfwise_degraded_answers_total", missing="catalogue") > 0


def test_a_catalogue_that_is_gone_from_the_store_is_answered_from_memory(served: Served) -> None:
    redis = Redis(port=served.proxy.target)
    [key] = entity_keys("shop", [SHOP], "shelfwise")
    redis.rename(key, "aside")
    try:
        answer = until(lambda: (found := served.ask())["degraded"] and found, seconds=30)
        assert answer["degraded"] == ["catalogue"]
        assert answer["fallback"] is None, "the customer is known as before"
        assert "the list of products is gone" in served.not_ready()
    finally:
        redis.rename("aside", key)


def test_kafka_that_hangs_makes_no_answer_late_and_loses_none(served: Served) -> None:
    logged, lost = (served.metric(f"shelfwise_answers_{what}_total") for what in ("logged", "lost"))
    with served.stopped("kafka"):
        took, poorer = [], 0
        for _ in range(200):
            begun = time.monotonic()
            poorer += bool(served.ask()["degraded"])
            took.append(time.monotonic() - begun)
            time.sleep(0.02)
        # A busy machine may make a few late; Kafka's own patience is many seconds.
        assert sorted(took)[-20] < DEADLINE
        assert poorer < 20
    until(lambda: served.metric("shelfwise_answers_logged_total") >= logged + 200, seconds=40)
    assert served.metric("shelfwise_answers_lost_total") == lost


def test_overload_is_refused_at_once_and_gone_with_the_load(served: Served) -> None:
    load = asyncio.run(overload(served.shop.stack.port("SERVING__PORT"), clients=24, seconds=4.0))
    assert set(load.statuses) == {200, 429}
    assert load.statuses[200] > 50, "those that are taken on are answered"
    assert load.retry_after == {"1"}
    assert load.codes == {"overloaded"}
    assert max(load.answered) < DEADLINE + SLACK
    assert len(load.probed) >= 10
    assert np.median(load.probed) < 0.5
    until(served.is_whole, seconds=5.0)  # within a second where nothing else runs
    assert served.metric("shelfwise_errors_total", code="overloaded") == load.statuses[429]


@dataclass
class Load:
    """What became of many requests at once; times in seconds."""

    statuses: Counter[int]
    answered: list[float]
    probed: list[float]
    retry_after: set[str | None]
    codes: set[str]


async def overload(port: int, clients: int, seconds: float) -> Load:
    """Ask from many connections without pause, and look at probes and metrics meanwhile."""
    load = Load(Counter(), [], [], set(), set())
    ends = time.monotonic() + seconds
    body = b'{"user_id": "c1", "k": 5}'
    head = b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < ends:
            begun = time.monotonic()
            writer.write(head % len(body) + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            content = await reader.readexactly(int(headers["content-length"]))
            status = int(lines[0].split()[1])
            load.statuses[status] += 1
            load.answered.append(time.monotonic() - begun)
            if status != 200:
                load.retry_after.add(headers.get("retry-after"))
                load.codes.add(json.loads(content)["error"]["code"])
                await asyncio.sleep(0.05)
        writer.close()

    async def probe() -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            while time.monotonic() < ends:
                for path in ("/livez", "/readyz", "/metrics"):
                    begun = time.monotonic()
                    answer = await client.get(path)
                    # A machine that is busy with other things, too, may read the store late, and is not ready then.
                    assert answer.status_code == 200 or path == "/readyz", answer.text
                    load.probed.append(time.monotonic() - begun)
                await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as group:
        group.create_task(probe())
        for _ in range(clients):
            group.create_task(ask())
    return load


def test_a_broken_model_does_not_come_into_use_and_shows(served: Served) -> None:
    version = served.ask()["model_version"]
    broken = copy_of_model(served.shop.stack.home / "bentoml", version, "broken")
    ruin(broken)
    promote("broken", "by a test", version)
    until(lambda: served.metric("shelfwise_model_refused") == 1, seconds=10)
    assert served.ask()["model_version"] == version
    assert served.is_whole(), "the one before does as well"
    promote(version, "by a test", "broken")
    until(lambda: served.metric("shelfwise_model_refused") == 0, seconds=10)


def copy_of_model(store: Path, version: str, other: str) -> Path:
    folder = store / "models" / "shelfwise"
    copied = folder / other
    shutil.copytree(folder / version, copied)
    record = copied / "model.yaml"
    record.write_text(record.read_text().replace(version, other))
    return copied


def ruin(model: Path) -> None:
    """As a disk that was full while it was written."""
    for file in model.rglob("*"):
        if file.is_file() and file.name != "model.yaml":
            os.truncate(file, file.stat().st_size // 2)


def test_without_any_usable_model_and_with_keys(served: Served, tmp_path: Path) -> None:
    """Both in one start of a service, which takes its time."""
    version, store = served.ask()["model_version"], tmp_path / "bentoml"
    shutil.copytree(served.shop.stack.home / "bentoml", store)
    ruin(store / "models" / "shelfwise" / version)
    shutil.rmtree(store / "models" / "shelfwise" / "broken", ignore_errors=True)
    [port] = free_ports(1)
    further = {"SERVING__PORT": str(port), "SERVING__READ_KEYS": '["first-secret", "other-secret"]'}
    variables = {**served.shop.stack.environment(), **{f"SHELFWISE_{name}": value for name, value in further.items()}}
    log = tmp_path / "log"
    with log.open("w") as output:
        service = subprocess.Popen(
            [sys.executable, "-m", "serving"],
            cwd=PROJECT_ROOT,
            env={**variables, "BENTOML_HOME": str(store)},
            stdout=output,
            stderr=output,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            until(lambda: "no model of shelfwise can be used" in text_of(client, "/readyz"), seconds=120)
            body = {"user_id": "c1", "k": 5}
            answer = client.post("/recommend", json=body, auth=("other-secret", "")).json()
            assert (answer["degraded"], answer["fallback"], answer["model_version"]) == (["model"], "popular", None)
            assert len(answer["items"]) == 5
            for auth in (None, ("wrong", ""), ("", "first-secret")):
                refused = client.post("/recommend", json=body, auth=auth)
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
                assert refused.headers["www-authenticate"].startswith("Basic")
            for path in ("/livez", "/metrics", "/openapi.json"):
                assert client.get(path).status_code == 200
            assert "shelfwise_model_refused 1.0" in text_of(client, "/metrics")
            everything = "".join(text_of(client, path) for path in ("/metrics", "/openapi.json", "/readyz"))
    finally:
        service.terminate()
        service.wait(timeout=60)
    assert "-secret" not in everything + log.read_text()


def text_of(client: httpx.Client, path: str) -> str:
    try:
        return client.get(path).text
    except httpx.TransportError:
        return ""


def test_a_failover_is_survived_without_a_restart(served: Served, tmp_path: Path) -> None:
    """The last test here: the first Redis is gone after it."""
    [port] = free_ports(1)
    command = [find_server(get_settings()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    command += ["--replicaof", "127.0.0.1", str(served.proxy.target), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as replica:
        try:
            other = Redis(port=port)
            until(lambda: in_step(other), seconds=20)
            os.kill(served.pid("redis"), signal.SIGKILL)
            served.proxy.cut()
            answers = [served.ask() for _ in range(10)]
            assert all(answer["degraded"] == ["customer"] for answer in answers[1:])
            assert UNREADABLE.search(served.not_ready())
            other.replicaof("NO", "ONE")
            served.proxy.target = port
            served.proxy.cut(refuse=False)
            until(served.is_whole, seconds=10)
        finally:
            replica.kill()


def in_step(replica: Redis) -> bool:
    try:
        return bool(replica.info("replication").get("master_link_status") == "up")  # type: ignore[union-attr]
    except RedisError:  # it is starting
        return False
