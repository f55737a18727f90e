"""Stored rows of the activity tables, sampled and compared with what :mod:`ingestion.parity.reference` makes of raw events."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from feature_repo.aggregates import Entity
from ingestion.parity.report import Example, FeatureParity, ParityReport

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from ingestion.offsets import Offsets

KEYS = 200
THRESHOLD = 0.001
EXAMPLES = 3
_TOLERANCE = 1e-9
_HALF_A_MILLISECOND = 0.0005


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

    from ingestion.parity import reference

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
    from ingestion.features.definition import check_columns

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
        recomputed: as :func:`ingestion.parity.reference.recompute` returns it for these rows.
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
