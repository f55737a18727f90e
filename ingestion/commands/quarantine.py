"""``python -m ingestion quarantine``: look at refused events, repair them, and put them back into the stream."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.contract import Reason
from feature_repo.errors import InputError
from feature_repo.time_arguments import moment_or_age

if TYPE_CHECKING:
    from ingestion.quarantine.replay import Outcome
    from ingestion.quarantine.store import RefusedEvent, Selection

_SHOWN = 20
_SHOWN_CHARACTERS = 2_000
_REFUSALS_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
examples:
  python -m ingestion quarantine list --since 2h
  python -m ingestion quarantine show --reason wrong_type --jsonl broken.jsonl
  python -m ingestion quarantine replay broken.jsonl      after the payloads in the file have been repaired
  python -m ingestion quarantine replay                   whatever the contract accepts now, as it is

An event is put back once, however often the command is repeated or interrupted."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="how many events were refused, by reason and field")
    listing.add_argument("--json", action="store_true", help="print a JSON array instead of a table")
    _add_selection(listing)
    showing = actions.add_parser("show", help="the refused events themselves")
    showing.add_argument("ids", nargs="*", metavar="ID", help="these; by default those that have not been put back")
    showing.add_argument(
        "--limit", type=_positive, metavar="N", help=f"at most so many (default: {_SHOWN}; to a file, all)"
    )
    showing.add_argument(
        "--jsonl",
        type=Path,
        metavar="FILE",
        help="write lines of id, reason and payload, for repair; -: to standard output",
    )
    _add_selection(showing)
    replaying = actions.add_parser("replay", help="put events back into the stream")
    replaying.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="lines of id and repaired payload (-: standard input); without, those that the contract accepts now",
    )
    replaying.add_argument("--dry-run", action="store_true", help="send nothing, say what would be sent")
    _add_selection(replaying)


def run(args: argparse.Namespace) -> int:
    """0, or 1 if a repaired event still breaks the contract."""
    actions = {"list": _list, "show": _show, "replay": _replay}
    return actions[args.action](args)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    reasons = [reason.value for reason in Reason]
    parser.add_argument("--reason", choices=reasons, metavar="REASON", help=f"one of: {', '.join(reasons)}")
    parser.add_argument("--field", help="the field that was at fault, as `list` names it")
    parser.add_argument(
        "--since", type=moment_or_age, metavar="TIME", help="what arrived since (ISO 8601, or an age: 2h, 7d)"
    )


def _selection(args: argparse.Namespace, ids: list[str] | None = None, waiting: bool = False) -> Selection:
    from ingestion.quarantine.store import Selection

    return Selection(args.reason, args.field, args.since, ids, waiting)


def _list(args: argparse.Namespace) -> int:
    from ingestion.quarantine.store import counts

    found = counts(_selection(args))
    if args.json:
        import orjson

        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return 0
    if not found:
        print("no refused events")
        return 0
    from rich.table import Table

    from feature_repo.commands import result_console

    table = Table("reason", "field")
    for column in ("events", "put back"):
        table.add_column(column, justify="right")
    for column in ("first arrival", "last arrival", "last one"):
        table.add_column(column, overflow="fold")
    for row in found:
        times = _clock(row.first), _clock(row.last)
        table.add_row(
            row.reason, _plain(row.field), f"{row.events:,}", f"{row.replayed:,}", *times, _plain(row.example)
        )
    console = result_console()
    console.print(table, markup=False)
    return 0


def _show(args: argparse.Namespace) -> int:
    from ingestion.quarantine.store import count, refused, states

    ids = list(dict.fromkeys(args.ids)) or None
    if ids:
        known = states(ids)
        if unknown := [id_ for id_ in ids if id_ not in known]:
            raise InputError(f"the quarantine holds no {', '.join(unknown)}; `quarantine show` lists the ids")
    selection = _selection(args, ids, waiting=ids is None)
    if args.jsonl:
        written = _write_lines(refused(selection, args.limit), args.jsonl)
        print(f"{written:,} events written to {args.jsonl}", file=sys.stderr)
        return 0
    shown = 0
    for event in refused(selection, args.limit or (None if ids else _SHOWN)):
        print("\n".join(_description(event)), end="\n\n")
        shown += 1
    left = count(selection) - shown
    print(f"{shown:,} shown" + (f", {left:,} more (--limit)" if left else ""))
    return 0


def _write_lines(events: Iterable[RefusedEvent], path: Path) -> int:
    import orjson

    written = 0
    try:
        with ExitStack() as stack:
            out = sys.stdout if str(path) == "-" else stack.enter_context(path.open("w", encoding="utf-8"))
            for event in events:
                line = {"id": event.id, "reason": event.reason, "payload": event.payload}
                out.write(orjson.dumps(line).decode() + "\n")
                written += 1
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error
    return written


def _description(event: RefusedEvent) -> list[str]:
    from ingestion.quarantine.reasons import objection

    violation = objection(event.payload, event.received_at)
    payload = event.payload or ""
    cut = f" ... ({len(payload):,} characters)" if len(payload) > _SHOWN_CHARACTERS else ""
    lines = [
        _plain(event.id),
        f"  arrived  {_clock(event.received_at)}",
        f"  reason   {event.reason}, {_plain(event.field)}",
        f"  message  {_plain(violation.message) if violation else 'the contract accepts it as it is now'}",
        f"  payload  {_plain(payload[:_SHOWN_CHARACTERS])}{cut}",
    ]
    return lines + ([f"  put back {_clock(event.replayed_at)}"] if event.replayed_at else [])


def _replay(args: argparse.Namespace) -> int:
    from ingestion.producer import quiet_client_log
    from ingestion.quarantine.replay import put_back_accepted, put_back_repaired

    quiet_client_log()
    if args.file is None:
        outcome = put_back_accepted(_selection(args, waiting=True), args.dry_run)
    elif args.reason or args.field or args.since:
        raise InputError("a FILE says itself which events to put back; give it alone, or --reason, --field and --since")
    else:
        outcome = put_back_repaired(args.file, args.dry_run)
        for id_, violation in outcome.refused[:_REFUSALS_SHOWN]:
            print(_plain(f"refused {id_}: {violation.reason}, {violation.message}"), file=sys.stderr)
        if len(outcome.refused) > _REFUSALS_SHOWN:
            print(f"... and {len(outcome.refused) - _REFUSALS_SHOWN:,} more", file=sys.stderr)
    print(_summary(outcome, args))
    return 1 if args.file and outcome.refused else 0


def _summary(outcome: Outcome, args: argparse.Namespace) -> str:
    parts = [f"{outcome.sent:,} {'would be sent' if args.dry_run else 'put back into the stream'}"]
    if outcome.known:
        parts.append(f"{outcome.known:,} not sent, because the stream has them")
    if outcome.recorded:
        parts.append(f"{outcome.recorded:,} had been put back before")
    if outcome.refused:
        parts.append(f"{len(outcome.refused):,} still refused by the contract")
    nothing = "" if outcome.sent or outcome.known else "nothing to replay: "
    return nothing + ", ".join(parts)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _plain(text: str) -> str:
    """What strangers sent, without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
