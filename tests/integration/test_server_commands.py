"""The commands of compose.yaml with its settings, in its order, as far as that goes without containers.

Only the names of hosts are other ones, and the ports: Kafka and Redis (with the password) are this test's own, on loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from own_stack import OwnStack
from server_descriptions import KEYS, OWN, compose
from waiting import until

from feature_repo.settings import ENV_PREFIX, PROJECT_ROOT

SERVICES = compose()["services"]
# On a machine that runs other tests as well.
SECONDS = 240
PASSWORD = "SHELFWISE_REDIS__PASSWORD"


@dataclass(frozen=True)
class Containers:
    """What would be containers: processes with the commands and variables that compose.yaml has for them."""

    backing: OwnStack
    data: Path

    def environment(self, service: str) -> dict[str, str]:
        hosts = {
            "kafka:9092": f"127.0.0.1:{self.backing.port('KAFKA__PORT')}",
            "redis:6379": f"127.0.0.1:{self.backing.port('REDIS__PORT')}",
            **dict.fromkeys((*OWN, "0.0.0.0"), "127.0.0.1"),
        }
        given = SERVICES[service]["environment"]
        others = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        ports = {
            name: value
            for name, value in self.backing.variables.items()
            if name.endswith(("COLLECTOR__PORT", "SERVING__PORT", "HEALTH__PORT"))
        }
        moved = {name: hosts.get(value, value) for name, value in given.items()}
        return {**others, **ports, **moved, "SHELFWISE_HOME": str(self.data), "HOME": str(self.data)}

    @staticmethod
    def command(words: list[str]) -> list[str]:
        """With the programs of this environment, which in the image are first on the PATH."""
        return [str(Path(sys.executable).with_name(words[0])), *words[1:]]

    def run(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        words = self.command(list(command) or SERVICES[service]["command"])
        return subprocess.run(
            words, cwd=PROJECT_ROOT, env=self.environment(service), capture_output=True, text=True, timeout=SECONDS
        )

    def start(self, service: str) -> subprocess.Popen[bytes]:
        words = self.command(SERVICES[service]["command"])
        with (self.data / f"{service}.log").open("wb") as log:
            return subprocess.Popen(words, cwd=PROJECT_ROOT, env=self.environment(service), stdout=log, stderr=log)

    def healthy(self, service: str) -> bool:
        """What the container's health check says."""
        return self.run(service, *SERVICES[service]["healthcheck"]["test"][1:]).returncode == 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.backing.port(name)}"


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Kafka and Redis, and on them all that compose.yaml starts of the project's image."""
    plain = OwnStack.at(tmp_path_factory.mktemp("backing"))
    backing = OwnStack({**plain.variables, PASSWORD: KEYS[PASSWORD]})
    up = backing.deploy("up", "kafka", "redis")
    assert up.returncode == 0, up.stdout
    stack = Containers(backing, tmp_path_factory.mktemp("data"))
    try:
        with ExitStack() as running:
            # The steps that end. They can be repeated, as at each `docker compose up`.
            for service in ("topics", "topics", "features"):
                done = stack.run(service)
                assert done.returncode == 0, done.stdout + done.stderr
            for service in OWN:
                process = stack.start(service)
                running.callback(process.wait, SECONDS)
                running.callback(process.terminate)
            # The health checks are whole programs: they are run when they can be expected to be content.
            until((stack.data / "run" / "stream.ready").exists, SECONDS)
            until(lambda: answers(f"{stack.url('COLLECTOR__PORT')}/health"), SECONDS)
            until(lambda: answers(f"{stack.url('SERVING__PORT')}/livez"), SECONDS)
            for service in OWN:
                assert stack.healthy(service), (stack.data / f"{service}.log").read_text()
            yield stack
    finally:
        down = backing.deploy("down")
        assert down.returncode == 0, down.stdout


def test_an_event_goes_in_with_its_key_and_comes_out_in_the_shared_folder(containers: Containers) -> None:
    event = {"userId": "ada", "event": "Product Viewed", "properties": {"product_id": "mug-1", "price": 9.5}}
    track = f"{containers.url('COLLECTOR__PORT')}/v1/track"
    assert httpx.post(track, json=event, auth=("demo-write-key", ""), timeout=SECONDS).status_code == 401
    write_key = KEYS["SHELFWISE_COLLECTOR__WRITE_KEY"]
    assert httpx.post(track, json=event, auth=(write_key, ""), timeout=SECONDS).status_code == 200
    # In the container for any command, which finds all the others.
    reconciled = containers.run("tools", "python", "-m", "ingestion", "reconcile", "--wait", str(SECONDS))
    assert reconciled.returncode == 0, reconciled.stdout + reconciled.stderr
    assert (containers.data / "warehouse" / "events" / "_delta_log").is_dir()


def test_recommendations_want_their_key_and_the_storefront_is_off(containers: Containers) -> None:
    service = containers.url("SERVING__PORT")
    question = {"user_id": "ada", "k": 5}
    assert httpx.post(f"{service}/recommend", json=question, timeout=SECONDS).status_code == 401
    answer = httpx.post(f"{service}/recommend", json=question, auth=("read-key", ""), timeout=SECONDS)
    assert answer.status_code == 200


def test_the_streams_page_knows_of_the_others(containers: Containers) -> None:
    metrics = httpx.get(f"{containers.url('HEALTH__PORT')}/metrics", timeout=SECONDS).text
    for check, subject in (("stream", "process"), ("service", "collector"), ("service", "serving")):
        assert f'shelfwise_alarm{{check="{check}",subject="{subject}"}} 0.0' in metrics
