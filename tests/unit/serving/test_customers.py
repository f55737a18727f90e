"""Reading within its share: what is slow is not waited for, and who was only busy is not blamed."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import uvloop

from serving.data import customers
from serving.data.customers import CustomerReader, NotRead

SHARE = 0.1


class Store:
    """A server that answers each line after a while, and the reader of it."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.asked = self.finished = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        connection.recv(100)
        self.asked += 1
        time.sleep(self.delay)
        connection.sendall(b"1.5\n")
        connection.close()

    def close(self) -> None:
        self._listener.close()

    async def read_async(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        reader, writer = await asyncio.open_connection(*self._listener.getsockname())
        try:
            writer.write(b"?")
            found = float(await reader.readline())
            self.finished += 1
            return {"last_event_at": [found if one == "known" else None for one in ids]}
        finally:
            writer.close()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    store = Store()
    monkeypatch.setattr(customers, "OnlineReader", lambda *_: store)
    yield store
    store.close()


def run(scenario: Callable[[CustomerReader], Any]) -> None:
    """On the loop that the service has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario(CustomerReader(object(), SHARE * 1000)))  # type: ignore[arg-type]


def test_the_first_id_of_whom_something_is_known_counts(store: Store) -> None:
    async def scenario(reader: CustomerReader) -> None:
        found = await reader.read(["unknown", "known"])
        assert found is not None
        assert (found.last_event_at, found.columns) == (1.5, {"last_event_at": [1.5]})
        assert await reader.read(["unknown"]) is None

    run(scenario)


def test_a_store_that_is_slow_is_left_alone_until_it_answers_again(store: Store) -> None:
    async def scenario(reader: CustomerReader) -> None:
        store.delay = 3 * SHARE
        for _ in range(3):
            begun = time.perf_counter()
            with pytest.raises(NotRead):
                await reader.read(["known"])
            assert time.perf_counter() - begun < 2 * SHARE
        asked, begun = store.asked, time.perf_counter()
        for _ in range(100):
            with pytest.raises(NotRead):
                await reader.read(["known"])
        assert (store.asked, await reader.problem()) == (
            asked,
            "customers' features cannot be read: the online store does not answer in time",
        )
        assert time.perf_counter() - begun < SHARE
        store.delay = 0.0
        await asyncio.sleep(1.0)
        assert await reader.problem() is None, "found out without any customer"
        assert store.asked == asked + 1
        assert await reader.read(["known"])

    run(scenario)


def test_a_reading_that_takes_too_long_is_not_broken_off(store: Store) -> None:
    async def scenario(reader: CustomerReader) -> None:
        store.delay = 2 * SHARE
        with pytest.raises(NotRead):
            await reader.read(["known"])
        assert store.finished == 0
        await asyncio.sleep(2 * SHARE)
        assert store.finished == 1, "its connection can be used again"

    run(scenario)


def test_an_answer_that_has_come_in_time_counts_although_the_loop_was_busy(store: Store) -> None:
    async def busy() -> None:
        await asyncio.sleep(SHARE / 4)
        time.sleep(3 * SHARE)

    async def scenario(reader: CustomerReader) -> None:
        store.delay = SHARE / 2
        for _ in range(3):
            work = asyncio.create_task(busy())
            assert await reader.read(["known"])
            await work

    run(scenario)


def test_a_busy_loop_does_not_make_the_store_count_as_gone(store: Store) -> None:
    async def work() -> None:
        while True:
            until = time.thread_time() + SHARE / 10
            while time.thread_time() < until:
                pass
            await asyncio.sleep(0)

    async def scenario(reader: CustomerReader) -> None:
        store.delay = 2 * SHARE
        working = asyncio.create_task(work())
        for _ in range(4):
            with pytest.raises(NotRead):
                await reader.read(["known"])
        assert store.asked == 4
        working.cancel()
        assert await reader.problem() is None

    run(scenario)


def test_without_time_the_store_is_not_asked_and_not_blamed(store: Store) -> None:
    async def scenario(reader: CustomerReader) -> None:
        for _ in range(5):
            with pytest.raises(NotRead):
                await reader.read(["known"], ends=time.perf_counter() - 1.0)
        assert store.asked == 0
        assert await reader.read(["known"])

    run(scenario)
