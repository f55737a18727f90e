"""Feature tables as plain tables in Postgres: rows and how far they reach in the same transaction."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.csv as csv
from deltalake import DeltaTable
from psycopg.sql import SQL, Composed, Identifier, Literal

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import Table
from ingestion import delta_log
from ingestion.warehouse.tables import (
    Figures,
    Rows,
    all_rows,
    as_of,
    column_comments,
    encoded,
    identity,
    measures,
    rows_in,
)

PROGRESS = "published"
_CSV = csv.WriteOptions(include_header=False, quoting_style="all_valid")
_TYPES = {
    pa.string(): "text",
    pa.timestamp("us", tz="UTC"): "timestamptz",
    pa.float64(): "double precision",
    pa.float32(): "real",
    pa.int64(): "bigint",
    pa.int32(): "integer",
    pa.bool_(): "boolean",
}

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Outcome:
    """What publishing a table did.

    Attributes:
        version: of the Delta table, that the copy is of now.
        written: rows that are new or changed.
        removed: rows that are gone.
        compared: whether all rows were looked at, and not only what had changed in Delta.
    """

    version: int
    written: int
    removed: int
    compared: bool


class PostgresWarehouse:
    """The Postgres of the settings.

    Raises:
        UnavailableError: it cannot be reached.
    """

    def __init__(self) -> None:
        postgres = get_settings().offline.postgres
        self._where = f"Postgres at {postgres.host}:{postgres.port}/{postgres.database}"
        self._namespace = postgres.namespace
        with self._named():
            self._connection = psycopg.connect(
                host=postgres.host,
                port=postgres.port,
                dbname=postgres.database,
                user=postgres.user,
                password=postgres.password.get_secret_value() or None,
                sslmode=postgres.sslmode,
                application_name="shelfwise-publish",
                connect_timeout=10,
            )
            with self._connection.transaction():
                self._prepare()

    def __enter__(self) -> PostgresWarehouse:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def publish(self, table: Table, everything: bool = False, progress: Progress = lambda rows: None) -> Outcome:
        """Bring the copy of a table up to the newest version of it, or change nothing.

        Args:
            everything: compare all rows, also if it is known what has changed.
            progress: is told how many more rows have been sent.

        Raises:
            UnavailableError: the server is gone, or does not let this user do it. Publishing again does no harm.
        """
        with self._named(), self._connection.transaction():
            return self._publish(table, everything, progress)

    def erase(self, table: Table, keys: list[str]) -> None:
        """Delete all rows of some keys, if there is a copy; what of them is still in Delta comes with the next publishing.

        Raises:
            UnavailableError: the server is gone, or does not let this user do it.
        """
        with self._named(), self._connection.transaction():
            if self._columns(table.name):
                delete = SQL("DELETE FROM {} WHERE {} = ANY({})")
                key = Identifier(identity(table)[0])
                self._execute(delete.format(self._name(table.name), key, Literal(keys)))

    def figures(self, table: Table) -> tuple[int | None, Figures]:
        """The version that the copy is of, and its measures; None if there is no copy."""
        with self._named(), self._connection.transaction():
            version = self._reached(table)[1]
            if version is None:
                return None, {}
            wanted = measures(table, "cardinality")
            columns = SQL(", ".join(wanted.values()))
            row = self._execute(SQL("SELECT {} FROM {}").format(columns, self._name(table.name))).fetchone()
            return version, dict(zip(wanted, (float(value or 0) for value in row or ()), strict=True))

    def _publish(self, table: Table, everything: bool, progress: Progress) -> Outcome:
        # Until the transaction ends, no other run publishes this table.
        place = self._name(PROGRESS)
        self._execute(SQL("INSERT INTO {} VALUES ({}) ON CONFLICT DO NOTHING").format(place, Literal(table.name)))
        table_id, reached = self._reached(table)
        stored = DeltaTable(table.uri)
        version, known_as = stored.version(), str(stored.metadata().id)
        # What was written before a column came may have a value for it.
        everything = self._create(table) or everything
        steps = None
        if not everything and table_id == known_as and reached is not None and reached <= version:
            steps = delta_log.steps(table.path, reached, version)
        written = removed = 0
        if steps is None:
            removed, written = self._replace(table, all_rows(stored), progress)
        for step in steps or []:
            came = rows_in(table, step.came) if step.came else None
            if step.went:
                removed += self._remove(table, rows_in(table, step.went), came)
            if came is not None:
                written += self._upsert(table, came, progress)
        update = SQL("UPDATE {} SET table_id = {}, version = {}, published_at = now() WHERE table_name = {}")
        self._execute(update.format(place, Literal(known_as), Literal(version), Literal(table.name)))
        return Outcome(version, written, removed, steps is None)

    def _reached(self, table: Table) -> tuple[str | None, int | None]:
        query = SQL("SELECT table_id, version FROM {} WHERE table_name = {} FOR UPDATE")
        row = self._execute(query.format(self._name(PROGRESS), Literal(table.name))).fetchone()
        return row or (None, None)

    def _upsert(self, table: Table, rows: Rows, progress: Progress) -> int:
        self._stage(table, list(table.schema.names), rows, progress)
        return self._take_staged(table)

    def _replace(self, table: Table, rows: Rows, progress: Progress) -> tuple[int, int]:
        self._stage(table, list(table.schema.names), rows, progress)
        same = self._same("kept", "staged", table)
        delete = SQL("DELETE FROM {} AS kept WHERE NOT EXISTS (SELECT FROM staged WHERE {})")
        removed = self._execute(delete.format(self._name(table.name), same)).rowcount
        return removed, self._take_staged(table)

    def _take_staged(self, table: Table) -> int:
        names = [Identifier(name) for name in table.schema.names]
        key = SQL(", ").join(Identifier(name) for name in identity(table))
        others = [Identifier(name) for name in table.schema.names if name not in identity(table)]
        insert = SQL(
            "INSERT INTO {table} AS kept ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM staged "
            "ON CONFLICT ({key}) DO UPDATE SET {values} WHERE ({old}) IS DISTINCT FROM ({new})"
        ).format(
            table=self._name(table.name),
            columns=SQL(", ").join(names),
            key=key,
            values=SQL(", ").join(SQL("{0} = EXCLUDED.{0}").format(name) for name in others),
            old=SQL(", ").join(SQL("kept.{}").format(name) for name in others),
            new=SQL(", ").join(SQL("EXCLUDED.{}").format(name) for name in others),
        )
        return self._execute(insert).rowcount

    def _remove(self, table: Table, went: Rows, came: Rows | None) -> int:
        self._stage(table, list(identity(table)), went, lambda rows: None, without=came)
        delete = SQL("DELETE FROM {} AS kept USING staged WHERE {}")
        return self._execute(delete.format(self._name(table.name), self._same("kept", "staged", table))).rowcount

    def _stage(
        self, table: Table, columns: list[str], rows: Rows, progress: Progress, without: Rows | None = None
    ) -> None:
        """Put rows into a table of this transaction's own."""
        names = SQL(", ").join(Identifier(name) for name in columns)
        self._execute(SQL("DROP TABLE IF EXISTS pg_temp.staged"))
        like = SQL("CREATE TEMPORARY TABLE staged ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA")
        self._execute(like.format(names, self._name(table.name)))
        copying = SQL("COPY staged ({}) FROM STDIN (FORMAT csv)").format(names)
        with self._connection.cursor() as cursor, cursor.copy(copying) as copy:
            for batch in encoded(table, rows, columns, _as_text, without):
                sink = io.BytesIO()
                csv.write_csv(batch, sink, _CSV)
                copy.write(sink.getvalue())
                progress(batch.num_rows)
        self._execute(SQL("ANALYZE staged"))

    def _prepare(self) -> None:
        found = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = {}"
        if self._execute(SQL(found).format(Literal(self._namespace))).fetchone() is None:
            self._execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self._namespace)))
        if self._columns(PROGRESS) == []:
            create = SQL(
                "CREATE TABLE IF NOT EXISTS {} (table_name text PRIMARY KEY, table_id text, version bigint, "
                "published_at timestamptz)"
            )
            self._execute(create.format(self._name(PROGRESS)))

    def _create(self, table: Table) -> bool:
        """Make the table and its view, or add columns that have been declared since; most often there is nothing to do.

        Returns:
            Whether there was anything to do.
        """
        present = self._columns(table.name)
        missing = [column for column in table.schema if column.name not in present]
        if not missing:
            return False
        typed = [SQL("{} {}").format(Identifier(c.name), SQL(_column_type(c.type))) for c in missing]
        if not present:
            key = SQL(", ").join(Identifier(name) for name in identity(table))
            create = SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))")
            self._execute(create.format(self._name(table.name), SQL(", ").join(typed), key))
        else:
            added = SQL(", ").join(SQL("ADD COLUMN {}").format(column) for column in typed)
            self._execute(SQL("ALTER TABLE {} {}").format(self._name(table.name), added))
        self._execute(SQL("COMMENT ON TABLE {} IS {}").format(self._name(table.name), Literal(table.description)))
        for name, comment in column_comments(table).items():
            column = SQL("{}.{}").format(self._name(table.name), Identifier(name))
            self._execute(SQL("COMMENT ON COLUMN {} IS {}").format(column, Literal(comment)))
        self._execute(self._view(table))
        return True

    def _view(self, table: Table) -> Composed:
        """The newest row of each key. The time comes first: a view can get more columns at its end only."""
        key, about, written = (Identifier(name) for name in identity(table))
        moment = as_of(table)
        return SQL(
            "CREATE OR REPLACE VIEW {view} AS SELECT DISTINCT ON ({key}) {moment} AS as_of, rows.* FROM {table} AS rows "
            "ORDER BY {key}, {about} DESC, {written} DESC"
        ).format(
            view=self._name(f"{table.name}_latest"),
            key=key,
            moment=SQL("to_timestamp({})").format(Identifier(moment)) if moment else about,
            table=self._name(table.name),
            about=about,
            written=written,
        )

    def _columns(self, name: str) -> list[str]:
        query = SQL("SELECT column_name FROM information_schema.columns WHERE table_schema = {} AND table_name = {}")
        return [row[0] for row in self._execute(query.format(Literal(self._namespace), Literal(name))).fetchall()]

    def _same(self, one: str, other: str, table: Table) -> Composed:
        pairs = [SQL("{} = {}").format(Identifier(one, name), Identifier(other, name)) for name in identity(table)]
        return SQL(" AND ").join(pairs)

    def _name(self, name: str) -> Identifier:
        return Identifier(self._namespace, name)

    def _execute(self, query: SQL | Composed) -> psycopg.Cursor[tuple]:
        return self._connection.execute(query)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UnavailableError(
                f"{self._where}: {first}; the SHELFWISE_OFFLINE__POSTGRES__... settings say where it is and who asks"
            ) from error


def _column_type(type_: pa.DataType) -> str:
    return f"{_TYPES[type_.value_type]}[]" if pa.types.is_list(type_) else _TYPES[type_]


def _as_text(column: pa.Field) -> str:
    """SQL of DuckDB for what Postgres reads as a value of the column."""
    name = f"rows.{column.name}"
    if pa.types.is_list(column.type):
        element = "CAST(x AS VARCHAR)"
        if pa.types.is_string(column.type.value_type):
            # As in a literal: backslashes and quotes are marked by a backslash.
            element = f"""'"' || replace(replace({_clean("x")}, '\\', '\\\\'), '"', '\\"') || '"'"""
        elements = f"list_transform({name}, lambda x: coalesce({element}, 'NULL'))"
        return f"'{{' || array_to_string({elements}, ',') || '}}'"
    return _clean(name) if pa.types.is_string(column.type) else f"CAST({name} AS VARCHAR)"


def _clean(text: str) -> str:
    """Postgres cannot hold the character 0; it is shown as one that could not be read."""
    return f"replace({text}, chr(0), chr(65533))"
