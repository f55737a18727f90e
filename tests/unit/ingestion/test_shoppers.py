"""Shoppers ask over HTTP, and report what they say that they did."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from pydantic import SecretStr

from feature_repo.contract import CLICKED, LIST_VIEWED, ORDERED, check
from ingestion.simulator.sender import Collector
from ingestion.simulator.shop import Shop, ShopParameters
from ingestion.simulator.shoppers import Shoppers
from ingestion.stopping import StopRequest


class Site(BaseHTTPRequestHandler):
    """The service and the collector at one address."""

    events: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: dict[str, Any] = {}
        if self.path == "/recommend":
            items = [{"product_id": f"P{number:05d}"} for number in (1, 2, 99_999)]
            variant = "bold" if int(body["user_id"][1:]) % 2 else "control"
            answer = {"items": items, "request_id": f"r{body['user_id']}", "variant": variant}
        else:
            self.events.extend(body["batch"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_what_is_reported_is_what_was_done() -> None:
    Site.events = []
    server = HTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    shoppers = Shoppers(Shop(ShopParameters(1, 100, 300, 1, "2026-03-01T00:00:00+00:00")), {"bold": 1e6}, seed=1)
    with StopRequest() as stop:
        shoppers.visit(url, Collector(url, SecretStr("key"), stop), "home", 3, 60, 10_000.0, stop)
    server.shutdown()
    server.server_close()
    assert [violation for event in Site.events if (violation := check(event))] == []
    counts = Counter(event["event"] for event in Site.events)
    done = shoppers.done.values()
    assert counts[LIST_VIEWED] == sum(one.visits for one in done) == 60
    assert counts[CLICKED] == sum(one.clicks for one in done)
    lines = [line for event in Site.events if event["event"] == ORDERED for line in event["properties"]["products"]]
    assert len(lines) == sum(one.orders for one in done)
    bold, control = shoppers.done["bold"], shoppers.done["control"]
    assert bold.clicks == bold.shown, "so many times as likely is certain"
    assert control.clicks < control.shown / 2
