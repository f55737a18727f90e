"""An open-loop load generator: requests go out when they are due, whether or not earlier ones were answered.

A client that waits for each answer before it asks again hides queueing: while the service hangs, nobody asks. Here a request's
time counts from the moment at which it was due (Tene's "coordinated omission"), so that whoever would have waited does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import uvloop
from numpy.typing import NDArray

# Beyond so many connections, what is due waits for one: its time goes on counting.
CONNECTIONS = 64


@dataclass(frozen=True)
class Load:
    """What became of the requests of one run.

    Attributes:
        seconds: from due to answered, in order of the due times, shape (n,).
        statuses: how many answers had each HTTP status.
        late: the longest that the generator itself was behind, seconds; if it is not small, the generator is what was measured.
    """

    seconds: NDArray[np.float64]
    statuses: Counter[int]
    late: float

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.quantile(self.seconds, share)) * 1000


def run_load(
    port: int, body: Callable[[int], bytes], rate: float, seconds: float, warm_up: float = 2.0, seed: int = 1
) -> Load:
    """Ask ``POST /recommend`` at a rate, with exponential gaps as of independent customers.

    Args:
        port: on this machine.
        body: of the n-th request.
        rate: requests per second.
        seconds: how long is measured.
        warm_up: how long requests go out before that, at the same rate.
        seed: of the gaps.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * (warm_up + seconds)))
    due = np.cumsum(gaps)
    measured = due >= warm_up
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took, statuses, late = runner.run(_run(port, [body(number) for number in range(len(due))], due))
    return Load(took[measured], Counter(statuses[measured].tolist()), late)


async def _run(
    port: int, bodies: Sequence[bytes], due: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    took, statuses = np.zeros(len(due)), np.zeros(len(due), dtype=np.int64)
    idle: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await _Connection.open(port))
    begun, late = time.perf_counter() + 0.1, 0.0

    async def ask(number: int) -> None:
        connection = await idle.get()
        statuses[number] = await connection.post(bodies[number])
        took[number] = time.perf_counter() - begun - due[number]
        idle.put_nowait(connection)

    async with asyncio.TaskGroup() as group:
        for number, moment in enumerate(due.tolist()):
            wait = begun + moment - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            late = max(late, time.perf_counter() - begun - moment)
            group.create_task(ask(number))
    while not idle.empty():
        idle.get_nowait().close()
    return took, statuses, late


class _Connection:
    """HTTP/1.1, kept open; just enough of it to cost next to nothing beside what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, body: bytes) -> int:
        """Send and read the whole answer; returns its status."""
        head = b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._writer.write(head % len(body) + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        await self._reader.readexactly(length)
        return int(lines[0].split(b" ", 2)[1])

    def close(self) -> None:
        self._writer.close()
