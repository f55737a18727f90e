"""``python -m ingestion parity``: do stored features hold what the raw events say?"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.aggregates import Entity
from feature_repo.errors import InputError, UnavailableError
from feature_repo.time_arguments import moment_or_age

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from rich.console import Console

    from ingestion.offsets import Offsets

KEYS = 200
THRESHOLD = 0.001
EXAMPLES = 3
_TOLERANCE = 1e-9
_HALF_A_MILLISECOND = 0.0005
_SHOWN = 60  # characters of a value in an example


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Takes a random stored row of each of some random keys, and of every other key also the latest one, and computes "
        "them anew from the raw events, by other code. Exits with 1 if a feature differs in more rows than the threshold "
        "allows."
    )
    parser.add_argument(
        "--customers",
        type=_number,
        default=KEYS,
        metavar="N",
        help=f"customers, of what they did and of what they were shown (default: {KEYS})",
    )
    parser.add_argument("--items", type=_number, default=KEYS, metavar="N", help=f"items (default: {KEYS})")
    parser.add_argument(
        "--threshold",
        type=_share,
        default=THRESHOLD,
        metavar="SHARE",
        help=f"share of the rows in which a feature may differ (default: {THRESHOLD})",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="take the sample of an earlier run again")
    parser.add_argument(
        "--since",
        type=moment_or_age,
        metavar="TIME",
        help="only rows of moments from then on: ISO 8601, or as `90m`, `6h`, `7d`",
    )
    parser.add_argument("--require", action="store_true", help="exit with 1 also if there is nothing to compare")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE as JSON")


def run(args: argparse.Namespace) -> int:

    from feature_repo.commands import result_console
    from ingestion.erased_rows import items_with_erased
    from ingestion.locks import pause_wanted

    if args.json and (args.json.is_dir() or not args.json.absolute().parent.is_dir()):
        raise InputError(f"--json {args.json} cannot be written: give a file in a folder that exists")
    if pause_wanted():
        raise UnavailableError("a backfill or rebuild is at work on the stores; try again when it has ended")
    items = args.items
    if items and items_with_erased():
        items = 0
        print(
            "items are left out: their sums still count events of customers who have been erased; "
            "`python -m ingestion backfill --recompute` computes them without",
            file=sys.stderr,
        )
    report = compare(args.customers, items, threshold=args.threshold, seed=args.seed, since=args.since)
    if args.json:
        args.json.write_text(report.to_json() + "\n")
    console = result_console()
    _show(console, report)
    return 0 if report.agrees and not (args.require and report.empty) else 1


@dataclass(frozen=True)
class Example:
    """One stored value that is not what the events say; ``moment`` is the row's ``event_timestamp``."""

    key: str
    moment: datetime
    stored: Any
    recomputed: Any


@dataclass(frozen=True)
class FeatureParity:
    """How one feature compares.

    Attributes:
        entity: whose.
        feature: a column of its activity table.
        rows: rows compared.
        differing: those of them that hold something else than the events say.
        largest: the largest difference; for a sequence, in how many places; infinite where one side has no value.
        examples: a few of the differing rows.
    """

    entity: Entity
    feature: str
    rows: int
    differing: int = 0
    largest: float = 0.0
    examples: tuple[Example, ...] = ()

    @property
    def share(self) -> float:
        return self.differing / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class ParityReport:
    """What a comparison found.

    Attributes:
        at: when it was made.
        seed: what the sample was drawn with.
        threshold: share of the rows in which a feature may differ.
        features: every feature of the entities that had rows.
        rows: rows compared, of each entity that was asked for.
        left_out: stored rows of the sampled keys that know of events which the archive does not hold yet.
    """

    at: datetime
    seed: int
    threshold: float
    features: tuple[FeatureParity, ...] = ()
    rows: Mapping[Entity, int] = field(default_factory=dict)
    left_out: Mapping[Entity, int] = field(default_factory=dict)

    @property
    def beyond(self) -> tuple[FeatureParity, ...]:
        """The features that differ in more rows than the threshold allows."""
        return tuple(feature for feature in self.features if feature.share > self.threshold)

    @property
    def agrees(self) -> bool:
        return not self.beyond

    @property
    def empty(self) -> tuple[Entity, ...]:
        """Those asked for of which no row could be compared."""
        return tuple(entity for entity, rows in self.rows.items() if not rows)

    def to_json(self) -> str:
        """As one line of JSON; a ``largest`` of null stands for a value that one side does not have."""
        import orjson

        features = [
            {
                "entity": of.entity,
                "feature": of.feature,
                "rows": of.rows,
                "differing": of.differing,
                "share": of.share,
                "largest": of.largest,
                "examples": of.examples,
            }
            for of in self.features
        ]
        return orjson.dumps(
            {
                "at": self.at,
                "agrees": self.agrees,
                "threshold": self.threshold,
                "seed": self.seed,
                "rows": {entity.value: rows for entity, rows in self.rows.items()},
                "left_out": {entity.value: rows for entity, rows in self.left_out.items()},
                "features": features,
            }
        ).decode()


def compare(
    customers: int = KEYS,
    items: int = KEYS,
    *,
    threshold: float = THRESHOLD,
    seed: int | None = None,
    since: datetime | None = None,
) -> ParityReport:
    """Sample stored rows of the activity tables and compare them with what the raw events say.

    Args:
        customers, items: of how many keys rows are taken; 0: none.
        threshold: share of the rows in which a feature may differ.
        seed: for the same sample of the same tables again; by default another one each time.
        since: take only rows of moments from then on.

    Raises:
        DefinitionError: a table was written before one of the declared aggregates was.
    """
    from rich.console import Console

    from ingestion import reference

    seed = random.randrange(1 << 31) if seed is None else seed
    events, covered = _archive()
    console = Console(stderr=True)
    rows: dict[Entity, int] = {}
    left_out: dict[Entity, int] = {}
    features: list[FeatureParity] = []
    for entity, keys in ((Entity.CUSTOMER, customers), (Entity.EXPOSURE, customers), (Entity.ITEM, items)):
        if not keys:
            continue
        with console.status(f"choosing stored rows of {keys:,} {entity.value}s"):
            stored, left_out[entity] = sample(entity, keys, covered, seed, since)
        rows[entity] = stored.num_rows
        if not stored.num_rows:
            continue
        with console.status(f"computing {stored.num_rows:,} rows of {entity.value}s anew from the events"):
            wanted = stored.rename_columns({entity.key: "key"})
            recomputed = reference.recompute(entity, events, wanted.select(reference.REQUESTS.names))
        features += differences(entity, wanted, recomputed)
    return ParityReport(datetime.now(UTC), seed, threshold, tuple(features), rows, left_out)


def _archive() -> tuple[pa.Table | ds.Dataset, Offsets]:
    """The events, and how far in Kafka exactly these reach."""
    from deltalake import DeltaTable

    from feature_repo.tables import EVENTS
    from ingestion.offsets import covered_by

    if not EVENTS.exists():
        return EVENTS.schema.empty_table(), {}
    stored = DeltaTable(EVENTS.uri)
    return stored.to_pyarrow_dataset(), covered_by(stored)


def sample(
    entity: Entity, keys: int, covered: Offsets, seed: int, since: datetime | None = None
) -> tuple[pa.Table, int]:
    """Rows of random keys: a random one of each, and of every other key also the latest.

    Args:
        entity: whose activity table.
        keys: how many keys.
        covered: how far the archive reaches; only rows that know of nothing later can be judged.
        seed: decides what is drawn.
        since: take only rows of moments from then on.

    Returns:
        The rows, in the schema of the activity table, and how many rows of these keys could not be judged.

    Raises:
        DefinitionError: the table was written before one of the declared aggregates was.
    """
    import duckdb
    from deltalake import DeltaTable
    from duckdb_extensions import import_extension

    from feature_repo.tables import ACTIVITY
    from ingestion import sql
    from ingestion.definition import check_columns

    table = ACTIVITY[entity]
    if not table.exists():
        return table.schema.empty_table(), 0
    check_columns(table, DeltaTable(table.uri))
    import_extension("delta")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.load_extension("delta")
        # DuckDB's own reader skips the sequences of rows that were not chosen; through Arrow, all would be decoded.
        connection.execute(f"CREATE TEMP VIEW activity AS SELECT * FROM delta_scan({sql.text(table.uri)})")
        recent = "event_timestamp >= $since" if since else "true"
        reaches = [covered.get(partition, 0) for partition in range(max(covered, default=-1) + 1)]
        connection.execute(
            f"""
            CREATE TEMP TABLE candidates AS
            WITH chosen AS (
                SELECT DISTINCT {entity.key} FROM activity WHERE {recent}
                ORDER BY hash({entity.key}, $seed) LIMIT $keys
            ), keys AS (
                SELECT {entity.key}, row_number() OVER (ORDER BY hash({entity.key}, $seed)) AS number FROM chosen
            )
            SELECT {entity.key}, event_timestamp, created, number, list_bool_and(
                list_transform(place, lambda reach, nth: coalesce(reach, 0) <= coalesce(($reaches::BIGINT[])[nth], 0))
            ) IS NOT false AS judged
            FROM activity JOIN keys USING ({entity.key}) WHERE {recent}
            """,
            {"seed": seed, "keys": keys, "reaches": reaches, **({"since": since} if since else {})},
        )
        # Chosen by their times first: the wide columns are read for these rows alone.
        connection.execute(
            f"""
            CREATE TEMP TABLE chosen AS
            SELECT {entity.key}, event_timestamp, created FROM candidates WHERE judged
            QUALIFY row_number() OVER (
                    PARTITION BY {entity.key} ORDER BY hash(event_timestamp, created, $seed)
                ) = 1
                OR number % 2 = 1
                AND row_number() OVER (PARTITION BY {entity.key} ORDER BY event_timestamp DESC, created DESC) = 1
            """,
            {"seed": seed},
        )
        (left_out,) = connection.execute("SELECT count(*) FROM candidates WHERE NOT judged").fetchall()[0]
        rows = connection.sql(
            f"SELECT a.* FROM activity a SEMI JOIN chosen USING ({entity.key}, event_timestamp, created) "
            f"ORDER BY {entity.key}, event_timestamp, created"
        ).to_arrow_table()
    return rows.select(table.schema.names).cast(table.schema), left_out


def differences(entity: Entity, stored: pa.Table, recomputed: pa.Table) -> list[FeatureParity]:
    """Compare two tables row by row, for each feature that ``recomputed`` has beside ``key``.

    Args:
        entity: whose features.
        stored: columns ``key``, ``event_timestamp`` and the features.
        recomputed: as :func:`ingestion.reference.recompute` returns it for these rows.
    """
    keys, moments = stored["key"].to_pylist(), stored["event_timestamp"].to_pylist()
    known = [bool(count) for count in recomputed["event_count"].to_pylist()]
    compared = []
    for name in recomputed.schema.names:
        if name == "key":
            continue
        largest = 0.0
        examples = []
        for key, moment, some, here, there in zip(
            keys, moments, known, stored[name].to_pylist(), recomputed[name].to_pylist(), strict=True
        ):
            if not some and there is None:
                # All events of this key turned out to be somebody else's: its sums are stored as 0, its time as the row's.
                there = moment.timestamp() if name == "last_event_at" else 0.0
            if size := _difference(name, here, there):
                largest = max(largest, size)
                examples.append(Example(key, moment, here, there))
        compared.append(
            FeatureParity(entity, name, stored.num_rows, len(examples), largest, tuple(examples[:EXAMPLES]))
        )
    return compared


def _difference(feature: str, stored: Any, recomputed: Any) -> float:
    """How far apart two values are; 0 if they count as equal, infinite if only one is a value."""
    if isinstance(stored, list) or isinstance(recomputed, list):
        return float(sum(here != there for here, there in zip_longest(stored or [], recomputed or [])))
    if stored is None or recomputed is None:
        return 0.0 if stored is recomputed else math.inf
    apart = abs(stored - recomputed)
    if math.isnan(apart):
        return math.inf
    if isinstance(stored, int):
        return float(apart)
    if feature == "last_event_at":
        # Seconds since 1970: relative to their size, whole seconds would vanish.
        return apart if apart > _HALF_A_MILLISECOND else 0.0
    return 0.0 if math.isclose(stored, recomputed, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) else apart


def _show(console: Console, report: ParityReport) -> None:
    from rich.table import Table
    from rich.text import Text

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    if report.features:
        table = Table("of", "feature")
        for heading in ("rows", "differing", "share", "largest difference"):
            table.add_column(heading, justify="right")
        for of in report.features:
            style = "bold red" if of in report.beyond else "yellow" if of.differing else ""
            cells = (f"{of.rows:,}", f"{of.differing:,}", f"{of.share:.2%}", _size(of.largest))
            table.add_row(of.entity.value, of.feature, *(Text(cell, style=style) for cell in cells))
        console.print(table)
    for of in report.features:
        for example in of.examples:
            stored, recomputed = _excerpts(example.stored, example.recomputed)
            moment = example.moment.isoformat(timespec="milliseconds")
            say(
                f"{of.feature} of {of.entity.value} {example.key} at {moment}: stored {stored}, recomputed {recomputed}"
            )
    for entity, rows in report.left_out.items():
        if rows:
            say(
                f"{rows:,} rows of these {entity.value}s reach beyond the archived events: left out, to be judged later"
            )
    for entity in report.empty:
        say(f"There are no rows of {entity.value}s to compare.")
    if not report.agrees:
        names = ", ".join(f"{of.entity.value} {of.feature}" for of in report.beyond)
        say(
            f"Stored features differ from what the events say in more than {report.threshold:.2%} of the rows: {names}. "
            "`python -m ingestion backfill --recompute` computes all features anew; "
            f"`python -m ingestion parity --seed {report.seed}` looks again.",
            "bold red",
        )
    elif report.features:
        say(f"Stored features agree with the events (seed {report.seed}).")


def _size(difference: float) -> str:
    if math.isinf(difference):
        return "no value"
    return f"{difference:.6g}" if difference else "-"


def _excerpts(stored: Any, recomputed: Any) -> tuple[str, str]:
    """Both values in short; of sequences, from the first place on in which they differ."""
    if not isinstance(stored, list) or not isinstance(recomputed, list):
        return _short(repr(stored)), _short(repr(recomputed))
    pairs = list(zip_longest(stored, recomputed))
    first = next((at for at, (here, there) in enumerate(pairs) if here != there), 0)
    prefix = f"({len(stored)}) from {first}: ", f"({len(recomputed)}) from {first}: "
    return prefix[0] + _short(repr(stored[first:])), prefix[1] + _short(repr(recomputed[first:]))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return share
