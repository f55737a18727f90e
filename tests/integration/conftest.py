"""What the integration tests of the ingestion share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ingestion_processes import EventsTopic

from feature_repo.settings import Settings


@pytest.fixture
def topic(kafka_and_redis: Settings) -> Iterator[EventsTopic]:
    """The shared broker's events topic, from now on."""
    with EventsTopic(kafka_and_redis.kafka) as topic:
        yield topic
