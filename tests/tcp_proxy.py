"""A TCP proxy before a server, which can be slow, refuse connections, or lead elsewhere from one moment to the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Proxy:
    """Passes on what comes; every change counts from the next piece of data or connection on.

    Attributes:
        port: where it listens, on 127.0.0.1.
        target: the server's port.
        delay: seconds by which each piece of an answer is held back.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.target = target
        self.delay = 0.0
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        """Close all connections and end."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def cut(self, refuse: bool = True) -> None:
        """Break all connections; ``refuse``: and every new one at once, until the next call says otherwise."""
        self._refusing = refuse
        self._run(self._close_all())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def _close_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pass_on(reader, back, False), self._pass_on(there, writer, True))
        self._writers -= {writer, back}

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool) -> None:
        due = 0.0  # nothing overtakes what came before
        with suppress(OSError):
            while data := await source.read(65_536):
                due = max(due, self._loop.time() + (self.delay if answers else 0.0))
                self._loop.call_at(due, sink.write, data)
        self._loop.call_at(due, sink.close)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A running proxy before a server on this machine."""
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
