"""Running the ingestion's commands as people do, and reading back what reached Kafka."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from kafka import KafkaConsumer, TopicPartition

from feature_repo.sections.servers import KafkaSettings
from feature_repo.settings import PROJECT_ROOT

START_SECONDS = 30.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Record:
    """One message of the events topic."""

    partition: int
    key: bytes | None
    value: bytes

    @property
    def event(self) -> Any:
        return orjson.loads(self.value)


class EventsTopic:
    """The events topic, from the moment this object was made; a context manager."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._consumer = KafkaConsumer(bootstrap_servers=kafka.servers.split(","))
        partitions = self._consumer.partitions_for_topic(kafka.events_topic)
        self._partitions = [TopicPartition(kafka.events_topic, number) for number in sorted(partitions)]
        self._consumer.assign(self._partitions)
        self._begin = self._consumer.end_offsets(self._partitions)

    def __enter__(self) -> EventsTopic:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self) -> list[Record]:
        """All messages since then, in order within their partitions."""
        end = self._consumer.end_offsets(self._partitions)
        for partition in self._partitions:
            self._consumer.seek(partition, self._begin[partition])
        records = []
        while any(self._consumer.position(partition) < end[partition] for partition in self._partitions):
            for messages in self._consumer.poll(timeout_ms=1_000).values():
                records += [Record(message.partition, message.key, message.value) for message in messages]
        return records


def start(environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    """``python -m ingestion ...``; errors are mixed into its output."""
    return subprocess.Popen(
        [sys.executable, "-m", "ingestion", *arguments],
        cwd=PROJECT_ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(environment: Mapping[str, str], *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """A command run to its end."""
    with start(environment, *arguments) as process:
        output, _ = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


@contextmanager
def collector(environment: Mapping[str, str], url: str, *, ready: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A collector that answers (and, with ``ready``, takes events); it is stopped at the end."""
    process = start(environment, "collector")
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url, ready):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "the collector does not answer"
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=STOP_SECONDS)


def _answers(url: str, ready: bool) -> bool:
    try:
        answer = httpx.get(f"{url}/health", timeout=5.0)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 or not ready
