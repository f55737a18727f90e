"""Readiness is what the server itself says, asked over real sockets."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import probes
from deploy.ports import Listener
from deploy.probes import Readiness
from deploy.records import Record
from feature_repo.sections.servers import KafkaSettings, RedisSettings

RECORD = Record("stream", pid=1, created=1_000.0, command=[], address="")


class Handler(http.server.BaseHTTPRequestHandler):
    """Alive, and ready once its server is."""

    def do_GET(self) -> None:
        ready = getattr(self.server, "ready", False)
        self.send_response(200 if ready or self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_server_is_degraded_until_it_is_ready(server: http.server.HTTPServer) -> None:
    listener = Listener("serving", "127.0.0.1", server.server_port, "SHELFWISE_SERVING__PORT")

    assert probes.http(listener, ready="/readyz", alive="/livez") is Readiness.DEGRADED
    assert probes.http(listener, ready="/readyz") is Readiness.NOT_READY

    server.ready = True  # type: ignore[attr-defined]
    assert probes.http(listener, ready="/readyz", alive="/livez") is Readiness.READY


def test_nobody_there_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert probes.http(Listener("serving", "127.0.0.1", port, ""), ready="/readyz") is Readiness.NOT_READY
    assert probes.redis(RedisSettings(port=port)) is Readiness.NOT_READY
    assert probes.kafka(KafkaSettings(port=port)) is Readiness.NOT_READY


def test_a_ready_file_of_an_earlier_run_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "stream.ready"
    assert probes.fresh_file(path, RECORD) is Readiness.NOT_READY

    path.touch()
    os.utime(path, (RECORD.created - 1, RECORD.created - 1))
    assert probes.fresh_file(path, RECORD) is Readiness.NOT_READY

    os.utime(path, (RECORD.created + 1, RECORD.created + 1))
    assert probes.fresh_file(path, RECORD) is Readiness.READY
    assert probes.fresh_file(path, None) is Readiness.NOT_READY
