"""A collector for the trackers to send to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ingestion_processes import collector
from own_stack import OwnStack
from tracker_tools import KEY

from feature_repo.settings import Settings


@pytest.fixture(scope="session")
def collector_url(stack_env: OwnStack, kafka_and_redis: Settings) -> Iterator[str]:
    """A real collector before the shared broker, on a port of its own."""
    port = OwnStack.at(stack_env.home).port("COLLECTOR__PORT")
    url = f"http://127.0.0.1:{port}"
    named = {"SHELFWISE_COLLECTOR__WRITE_KEY": KEY, "SHELFWISE_COLLECTOR__PORT": str(port)}
    with collector({**stack_env.environment(), **named}, url):
        yield url
