"""The one-machine stack's processes, with the real broker and the real Redis."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from own_stack import OwnStack
from redis import Redis

from deploy import processes
from deploy.records import Records
from feature_repo.settings import Settings

EVENTS_TOPIC = "shelfwise.events"
SERVERS = ("kafka", "redis")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[OwnStack]:
    """A stack for one test; whatever the test leaves is stopped, and nothing may survive that."""
    stack = OwnStack.at(tmp_path)
    yield stack
    stack.deploy("down")
    assert survivors(stack) == set()


@pytest.fixture
def running(stack: OwnStack) -> OwnStack:
    up = stack.deploy("up", *SERVERS)
    assert up.returncode == 0, up.stdout
    return stack


def survivors(stack: OwnStack) -> set[int]:
    """Ids of the stack's processes: by their mark, or by their folder because Redis overwrites its environment."""
    found = {process.pid for process in processes.marked(stack.home, lambda _: True)}
    for process in psutil.process_iter(["cwd"]):
        if (process.info["cwd"] or "").startswith(str(stack.home)):
            found.add(process.pid)
    return found


def pid(stack: OwnStack, service: str) -> int:
    process = Records(stack.home / "run").running(service)
    assert process is not None, f"{service} does not run"
    return process.pid


def bootstrap(stack: OwnStack) -> str:
    return f"127.0.0.1:{stack.port('KAFKA__PORT')}"


def redis(stack: OwnStack) -> Redis:
    return Redis(port=stack.port("REDIS__PORT"), decode_responses=True)


def test_up_status_and_down_leave_nothing_behind(stack: OwnStack) -> None:
    assert stack.deploy("up", *SERVERS).returncode == 0
    assert {EVENTS_TOPIC, "shelfwise.quarantine"} <= set(
        KafkaAdminClient(bootstrap_servers=bootstrap(stack)).list_topics()
    )
    assert redis(stack).ping()

    status = stack.deploy("status")
    assert status.returncode == 1, "the rest of the stack is not up"
    for service in SERVERS:
        assert any(line.split()[:2] == [service, "up"] for line in status.stdout.splitlines()), status.stdout

    before = [pid(stack, service) for service in SERVERS]
    assert stack.deploy("up", *SERVERS).returncode == 0
    assert [pid(stack, service) for service in SERVERS] == before, "up leaves what runs"

    down = stack.deploy("down")
    assert down.returncode == 0, down.stdout
    assert survivors(stack) == set()
    assert stack.deploy("up", *SERVERS).returncode == 0, "the ports must be free again"


def test_a_broker_that_was_killed_comes_back_with_its_events(running: OwnStack) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap(running))
    producer.send(EVENTS_TOPIC, b"an event").get(timeout=20)
    producer.close()
    os.kill(pid(running, "kafka"), signal.SIGKILL)

    assert running.deploy("up", *SERVERS).returncode == 0

    consumer = KafkaConsumer(
        EVENTS_TOPIC,
        bootstrap_servers=bootstrap(running),
        auto_offset_reset="earliest",
        consumer_timeout_ms=20_000,
    )
    message = next(consumer)
    consumer.close()
    assert message.value == b"an event"
    assert message.timestamp_type == 1, "the broker dates events by their arrival"


def test_redis_keeps_its_data_over_a_kill_and_a_torn_file(running: OwnStack) -> None:
    with redis(running) as client:
        client.set("kept", "yes")
        client.execute_command("WAITAOF", 1, 0, 5000)
    os.kill(pid(running, "redis"), signal.SIGKILL)
    newest = max((running.home / "redis").rglob("*.aof"), key=lambda path: path.stat().st_mtime)
    with newest.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")

    up = running.deploy("up", *SERVERS)

    assert up.returncode == 0, up.stdout
    assert redis(running).get("kept") == "yes"


def test_a_format_that_was_cut_off_is_done_again(stack: OwnStack) -> None:
    storage = stack.home / "kafka"
    storage.mkdir()
    (storage / "meta.properties").write_text("")
    (storage / "bootstrap.checkpoint.tmp").write_text("half")

    up = stack.deploy("up", "kafka")

    assert up.returncode == 0, up.stdout


def test_a_taken_port_is_named_with_its_owner_and_setting(stack: OwnStack) -> None:
    with socket.create_server(("127.0.0.1", stack.port("REDIS__PORT"))):
        up = stack.deploy("up", *SERVERS)

    assert up.returncode == 1
    assert f"redis cannot listen on 127.0.0.1:{stack.port('REDIS__PORT')}" in up.stdout
    assert f"process {os.getpid()}" in up.stdout
    assert "SHELFWISE_REDIS__PORT" in up.stdout
    assert survivors(stack) == set()


def test_a_service_that_fails_takes_down_what_was_started_with_it(stack: OwnStack) -> None:
    variables = {**stack.variables, "SHELFWISE_KAFKA__HEAP": "1k"}  # too small for any Java

    up = OwnStack(variables).deploy("up", *SERVERS)

    assert up.returncode == 1
    assert "kafka" in up.stdout
    assert "heap" in up.stdout, "the end of the log tells why"
    assert survivors(stack) == set()


def test_what_ran_before_a_failing_up_goes_on_running(stack: OwnStack) -> None:
    assert stack.deploy("up", "redis").returncode == 0
    variables = {**stack.variables, "SHELFWISE_KAFKA__HEAP": "1k"}

    assert OwnStack(variables).deploy("up", *SERVERS).returncode == 1

    assert redis(stack).ping()
    assert survivors(stack) == {pid(stack, "redis")}


def test_what_runs_elsewhere_than_it_is_set_to_is_told(stack: OwnStack) -> None:
    assert stack.deploy("up", "redis").returncode == 0
    here, other = stack.port("REDIS__PORT"), stack.port("KAFKA__PORT")
    moved = OwnStack({**stack.variables, "SHELFWISE_REDIS__PORT": str(other), "SHELFWISE_KAFKA__PORT": str(here)})

    up = moved.deploy("up", "redis")

    assert up.returncode == 1
    assert f"redis runs at 127.0.0.1:{here}" in up.stdout
    assert f"to have it at 127.0.0.1:{other}" in up.stdout
    assert "deploy down redis" in up.stdout
    assert f"127.0.0.1:{here}" in moved.deploy("status").stdout


@pytest.mark.parametrize(
    ("number", "after_seconds"),
    [(signal.SIGINT, 0.3), (signal.SIGINT, 0.9), (signal.SIGINT, 1.5), (signal.SIGTERM, 2.1)],
)
def test_an_interrupted_up_leaves_nothing(stack: OwnStack, number: int, after_seconds: float) -> None:
    with stack.start("up", *SERVERS) as up:
        time.sleep(after_seconds)
        up.send_signal(number)
        output, _ = up.communicate(timeout=60)

    # Python ends by the signal itself if it came within an `exec`, as where a dataclass is made, although it was handled.
    assert up.returncode in (130, -number), output
    assert survivors(stack) == set()
    assert stack.deploy("up", "redis").returncode == 0, "no lock may be left either"


def test_only_one_command_at_a_time_changes_a_stack(stack: OwnStack) -> None:
    with stack.start("up", *SERVERS) as first:
        deadline = time.monotonic() + 20
        while not survivors(stack) and time.monotonic() < deadline:
            time.sleep(0.05)
        second = stack.deploy("up", *SERVERS)
        first.communicate(timeout=60)

    assert first.returncode == 0
    assert second.returncode == 1
    assert f"process {first.pid}" in second.stdout


def test_a_server_of_ones_own_is_used_and_not_started(running: OwnStack, tmp_path: Path) -> None:
    home = tmp_path / "other"
    other = OwnStack(
        {
            "SHELFWISE_HOME": str(home),
            "SHELFWISE_KAFKA__BOOTSTRAP": bootstrap(running),
            "SHELFWISE_REDIS__URL": f"127.0.0.1:{running.port('REDIS__PORT')}",
        }
    )

    assert other.deploy("up", *SERVERS).returncode == 0
    assert survivors(other) == set()

    running.deploy("down")
    unreachable = other.deploy("up", *SERVERS)
    assert unreachable.returncode == 1
    assert "SHELFWISE_KAFKA__BOOTSTRAP" in unreachable.stdout


def test_the_session_fixture_gives_reachable_servers(kafka_and_redis: Settings) -> None:
    assert EVENTS_TOPIC in KafkaAdminClient(bootstrap_servers=kafka_and_redis.kafka.servers).list_topics()
