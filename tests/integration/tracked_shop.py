"""A shop whose tracker sends all the while, and what must have become of what it was told is accepted."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from deltalake import DeltaTable
from ingestion_processes import collector, start
from own_stack import OwnStack
from waiting import until

from feature_repo import tables
from feature_repo.settings import PROJECT_ROOT

KEY = "demo-write-key"
CUSTOMERS = [f"c{number}" for number in range(12)]
PATIENCE_SECONDS = 300.0
# What is accepted is stored soon.
FREQUENT = {"SHELFWISE_STREAM__OFFLINE_SECONDS": "1", "SHELFWISE_STREAM__ARCHIVE_SECONDS": "1"}


@dataclass
class TrackedShop:
    """Collector and stream of a stack, running, and how many events of each customer were accepted."""

    stack: OwnStack
    stream: subprocess.Popen[str]
    accepted: Counter[str] = field(default_factory=Counter)
    _sent: int = 0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Events come in all the while."""
        enough = threading.Event()

        def send() -> None:
            while not enough.is_set():
                self._send(3)
                time.sleep(0.05)

        tracker = threading.Thread(target=send)
        tracker.start()
        try:
            yield
        finally:
            enough.set()
            tracker.join()

    def _send(self, count: int) -> None:
        """Views of products; as trackers do, the same again until they are accepted."""
        batch: list[dict[str, Any]] = []
        for _ in range(count):
            self._sent += 1
            viewed = {"event": "Product Viewed", "properties": {"products": [{"product_id": f"p{self._sent % 7}"}]}}
            who = {"userId": CUSTOMERS[self._sent % len(CUSTOMERS)], "messageId": f"view-{self._sent}"}
            batch.append({"type": "track", **viewed, **who})
        while not self._takes(batch):
            time.sleep(0.2)
        self.accepted.update(event["userId"] for event in batch)

    def _takes(self, batch: list[dict[str, Any]]) -> bool:
        url = f"http://127.0.0.1:{self.stack.port('COLLECTOR__PORT')}/v1/batch"
        try:
            return httpx.post(url, json={"batch": batch}, auth=(KEY, ""), timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def wait_for_more(self, count: int) -> None:
        """So many more events have been accepted."""
        wanted = self.accepted.total() + count
        until(lambda: self.accepted.total() >= wanted, PATIENCE_SECONDS)

    def online(self) -> Counter[str]:
        """How many events of each customer the online store knows."""
        from feature_repo.online.reading import OnlineReader
        from feature_repo.store import open_store

        counts = OnlineReader(open_store(), "customer_features").read(CUSTOMERS)["event_count"]
        return Counter({customer: count for customer, count in zip(CUSTOMERS, counts, strict=True) if count})

    def check(self) -> None:
        """What was accepted, and nothing else, reaches the features, and is stored once."""
        until(lambda: self.online().total() >= self.accepted.total(), PATIENCE_SECONDS)
        assert self.online() == self.accepted
        until(lambda: len(self._stored()) >= self.accepted.total(), PATIENCE_SECONDS)
        assert sorted(self._stored()) == sorted(f"view-{number + 1}" for number in range(self._sent))
        assert self.stream.poll() is None, self.stream.communicate()[0]

    def _stored(self) -> list[str]:
        if not tables.EVENTS.exists():
            return []
        return list(DeltaTable(tables.EVENTS.uri).to_pyarrow_table(columns=["message_id"])["message_id"].to_pylist())


@contextmanager
def tracked_shop(stack: OwnStack) -> Iterator[TrackedShop]:
    """A stack whose collector and stream run; settings of this process are those of the stack meanwhile."""
    with stack.exported(), ExitStack() as running:
        running.callback(stack.deploy, "down")
        up = stack.deploy("up", "kafka", "redis")
        assert up.returncode == 0, up.stdout
        feast = [sys.executable, "-m", "feast.cli.cli", "-c", str(PROJECT_ROOT / "feature_repo"), "apply"]
        subprocess.run(feast, cwd=PROJECT_ROOT, check=True, capture_output=True)
        running.enter_context(collector(stack.environment(), f"http://127.0.0.1:{stack.port('COLLECTOR__PORT')}"))
        stream = start(stack.environment(), "stream")
        running.callback(stream.communicate, timeout=60)
        running.callback(stream.terminate)
        until(lambda: stream.poll() is not None or (stack.home / "run" / "stream.ready").exists(), PATIENCE_SECONDS)
        assert stream.poll() is None, stream.communicate()[0]
        yield TrackedShop(stack, stream)
