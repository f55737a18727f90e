"""``python -m ingestion replay``: send recorded events into Kafka in event-time order, at any speed."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError
from feature_repo.settings import get_settings
from ingestion.number_arguments import above_zero

if TYPE_CHECKING:
    from ingestion.recorded.reader import EventReader, Part
    from ingestion.recorded.sender import ReplaySender
    from ingestion.stopping import StopRequest

MAX_SPEED = "max"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
examples:
  python -m ingestion replay events/ --speed 60 --retime      an hour of the past in a minute, as if it were now
  python -m ingestion replay events/ --speed max --from 2026-01-15 --until 2026-01-20

Events keep their message ids: what is replayed twice within the stream's duplicate horizon counts once.
Rows that violate the contract are sent too; the stream quarantines them."""
    parser.add_argument("path", type=Path, help="a Parquet or JSON lines file of events, or a folder of (dt=) them")
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="N|max",
        help="times real time, or max: as fast as Kafka takes them (default: 1)",
    )
    parser.add_argument(
        "--retime", action="store_true", help="move all times by one constant, so that the last event is now"
    )
    days = "of its dt= partition, else of its time in UTC"
    parser.add_argument("--from", dest="first_day", type=_day, metavar="DATE", help=f"first day to send: {days}")
    parser.add_argument("--until", dest="last_day", type=_day, metavar="DATE", help="last day to send")


def run(args: argparse.Namespace) -> int:
    """Replay; 0 when Kafka has acknowledged everything, 1 when not, 130 when interrupted."""
    from ingestion.producer import quiet_client_log
    from ingestion.recorded.files import discover
    from ingestion.recorded.reader import Days, EventReader
    from ingestion.recorded.sender import ReplaySender
    from ingestion.stopping import INTERRUPTED, StopRequest

    quiet_client_log()
    settings = get_settings()
    found = discover(args.path)
    spill = settings.home / "tmp"
    spill.mkdir(parents=True, exist_ok=True)
    with EventReader(found, Days(args.first_day, args.last_day), spill) as reader, StopRequest() as stop:
        parts = reader.plan()
        shift_ms = _shift(parts) if args.retime else 0
        print(_announcement(parts, shift_ms), flush=True)
        with ReplaySender(settings.kafka, args.speed, stop) as sender:
            _send_parts(reader, parts, shift_ms, sender, stop)
    print(sender.summary(), flush=True)
    if stop:
        return INTERRUPTED
    return 1 if sender.failed else 0


def _send_parts(reader: EventReader, parts: list[Part], shift_ms: int, sender: ReplaySender, stop: StopRequest) -> None:
    from ingestion.progress import progress_bar

    with progress_bar() as progress:
        task = progress.add_task("replaying", total=sum(part.events for part in parts))
        for part in parts:
            for event in reader.read(part, shift_ms):
                if stop or sender.failed:
                    return
                sender.send(event)
                if sender.sent % 200 == 0:
                    progress.update(task, completed=sender.sent)
        progress.update(task, completed=sender.sent)


def _shift(parts: list[Part]) -> int:
    """Milliseconds from the last event to now."""
    last = max((part.last for part in parts if part.last is not None), default=None)
    if last is None:
        raise InputError("no event has a time that can be read, so none can be moved; leave out --retime")
    return round(time.time() * 1000) - last


def _announcement(parts: list[Part], shift_ms: int) -> str:
    known = [(part.first, part.last) for part in parts if part.first is not None and part.last is not None]
    lines = [f"{sum(part.events for part in parts):,} events in {len(parts)} part{'s'[: len(parts) > 1]}"]
    if shift_ms:
        lines.append(f"times moved by {shift_ms / 1000:+.3f} s")
    if known:
        first, last = min(first for first, _ in known), max(last for _, last in known)
        lines.append(f"from {_clock(first + shift_ms)} to {_clock(last + shift_ms)}")
    return ", ".join(lines)


def _clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _speed(text: str) -> float | None:
    """Times real time; None for as fast as possible."""
    if text == MAX_SPEED:
        return None
    try:
        return above_zero(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor {MAX_SPEED}") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-01-31") from error
