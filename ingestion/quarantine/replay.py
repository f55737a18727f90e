"""Putting refused events back into the stream: repaired ones, and those that the contract accepts now. Each once.

An event is recorded as put back after Kafka has acknowledged it. If that is cut off in between, the next attempt finds the event
where it went: among the stored events, or in the part of the topic that is not stored yet.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kafka.errors import KafkaError

from feature_repo.contract import Reason, Violation
from feature_repo.errors import InputError, UnavailableError
from feature_repo.settings import get_settings
from ingestion.locks import putting_back
from ingestion.producer import message_key, open_producer
from ingestion.progress import progress_bar
from ingestion.quarantine.known_events import keys_of, known_to_the_stream
from ingestion.quarantine.reasons import objection
from ingestion.quarantine.store import RefusedEvent, Selection, count, note_replayed, refused, states

STANDARD_INPUT = Path("-")
_CHUNK = 1_000
_DELIVERY_SECONDS = 60.0
_NAMED = 5
# Makes the message id of a repaired event that came without one.
_NAMESPACE = uuid.UUID("6f1a2f0c-6b0b-5d3e-9a63-5b8f9a1c7d20")


@dataclass(frozen=True)
class Repair:
    """What is to be put back for an event of the quarantine; ``payload`` is JSON text, or what should be."""

    id: str
    payload: str | None


@dataclass(frozen=True)
class Sendable:
    """An event that the contract accepts.

    Attributes:
        id: its id in the quarantine.
        value: the message, JSON.
        key: the message's key.
        message_id: the event's ``messageId``.
        keys: what duplicates of it are known by.
    """

    id: str
    value: bytes
    key: bytes | None
    message_id: str
    keys: frozenset[str]


@dataclass
class Outcome:
    """What became of the events that were to be put back.

    Attributes:
        sent: how many Kafka has acknowledged; in a dry run, how many would be sent.
        known: how many were not sent, because the stream has had them already.
        recorded: how many had been put back before.
        refused: ids of those that the contract does not accept, with what speaks against them.
    """

    sent: int = 0
    known: int = 0
    recorded: int = 0
    refused: list[tuple[str, Violation]] = field(default_factory=list)


def put_back_repaired(path: Path, dry_run: bool = False) -> Outcome:
    """Send the repaired events of a file, see :func:`read_repairs`.

    Raises:
        InputError: the file cannot be used, or names events that the quarantine does not hold. Nothing has been sent.
        UnavailableError: Kafka does not answer.
    """
    repairs = read_repairs(path)
    with putting_back():
        known = states([repair.id for repair in repairs])
        if unknown := [repair.id for repair in repairs if repair.id not in known]:
            raise InputError(
                f"the quarantine holds no {', '.join(unknown[:_NAMED])}{' ...' if len(unknown) > _NAMED else ''}; "
                "`python -m ingestion quarantine show` lists the ids; nothing was sent"
            )
        waiting = [repair for repair in repairs if known[repair.id] is None]
        outcome = Outcome(recorded=len(repairs) - len(waiting))
        _send(_checked((with_message_id(repair) for repair in waiting), outcome), outcome, dry_run)
    return outcome


def put_back_accepted(selection: Selection, dry_run: bool = False) -> Outcome:
    """Send the chosen events of the quarantine that the contract accepts as they are: it or the clock has changed.

    Raises:
        UnavailableError: Kafka does not answer.
    """
    outcome = Outcome()
    with putting_back():
        with progress_bar() as progress:
            events = progress.track(refused(selection), total=count(selection), description="checking")
            accepted = _checked((Repair(e.id, e.payload) for e in events if not _beyond_python(e)), outcome)
        _send(accepted, outcome, dry_run)
    return outcome


def read_repairs(path: Path) -> list[Repair]:
    """Lines ``{"id": ..., "payload": ...}`` of a file, or of standard input for ``-``; the payload is JSON text or an object.

    Raises:
        InputError: the file is missing, or a line is not of this form or repeats an id.
    """
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    repairs: dict[str, Repair] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            repair = _repair(line, number)
            if repair.id in repairs:
                raise InputError(f"line {number} repeats the id {repair.id}; nothing was sent")
            repairs[repair.id] = repair
    return list(repairs.values())


def _repair(line: str, number: int) -> Repair:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {number} is not JSON: {error}; nothing was sent") from error
    if not isinstance(given, dict) or not isinstance(given.get("id"), str) or "payload" not in given:
        raise InputError(f'line {number} is not of the form {{"id": "...", "payload": ...}}; nothing was sent')
    payload = given["payload"]
    return Repair(given["id"], payload if isinstance(payload, str) or payload is None else json.dumps(payload))


def with_message_id(repair: Repair) -> Repair:
    """The same with a ``messageId``, where there is none: always the same one for an event of the quarantine."""
    try:
        event = json.loads(repair.payload or "")
    except (ValueError, RecursionError):
        return repair
    if not isinstance(event, dict) or event.get("messageId") not in (None, ""):
        return repair
    return Repair(repair.id, json.dumps(event | {"messageId": str(uuid.uuid5(_NAMESPACE, repair.id))}))


def _beyond_python(event: RefusedEvent) -> bool:
    """Whether Spark refused what Python accepts, and would again; see :mod:`ingestion.quarantine.writing`."""
    return (
        event.reason == Reason.WRONG_TYPE
        and event.field == "(event)"
        and objection(event.payload, event.received_at) is None
    )


def _checked(repairs: Iterable[Repair], outcome: Outcome) -> list[Sendable]:
    """Those that the contract accepts; the others are noted in ``outcome``."""
    now, accepted = datetime.now(UTC), []
    for repair in repairs:
        violation = objection(repair.payload, now)
        if violation:
            outcome.refused.append((repair.id, violation))
        else:
            assert repair.payload is not None
            event = json.loads(repair.payload)
            accepted.append(
                Sendable(
                    repair.id, repair.payload.encode(), message_key(event), str(event["messageId"]), keys_of(event)
                )
            )
    return accepted


def _send(events: list[Sendable], outcome: Outcome, dry_run: bool) -> None:
    known = known_to_the_stream(frozenset().union(*(event.keys for event in events))) if events else set()
    fresh: list[Sendable] = []
    others: list[Sendable] = []
    for event in events:
        (others if event.keys & known else fresh).append(event)
        known |= event.keys
    outcome.known = len(others)
    if dry_run:
        outcome.sent = len(fresh)
        return
    if fresh:
        _send_fresh(fresh, outcome)
    if others:
        note_replayed([(event.id, event.message_id) for event in others])


def _send_fresh(events: list[Sendable], outcome: Outcome) -> None:
    """Send events and record them, in chunks, so that little has to be found again after a crash."""
    kafka = get_settings().kafka
    producer = open_producer(kafka, linger_ms=5, batch_bytes=65_536, delivery_seconds=_DELIVERY_SECONDS)
    try:
        with progress_bar() as progress:
            task = progress.add_task("putting back", total=len(events))
            for start in range(0, len(events), _CHUNK):
                chunk = events[start : start + _CHUNK]
                for sent in [producer.send(kafka.events_topic, event.value, key=event.key) for event in chunk]:
                    sent.get(timeout=_DELIVERY_SECONDS)
                note_replayed([(event.id, event.message_id) for event in chunk])
                outcome.sent += len(chunk)
                progress.advance(task, len(chunk))
    except KafkaError as error:
        raise UnavailableError(
            f"Kafka did not take all events, {outcome.sent:,} of {len(events):,} were put back ({error}); run the command "
            "again: what has arrived is not sent twice"
        ) from error
    finally:
        producer.close()
