"""What is remembered of a database's rows, and how far its changes have been read: one SQLite file per database.

Rows and place are committed together, so that a reader that is killed goes on with what it knew at that place. What
an order needs is kept until it has counted; then only that it has.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson

from feature_repo.errors import InputError
from feature_repo.settings import get_settings

_SCHEMA = """
CREATE TABLE IF NOT EXISTS place (topic TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL);
INSERT OR IGNORE INTO snapshots VALUES (1, 0);
CREATE TABLE IF NOT EXISTS open_snapshots (number INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS rows (
    kind TEXT NOT NULL, key TEXT NOT NULL, parent TEXT, snapshot INTEGER NOT NULL, row BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rows_by_parent ON rows (parent, kind);
CREATE TABLE IF NOT EXISTS waiting (
    parent TEXT PRIMARY KEY, txn TEXT NOT NULL, due REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_by_txn ON waiting (txn, due);
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY CHECK (one = 1), reached REAL NOT NULL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
CREATE TABLE IF NOT EXISTS counted (parent TEXT PRIMARY KEY) WITHOUT ROWID;
"""

Row = dict[str, Any]


class State:
    """The file; every change of it is part of a transaction until :meth:`commit`."""

    def __init__(self, name: str) -> None:
        self.path: Path = get_settings().home / "cdc" / f"{name}.sqlite"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, isolation_level="IMMEDIATE")
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.path} cannot be used ({error}); delete it, and read everything again with `python -m ingestion "
                "connect snapshot`: what is known already is not counted twice"
            ) from error

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._db.close()

    def commit(self) -> None:
        self._db.commit()

    def rollback(self) -> None:
        self._db.rollback()

    def place(self, topic: str) -> int | None:
        """The next offset to read; None if nothing has been read."""
        found = self._db.execute("SELECT next FROM place WHERE topic = ?", (topic,)).fetchone()
        return found and int(found[0])

    def reach(self, topic: str, offset: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO place VALUES (?, ?)", (topic, offset))

    # Rows.

    def put(self, kind: str, key: str, parent: str | None, row: Row) -> None:
        """Remember a row as it is now; the parent is the order that it is, or belongs to."""
        number = "(SELECT number FROM snapshots)"
        self._db.execute(
            f"INSERT OR REPLACE INTO rows VALUES (?, ?, ?, {number}, ?)", (kind, key, parent, orjson.dumps(row))
        )

    def get(self, kind: str, key: str) -> tuple[str | None, Row] | None:
        """Parent and columns of a row that is remembered."""
        found = self._db.execute("SELECT parent, row FROM rows WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return found and (found[0], orjson.loads(found[1]))

    def of_parent(self, kind: str, parent: str) -> list[Row]:
        """The rows with this parent, in the order of their keys."""
        found = self._db.execute("SELECT row FROM rows WHERE kind = ? AND parent = ? ORDER BY key", (kind, parent))
        return [orjson.loads(row) for (row,) in found]

    def drop(self, kind: str, key: str) -> None:
        self._db.execute("DELETE FROM rows WHERE kind = ? AND key = ?", (kind, key))

    # Snapshots.

    def begin_snapshot(self) -> None:
        self._db.execute("UPDATE snapshots SET number = number + 1")
        self._db.execute("INSERT INTO open_snapshots SELECT number FROM snapshots")

    def in_snapshot(self) -> bool:
        """Whether one has begun, and not ended."""
        return self._db.execute("SELECT 1 FROM open_snapshots").fetchone() is not None

    def end_snapshot(self) -> None:
        self._db.execute("DELETE FROM open_snapshots")

    def take_missing(self, kind: str) -> list[Row]:
        """Drop and give the rows that the snapshot did not find."""
        found = self._db.execute(
            "DELETE FROM rows WHERE kind = ? AND snapshot < (SELECT number FROM snapshots) RETURNING row", (kind,)
        )
        return [orjson.loads(row) for (row,) in found.fetchall()]

    def take_all(self, kind: str) -> list[Row]:
        """Drop and give all rows of a kind."""
        found = self._db.execute("DELETE FROM rows WHERE kind = ? RETURNING row", (kind,))
        return [orjson.loads(row) for (row,) in found.fetchall()]

    def all(self, kind: str) -> list[Row]:
        found = self._db.execute("SELECT row FROM rows WHERE kind = ?", (kind,))
        return [orjson.loads(row) for (row,) in found]

    # Orders on their way. All times are the database's, in seconds since 1970, and not those of this machine: what has
    # been committed may be read much later.

    def pass_time(self, now: float) -> None:
        """All that was committed before ``now`` has been read. It goes back when Debezium sends again what it had sent."""
        self._db.execute("UPDATE clock SET reached = ?", (now,))

    def wait(self, parent: str, transaction: str, due: float) -> None:
        """An order has changed; look at it when the transaction has ended, and all until ``due`` has been read."""
        self._db.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?)", (parent, transaction, due))

    def end(self, transaction: str, due: float | None = None) -> None:
        """All of it has been read; its orders are due then, or where no time is given, when they were to be."""
        self._db.execute("UPDATE waiting SET txn = '', due = coalesce(?, due) WHERE txn = ?", (due, transaction))

    def due(self, most: int) -> list[str]:
        """Orders to look at, which do not wait any longer."""
        found = self._db.execute(
            """
            DELETE FROM waiting WHERE parent IN (
                SELECT parent FROM waiting WHERE txn = '' AND due <= (SELECT reached FROM clock)
                ORDER BY due, parent LIMIT ?
            ) RETURNING parent
            """,
            (most,),
        ).fetchall()
        return sorted(parent for (parent,) in found)

    def any_due(self) -> bool:
        """Whether there are more orders to look at."""
        query = "SELECT 1 FROM waiting WHERE txn = '' AND due <= (SELECT reached FROM clock) LIMIT 1"
        return self._db.execute(query).fetchone() is not None

    def uncounted(self) -> int:
        """How many orders are remembered that do not count yet."""
        return int(self._db.execute("SELECT count(DISTINCT parent) FROM rows").fetchone()[0])

    def forget_counted(self, parent: str) -> None:
        """An order counts; of it, nothing but that has to be known any more."""
        self._db.execute("INSERT OR IGNORE INTO counted VALUES (?)", (parent,))
        self._db.execute("DELETE FROM rows WHERE parent = ?", (parent,))
        self._db.execute("DELETE FROM waiting WHERE parent = ?", (parent,))

    def counted(self, parent: str) -> bool:
        return self._db.execute("SELECT 1 FROM counted WHERE parent = ?", (parent,)).fetchone() is not None
