"""The HTTP server of the monitoring page and the metrics: two read-only addresses, for a browser and for Prometheus."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from feature_repo.errors import UnavailableError

log = logging.getLogger(__name__)

# A page that shows what others have sent: nothing is loaded, run or sent from it, whatever is written there.
_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""

    def address_string(self) -> str:
        """Without asking a name server."""
        return str(self.client_address[0])


def application(registry: CollectorRegistry, page: Callable[[], str]) -> Application:
    """What answers: the page at ``/``, the registry's metrics at ``/metrics``."""
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", "/"), environ.get("REQUEST_METHOD")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path != "/" or method not in ("GET", "HEAD"):
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"there is a page at / and metrics at /metrics\n"]
        try:
            body = page().encode()
        except Exception:
            # Whatever it was, the process that serves the page has more important things to do than to fail.
            log.exception("the monitoring page could not be made")
            start_response("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"the page could not be made; the log of this process says why\n"]
        start_response("200 OK", [*_HEADERS, ("Content-Length", str(len(body)))])
        return [body if method == "GET" else b""]

    return answer


def listen(host: str, port: int, app: Application) -> tuple[int, Callable[[], None]]:
    """Serve in a thread of its own; gives the port and what ends it.

    Raises:
        UnavailableError: the port is taken.
    """
    try:
        server = make_server(host, port, app, _ServerV6 if ":" in host else _Server, _Handler)
    except OSError as error:
        raise UnavailableError(
            f"metrics cannot be served at {host}:{port} ({error.strerror}); "
            "SHELFWISE_HEALTH__PORT names another port, 0 serves none"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="monitoring", daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, close
