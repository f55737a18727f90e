"""``python -m ingestion collector``: serve the HTTP API that trackers send to."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from types import FrameType

from feature_repo.errors import UnavailableError
from feature_repo.sections.intake import CollectorSettings
from feature_repo.settings import get_settings

STOP_SECONDS = 15
BACKLOG = 2048


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
Address, write key and limits are settings (`python -m feature_repo.settings`, SHELFWISE_COLLECTOR__...).
Point a Segment or RudderStack tracker at it by its `host` option, or try it by hand:

  curl -u demo-write-key: -H 'Content-Type: application/json' http://127.0.0.1:8080/v1/track -d '{
    "event": "Product Viewed", "userId": "u1", "properties": {"products": [{"product_id": "p1"}]}}'

GET /health says whether events can be taken, GET /metrics counts them for Prometheus."""


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, then finish the open requests and flush what Kafka has not got yet."""
    import uvicorn

    from ingestion.collector.app import create_app
    from ingestion.producer import quiet_client_log

    settings = get_settings()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("ingestion").setLevel(logging.INFO)
    quiet_client_log()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            loop="uvloop",
            http="httptools",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    listener = _listen(settings.collector)
    print(f"collector listens on http://{settings.collector.host}:{settings.collector.port}", flush=True)
    # uvicorn stops on the signal and then hands it on to this handler: a stop that was asked for is a success.
    signal.signal(signal.SIGTERM, _exit_cleanly)
    server.run(sockets=[listener])
    return 0


def _listen(collector: CollectorSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in collector.host else socket.AF_INET
        return socket.create_server((collector.host, collector.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {collector.host}:{collector.port} ({error.strerror}); "
            "stop what uses the port, or set SHELFWISE_COLLECTOR__PORT"
        ) from error


def _exit_cleanly(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
