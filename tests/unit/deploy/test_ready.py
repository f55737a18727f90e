"""`python -m deploy.ready`, the health check of a container."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from deploy import ready


@pytest.fixture(autouse=True)
def _home(fresh_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path))


class Answers(BaseHTTPRequestHandler):
    codes: dict[str, int]

    def do_GET(self) -> None:
        self.send_response(self.codes.get(self.path, 404))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to say."""


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answers]]:
    """A server in the place of collector and service, answering with the codes that are set."""
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("COLLECTOR", "SERVING"):
            monkeypatch.setenv(f"SHELFWISE_{name}__PORT", str(server.server_port))
        yield Answers
        server.shutdown()


@pytest.mark.parametrize(
    ("service", "codes", "code"),
    [
        ("collector", {"/health": 200}, 0),
        ("collector", {"/health": 503}, 1),
        ("serving", {"/readyz": 200, "/livez": 200}, 0),
        ("serving", {"/readyz": 503, "/livez": 200}, 0),  # it answers, with fallbacks
        ("serving", {"/readyz": 503, "/livez": 503}, 1),
    ],
)
def test_collector_and_service_are_asked(
    answers: type[Answers], service: str, codes: dict[str, int], code: int
) -> None:
    answers.codes = codes
    assert ready.main([service]) == code


def test_the_stream_is_ready_when_it_said_so_since_the_container_started(tmp_path: Path) -> None:
    assert ready.main(["stream"]) == 1
    sign = tmp_path / "run" / "stream.ready"
    sign.parent.mkdir()
    sign.touch()
    assert ready.main(["stream"]) == 0
    # Left by one that was killed, in the container before.
    before = psutil.Process(1).create_time() - 60
    os.utime(sign, (before, before))
    assert ready.main(["stream"]) == 1


def test_a_wrong_setting_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SHELFWISE_KAFKA__PROT", "1")
    assert ready.main(["stream"]) == 1
    assert "SHELFWISE_KAFKA__PROT" in capsys.readouterr().err
