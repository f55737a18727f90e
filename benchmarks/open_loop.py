"""An open-loop load generator: requests go out when they are due, whether or not earlier ones were answered.

A client that waits for each answer before it asks again hides queueing: while the service hangs, nobody asks. Here a request's
time counts from the moment at which it was due (Tene's "coordinated omission"), so that whoever would have waited does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import uvloop
from numpy.typing import NDArray

# Beyond so many connections, what is due waits for one: its time goes on counting.
CONNECTIONS = 64
# After so many seconds a request is given up.
PATIENCE_SECONDS = 30.0
# As the status of a request: given up, or its connection broke; not answered yet.
NO_ANSWER, PENDING = 0, -1


@dataclass(frozen=True)
class Load:
    """What became of the requests of one run, or of a part of it.

    Attributes:
        due: when each was due, seconds since what is measured began; shape (n,).
        seconds: from due to answered, shape (n,).
        statuses: how many answers had each HTTP status; :data:`NO_ANSWER` for those without.
        late: the longest that the generator itself was behind, seconds; if it is not small, the generator is what was measured.
    """

    due: NDArray[np.float64]
    seconds: NDArray[np.float64]
    statuses: Counter[int]
    late: float

    def quantile(self, share: float) -> float:
        """Milliseconds; not a number if nothing was asked."""
        return float(np.quantile(self.seconds, share)) * 1000 if len(self.seconds) else float("nan")

    @property
    def failed(self) -> int:
        """How many were not answered with 200."""
        return sum(self.statuses.values()) - self.statuses[200]


class OpenLoop:
    """Requests to ``POST /recommend`` at a rate, with exponential gaps as of independent customers; may be looked at meanwhile.

    Args:
        port: on this machine.
        body: of the n-th request.
        rate: requests per second.
        seconds: how long is measured.
        warm_up: how long requests go out before that, at the same rate.
        seed: of the moments.
    """

    def __init__(
        self, port: int, body: Callable[[int], bytes], rate: float, seconds: float, warm_up: float = 2.0, seed: int = 1
    ) -> None:
        rng = np.random.default_rng(seed)
        self._port, self._body = port, body
        # A Poisson process on the whole of the time: as many as it happens to have, anywhere.
        self._due = np.sort(rng.uniform(-warm_up, seconds, rng.poisson(rate * (warm_up + seconds))))
        self._took = np.zeros(len(self._due))
        self._statuses = np.full(len(self._due), PENDING)
        self._late, self._warm_up = 0.0, warm_up
        self._begun = float("inf")

    def run(self) -> None:
        """Ask them all; returns when the last was answered or given up."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run())

    def now(self) -> float:
        """Seconds since what is measured began, or negative until it does."""
        return time.perf_counter() - self._begun

    def load(self, begin: float = 0.0, end: float = float("inf")) -> Load:
        """What became of those that were due from ``begin`` on and before ``end``, as far as it has become of them."""
        chosen = (self._due >= begin) & (self._due < end) & (self._statuses != PENDING)
        return Load(self._due[chosen], self._took[chosen], Counter(self._statuses[chosen].tolist()), self._late)

    async def _run(self) -> None:
        idle: asyncio.Queue[_Connection] = asyncio.Queue()
        connections = [_Connection(self._port) for _ in range(CONNECTIONS)]
        for connection in connections:
            await connection.open()
            idle.put_nowait(connection)
        self._begun = time.perf_counter() + 0.1 + self._warm_up

        async def ask(number: int) -> None:
            connection = await idle.get()
            status = await connection.post(self._body(number))
            self._took[number] = self.now() - self._due[number]
            self._statuses[number] = status
            idle.put_nowait(connection)

        async with asyncio.TaskGroup() as group:
            for number, moment in enumerate(self._due.tolist()):
                wait = moment - self.now()
                if wait > 0:
                    await asyncio.sleep(wait)
                self._late = max(self._late, self.now() - moment)
                group.create_task(ask(number))
        for connection in connections:
            connection.close()


def run_load(
    port: int, body: Callable[[int], bytes], rate: float, seconds: float, warm_up: float = 2.0, seed: int = 1
) -> Load:
    """The whole of an :class:`OpenLoop`."""
    loop = OpenLoop(port, body, rate, seconds, warm_up, seed)
    loop.run()
    return loop.load()


class _Connection:
    """HTTP/1.1, kept open; just enough of it to cost next to nothing beside what is measured."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Open it if it is not, or broke."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def post(self, body: bytes) -> int:
        """Send and read the whole answer; returns its status."""
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.open()
                return await self._exchange(body)
        self.close()
        return NO_ANSWER

    async def _exchange(self, body: bytes) -> int:
        assert self._reader
        assert self._writer
        head = b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._writer.write(head % len(body) + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        await self._reader.readexactly(length)
        return int(lines[0].split(b" ", 2)[1])

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        self._reader = self._writer = None
