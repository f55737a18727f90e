"""What has been asked to be erased, and what has been erased: one SQLite file in ``SHELFWISE_HOME/privacy``.

A request names the customer until it has been carried out; from then on there is a tombstone only: a keyed digest of each id
with the spans of time of which nothing may come back. SQLite overwrites what it deletes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion.privacy.spans import Spans, Theirs, joined

_SCHEMA = """
CREATE TABLE IF NOT EXISTS salt (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS requests (customer TEXT PRIMARY KEY, asked_ms INTEGER NOT NULL, found TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tombstones (digest BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS erasures (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL, asked_ms INTEGER NOT NULL, done_ms INTEGER NOT NULL
);
"""
_DIGEST_BYTES = 16
_WAIT_SECONDS = 30.0

Digests = dict[bytes, list[tuple[int, int]]]


@dataclass(frozen=True)
class Request:
    """An erasure that has been asked for.

    Attributes:
        customer: whose.
        asked_ms: when, epoch milliseconds: what happened later is another customer's.
        found: what an attempt that was cut off had found to be the customer's; it may have deleted what told so.
    """

    customer: str
    asked_ms: int
    found: Theirs

    @property
    def asked_at(self) -> datetime:
        return datetime.fromtimestamp(self.asked_ms / 1000, UTC)


@dataclass(frozen=True)
class Erasure:
    """One that has been carried out."""

    digest: str
    asked_at: datetime
    done_at: datetime


class ErasureRecord:
    """The file. Use as a context manager; every method is a transaction of its own.

    Raises:
        UnavailableError: the file cannot be used.
    """

    def __init__(self) -> None:
        path = record_path()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._db = sqlite3.connect(path, timeout=_WAIT_SECONDS)
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            with self._db:
                self._db.execute("INSERT OR IGNORE INTO salt VALUES (1, ?)", (os.urandom(_DIGEST_BYTES),))
        except sqlite3.DatabaseError as error:
            raise UnavailableError(
                f"{path} cannot be used ({error}); it says what may not come back, so bring it back from a backup"
            ) from error

    def __enter__(self) -> ErasureRecord:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def ask(self, customer: str) -> Request:
        """Enter a request as of now; one that is waiting already is extended to now."""
        now = round(time.time() * 1000)
        with self._db:
            self._db.execute(
                "INSERT INTO requests VALUES (?, ?, '') ON CONFLICT DO UPDATE SET asked_ms = max(asked_ms, excluded.asked_ms)",
                (customer, now),
            )
        return next(request for request in self.requests() if request.customer == customer)

    def requests(self) -> list[Request]:
        """Those that have not been carried out, the first first."""
        rows = self._db.execute("SELECT customer, asked_ms, found FROM requests ORDER BY asked_ms, customer")
        return [Request(customer, asked_ms, _from_json(text)) for customer, asked_ms, text in rows.fetchall()]

    def note_found(self, request: Request, found: Theirs) -> None:
        """Remember what is to be erased, before anything that tells so is deleted."""
        with self._db:
            self._db.execute("UPDATE requests SET found = ? WHERE customer = ?", (_to_json(found), request.customer))

    def note_erased(self, request: Request, spans: Spans) -> None:
        """The request has been carried out: only tombstones are left of it, and that it was.

        A request that was made anew meanwhile stays, for what has happened since.
        """
        salt = self._salt()
        stones = [(digest_of(salt, id_), since, until) for id_, of in spans.items() for since, until in of]
        with self._db:
            self._db.executemany("INSERT INTO tombstones VALUES (?, ?, ?)", stones)
            self._db.execute(
                "INSERT INTO erasures (digest, asked_ms, done_ms) VALUES (?, ?, ?)",
                (digest_of(salt, request.customer), request.asked_ms, round(time.time() * 1000)),
            )
            self._db.execute(
                "DELETE FROM requests WHERE customer = ? AND asked_ms = ?", (request.customer, request.asked_ms)
            )

    def erasures(self) -> list[Erasure]:
        """Those that have been carried out, in order."""
        rows = self._db.execute("SELECT digest, asked_ms, done_ms FROM erasures ORDER BY number").fetchall()
        return [
            Erasure(digest.hex(), *(datetime.fromtimestamp(ms / 1000, UTC) for ms in moments))
            for digest, *moments in rows
        ]

    def tombstones(self) -> tuple[bytes, Digests]:
        """The key of the digests, and the spans of each: of what is erased, and of what was about to be."""
        salt, found = self._salt(), Digests()
        for digest, since, until in self._db.execute("SELECT digest, since, until FROM tombstones"):
            found.setdefault(digest, []).append((since, until))
        for request in self.requests():
            for id_, spans in request.found.spans.items():
                found.setdefault(digest_of(salt, id_), []).extend(spans)
        return salt, {digest: joined(spans) for digest, spans in found.items()}

    def _salt(self) -> bytes:
        (salt,) = self._db.execute("SELECT value FROM salt").fetchone()
        return bytes(salt)


def record_path() -> Path:
    """Where the file is, if anything was ever asked for."""
    return get_settings().home / "privacy" / "erasures.sqlite"


def anything_asked() -> bool:
    """Whether anything is waiting to be erased."""
    if not record_path().exists():
        return False
    with ErasureRecord() as record:
        return bool(record.requests())


def erased_so_far() -> int:
    """How many erasures have been carried out, or begun, in this installation."""
    if not record_path().exists():
        return 0
    with ErasureRecord() as record:
        return len(record.erasures()) + sum(bool(request.found.spans) for request in record.requests())


def digest_of(salt: bytes, id_: str) -> bytes:
    """What a tombstone has in place of an id."""
    return blake2b(id_.encode(), digest_size=_DIGEST_BYTES, key=salt).digest()


def _to_json(found: Theirs) -> str:
    return json.dumps({"spans": found.spans, "whole": sorted(found.whole), "affected": sorted(found.affected)})


def _from_json(text: str) -> Theirs:
    if not text:
        return Theirs()
    said = json.loads(text)
    spans = {id_: [(since, until) for since, until in of] for id_, of in said["spans"].items()}
    return Theirs(spans, frozenset(said["whole"]), frozenset(said["affected"]))
