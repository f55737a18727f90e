"""A shop's API on this machine, in Shopify's and in HubSpot's shape, with the faults that a test asks for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SECRET = "shpat_do-not-tell-anybody"
MOST_RESULTS = 10

Fault = tuple[int, dict[str, str]]
"""A status and headers to answer with instead of a page."""


@dataclass
class CrmServer:
    """The records, and how they are given.

    Attributes:
        records: by resource; each has ``id`` and ``updated_at``.
        page: records on a page.
        repeat: how many records of a page are given again at the beginning of the next.
        faults: what to answer instead, by the number of the request.
        before: what happens in the shop before a request is answered, by its number.
        stall_at: number of the request of which only half the answer is sent; then it hangs.
        requests: what was asked for.
    """

    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    page: int = 3
    repeat: int = 0
    faults: dict[int, Fault] = field(default_factory=dict)
    stall_at: int | None = None
    before: dict[int, Callable[[], None]] = field(default_factory=dict)
    next_host: str = ""
    requests: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def shopify(self, resource: str, query: dict[str, list[str]]) -> tuple[dict[str, Any], str]:
        """A page, and the query of the next; empty if there is none."""
        if "page_info" in query:
            since, start = json.loads(bytes.fromhex(query["page_info"][0]))
        else:
            since, start = query["updated_at_min"][0], 0
        found = [one for one in self._sorted(resource) if _time(one["updated_at"]) >= _time(since)]
        first = max(0, start - self.repeat)
        shown, end = found[first : start + self.page], start + self.page
        info = json.dumps([since, end]).encode().hex()
        return {resource: shown}, f"page_info={info}" if end < len(found) else ""

    def hubspot(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a search."""
        since = int(body["filterGroups"][0]["filters"][0]["value"])
        start = int(body.get("after", 0))
        assert start < MOST_RESULTS, "HubSpot would refuse this"
        found = [one for one in self._sorted("contacts") if _time(one["updated_at"]).timestamp() * 1000 >= since]
        end = start + self.page
        results = [
            {"id": one["id"], "properties": {**one["properties"], "lastmodifieddate": one["updated_at"]}}
            for one in found[start:end]
        ]
        paging = {"paging": {"next": {"after": str(end)}}} if end < len(found) else {}
        return {"total": len(found), "results": results, **paging}

    def _sorted(self, resource: str) -> list[dict[str, Any]]:
        return sorted(self.records.get(resource, []), key=lambda one: (_time(one["updated_at"]), str(one["id"])))


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def crm_server() -> Iterator[CrmServer]:
    """A server that runs meanwhile."""
    server = CrmServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if self._may():
                resource = url.path.rpartition("/")[2].removesuffix(".json")
                page, following = server.shopify(resource, parse_qs(url.query))
                link = f'<{server.next_host or server.url}{url.path}?{following}>; rel="next"' if following else ""
                self._answer(200, page, {"Link": link} if link else {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self._may():
                self._answer(200, server.hubspot(body), {})

        def _may(self) -> bool:
            number = len(server.requests)
            server.requests.append(self.path)
            server.times.append(time.monotonic())
            if happens := server.before.get(number):
                happens()
            if SECRET not in (self.headers["X-Shopify-Access-Token"] or self.headers["Authorization"] or ""):
                self._answer(401, {"errors": f"no such token: {self.headers['X-Shopify-Access-Token']}"}, {})
                return False
            if fault := server.faults.get(number):
                self._answer(fault[0], {"errors": f"I do not like {SECRET}"}, fault[1])
                return False
            return True

        def _answer(self, status: int, document: dict[str, Any], headers: dict[str, str]) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if server.stall_at == len(server.requests) - 1:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                server.stalled.set()
                time.sleep(60)
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
