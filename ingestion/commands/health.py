"""``python -m ingestion health``: lag, delays, freshness, quiet feeds and refused events, and what to do about them."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ingestion.number_arguments import above_zero

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion.health.status import Check

_STYLES = {"ok": "green", "alarm": "bold red", "not judged": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exits with 1 if there is an alarm. Limits are settings (SHELFWISE_HEALTH__*; `python -m feature_repo.settings` "
        "lists them). The stream serves the same as a page and as Prometheus metrics at SHELFWISE_HEALTH__PORT "
        "(http://127.0.0.1:9464); while it does not run, `--serve` does. docs/operations.md says what to do about each alarm."
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    parser.add_argument(
        "--serve", action="store_true", help="serve page and metrics in the stream's place, until stopped"
    )
    parser.add_argument("--watch", type=above_zero, metavar="SECONDS", help="again and again, until it is interrupted")


def run(args: argparse.Namespace) -> int:
    from feature_repo.commands import result_console

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    if args.serve:
        return _serve()
    console = result_console()
    while True:
        code = _look(console, args.json)
        if args.watch is None:
            return code
        time.sleep(args.watch)
        if not args.json:
            console.clear()


def _serve() -> int:
    from feature_repo.errors import SettingsError
    from feature_repo.settings import get_settings
    from ingestion.health.metrics import serve_metrics
    from ingestion.stopping import StopRequest

    health = get_settings().health
    if not health.port:
        raise SettingsError("SHELFWISE_HEALTH__PORT is 0, which is to serve nothing; set a port")
    with StopRequest() as stop:
        close = serve_metrics(health.host, health.port)
        print(f"monitoring page at http://{health.host}:{health.port}, metrics at /metrics; Ctrl-C ends it", flush=True)
        try:
            while not stop:
                stop.wait(1.0)
        finally:
            close()
    return 0


def _look(console: Console, as_json: bool) -> int:
    from ingestion.health.measures import evaluate
    from ingestion.health.status import Status, advice_lines

    measures, checks = evaluate()
    alarms = [check for check in checks if check.status is Status.ALARM]
    if as_json:
        print(to_json(measures.at, checks), flush=True)
    else:
        _show(console, checks)
        for line in advice_lines(alarms):
            console.print(line, style=_STYLES["alarm"], markup=False, highlight=False, soft_wrap=True)
        if not alarms:
            console.print("All is well.")
    return 1 if alarms else 0


def to_json(at: float, checks: Sequence[Check]) -> str:
    """The checks as one JSON object: ``at`` (ISO 8601), ``status`` (ok or alarm) and ``checks``."""
    from datetime import UTC, datetime

    import orjson

    alarm = any(check.status == "alarm" for check in checks)
    return orjson.dumps(
        {"at": datetime.fromtimestamp(at, UTC), "status": "alarm" if alarm else "ok", "checks": list(checks)}
    ).decode()


def _show(console: Console, checks: Iterable[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ingestion.health.status import number

    table = Table("check")
    table.add_column("subject", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("status")
    table.add_column("detail")
    for check in checks:
        status = Text(check.status, style=_STYLES[check.status])
        value, limit = number(check.value, check.unit), number(check.limit)
        table.add_row(check.name, Text(check.subject), value, limit, status, Text(check.detail))
    console.print(table)
