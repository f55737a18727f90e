"""``python -m ingestion validate``: are tables and catalogue sources as they are expected to be?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from feature_repo.checks.options import EXIT_CODES, add_report_options, give, require_folder
from feature_repo.errors import InputError, ShelfwiseError
from ingestion.number_arguments import count

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from feature_repo.checks.expectations import Expected
    from feature_repo.checks.findings import Finding
    from feature_repo.checks.report import Picture

_BATCH_ROWS = 50_000

# Further back than any shop reaches.
_MOST_DAYS = 36_500
_EPILOG = f"""\
Without --catalog, the Delta tables are checked: every row of the last days (SHELFWISE_VALIDATION__DAYS) of events and features,
and the newest row of each product, against feature_repo/checks/expectations.py; the rows per day against the days before; that
ids are unique; that orders, features and products refer to each other. With --catalog, a catalogue is checked before it is
loaded. docs/validation.md says what each check means.

{EXIT_CODES}
examples:
  python -m ingestion validate
  python -m ingestion validate --report validation.html
  python -m ingestion validate --catalog s3://shop/products && python -m ingestion catalog s3://shop/products
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "--catalog",
        metavar="PATH",
        help="check a catalogue instead: a file, a folder, a Delta table, or s3://bucket/folder",
    )
    parser.add_argument("--days", type=count, metavar="N", help="look at the last N days")
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    at = datetime.now(UTC)
    try:
        require_folder(args.report)
        if args.catalog:
            from ingestion.validation.source import check_source

            found, notes = check_source(args.catalog, at)
            pictures: list[Picture] = []
        else:
            found, pictures, notes = check_tables(at, args.days)
    except ShelfwiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(give(args, f"Validation of {args.catalog or 'the offline tables'}", at, found, pictures, notes))


def check_tables(at: datetime, days: int | None = None) -> tuple[list[Finding], list[Picture], list[str]]:
    """All checks of the Delta tables; findings, pictures and what else there is to say.

    Raises:
        InputError: a table is missing, or cannot be read.
    """
    import duckdb
    import pyarrow as pa
    from deltalake.exceptions import DeltaError

    from feature_repo.checks.expectations import expected_of_tables
    from feature_repo.settings import get_settings
    from ingestion.validation.sets import check_rules, check_volumes, missing_tables, tables_in_duckdb

    limits = get_settings().validation
    days = min(days or limits.days, _MOST_DAYS)
    since = (at - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    if missing := missing_tables():
        raise InputError(
            f"there is no table {missing[0].name} yet in {missing[0].path.parent}: start the stack (`make up`) first"
        )
    found: list[Finding] = []
    try:
        for expected in expected_of_tables(at):
            found += _check_rows(expected, since)
        with tables_in_duckdb() as connection:
            of_volumes, pictures = check_volumes(connection, days, limits)
        with tables_in_duckdb(events=_since("dt", since)) as connection:
            found += [*of_volumes, *check_rules(connection, since)]
    except (DeltaError, duckdb.Error, pa.ArrowException, OSError) as error:
        raise InputError(f"the tables cannot be read: {error}") from error
    return found, pictures, [f"Looked at all rows of events and features since {since:%Y-%m-%d}, and at every product."]


def _check_rows(expected: Expected, since: datetime) -> list[Finding]:
    from ingestion.validation.rows import check_rows

    found = check_rows(
        expected.name,
        _batches(expected, since),
        expected.schema,
        expected.key,
        expected.advice,
        expected.most_missing,
    )
    return found


def _batches(expected: Expected, since: datetime) -> Iterator[pa.RecordBatch]:
    import duckdb
    from deltalake import DeltaTable

    dataset = DeltaTable(expected.table.uri).to_pyarrow_dataset()
    if expected.dated_by:
        dataset = dataset.filter(_since(expected.dated_by, since))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", dataset)
        yield from connection.sql(expected.select).to_arrow_reader(_BATCH_ROWS)


def _since(column: str, since: datetime) -> ds.Expression:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from feature_repo.tables import TIMESTAMP

    first = pa.scalar(since.date(), pa.date32()) if column == "dt" else pa.scalar(since, TIMESTAMP)
    return ds.field(column) >= first
