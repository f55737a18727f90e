"""What all tests share: the integration marker, and a running broker and Redis beside whatever else runs here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_stack import OwnStack

from feature_repo.settings import Settings, get_settings

# No Java process of the tests lives long enough for compiling a second time, for speed, to pay.
os.environ["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in tests/integration is an integration test."""
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def stack_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """The tests' own stack; its settings are exported, so that this process and those it starts agree on them."""
    stack = OwnStack.at(tmp_path_factory.mktemp("shelfwise"))
    with stack.exported():
        yield stack


@pytest.fixture(scope="session")
def kafka_and_redis(stack_env: OwnStack) -> Iterator[Settings]:
    """A real broker with the topics and a real Redis, for the length of the session; gives their settings."""
    up = stack_env.deploy("up", "kafka", "redis")
    assert up.returncode == 0, up.stdout
    yield get_settings()
    down = stack_env.deploy("down")
    assert down.returncode == 0, down.stdout
