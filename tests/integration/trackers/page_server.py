"""A local web server with the test pages and the JavaScript trackers, and a browser that looks at one of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import chromium
from tracker_tools import FOLDER, MODULES, browser

TYPES = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript"}


class PageServer(ThreadingHTTPServer):
    """Serves pages that may reach itself and the collector only; the browser reports to it what it forbade.

    Attributes:
        visited: paths that were asked for.
        forbidden: reports of what else a page wanted.
        settings: what Segment's library asks for as its settings.
    """

    def __init__(self, collector_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.collector_url = collector_url
        self.visited: list[str] = []
        self.forbidden: list[str] = []
        self.settings: dict[str, object] = {}

    @contextmanager
    def shown(self, profile: Path, page: str, **query: str) -> Iterator[None]:
        """A browser has ``page`` open."""
        asked = urlencode({"collector": self.collector_url, **query})
        address = f"http://127.0.0.1:{self.server_port}/{page}?{asked}"
        with chromium.running(browser(), profile, address):
            yield


@contextmanager
def page_server(collector_url: str) -> Iterator[PageServer]:
    """A server in a thread of its own."""
    with PageServer(collector_url) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether ``holds`` becomes true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.visited.append(path)
        if path.startswith("/v1/projects/"):
            self._answer(json.dumps(self.server.settings).encode(), "application/json")
        elif path == "/left":
            self._answer(b"<!doctype html><title>left</title>", "text/html")
        else:
            file = MODULES / path.removeprefix("/modules/") if path.startswith("/modules/") else FOLDER / f"pages{path}"
            if file.is_file():
                self._answer(file.read_bytes(), TYPES.get(file.suffix, "text/plain"))
            else:
                self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/forbidden":
            self.server.forbidden.append(body.decode())
        self.server.visited.append(self.path)
        self._answer(b"", "text/plain")

    def _answer(self, body: bytes, kind: str) -> None:
        allowed = f"'self' 'unsafe-inline' {self.server.collector_url}"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", f"default-src {allowed}; report-uri /forbidden")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
