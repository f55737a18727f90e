"""The offline store's Delta tables: names, columns, places. Everything that reads or writes one finds it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from feature_repo.aggregates import NEXT, Entity, decayed_sums, definition_hash, last_k
from feature_repo.settings import get_settings

TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, eq=False)
class Table:
    """A Delta table of the warehouse.

    Attributes:
        name: folder name under the warehouse.
        schema: Arrow schema of its columns.
        description: one line for people.
        partition_by: columns that the files are split by.
        properties: Delta's table properties, and our own.
        view: the Feast view that it is the source of, if there is one.
    """

    name: str
    schema: pa.Schema
    description: str
    partition_by: tuple[str, ...] = ()
    properties: Mapping[str, str | None] | None = None
    view: str = ""

    @property
    def path(self) -> Path:
        return get_settings().warehouse / self.name

    @property
    def uri(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return (self.path / "_delta_log").is_dir()

    def create_if_missing(self) -> None:
        """Make an empty table, so that Feast and notebooks can read it before the first event."""
        if not self.exists():
            from deltalake import DeltaTable

            DeltaTable.create(
                self.uri,
                self.schema,
                mode="ignore",
                name=self.name,
                description=self.description,
                partition_by=list(self.partition_by) or None,
                configuration=self.properties,
                raise_if_key_not_exists=False,
            )

    def add_missing_columns(self) -> None:
        """Give a stored table the columns that were declared after it was made; its rows have nothing in them."""
        from deltalake import DeltaTable, Schema

        stored = DeltaTable(self.uri)
        there = {field.name for field in stored.schema().fields}
        missing = [field for field in Schema.from_arrow(self.schema).fields if field.name not in there]
        if missing:
            stored.alter.add_columns(missing)


def _activity_schema(entity: Entity) -> pa.Schema:
    """Columns of an activity table.

    The last two say what a row knows of: the stored events before ``place``, the next offset of each Kafka partition, and
    what came from files; where it was ``recomputed`` over history, of those only what lay before ``event_timestamp``.
    """
    fields = [
        pa.field(entity.key, pa.string()),
        pa.field("event_timestamp", TIMESTAMP),
        pa.field("created", TIMESTAMP),
        pa.field("last_event_at", pa.float64()),
        pa.field("event_count", pa.int64()),
        *(pa.field(aggregate.name, pa.float64()) for aggregate in decayed_sums(entity)),
    ]
    if sequence := last_k(entity):
        types = (pa.list_(pa.string()), pa.list_(pa.int32()), pa.list_(pa.int64()))
        fields += [pa.field(name, type_) for name, type_ in zip(sequence.columns, types, strict=True)]
    return pa.schema([*fields, ("place", pa.list_(pa.int64())), ("recomputed", pa.bool_())])


PRODUCT = pa.struct(
    [
        ("product_id", pa.string()),
        ("sku", pa.string()),
        ("name", pa.string()),
        ("category", pa.string()),
        ("brand", pa.string()),
        ("variant", pa.string()),
        ("price", pa.float64()),
        ("quantity", pa.int64()),
        ("position", pa.int64()),
    ]
)

EVENTS = Table(
    "events",
    pa.schema(
        [
            ("message_id", pa.string()),
            ("type", pa.string()),
            ("event", pa.string()),
            ("customer_id", pa.string()),
            ("user_id", pa.string()),
            ("anonymous_id", pa.string()),
            ("previous_id", pa.string()),
            ("timestamp", TIMESTAMP),
            ("received_at", TIMESTAMP),
            ("session_id", pa.string()),
            ("country", pa.string()),
            ("device", pa.string()),
            ("channel", pa.string()),
            ("page_path", pa.string()),
            ("list_id", pa.string()),
            ("query", pa.string()),
            ("order_id", pa.string()),
            ("revenue", pa.float64()),
            ("currency", pa.string()),
            ("products", pa.list_(PRODUCT)),
            ("traits", pa.string()),
            ("source", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("request_id", pa.string()),
            ("dt", pa.date32()),
        ]
    ),
    "every accepted event once, cleaned and enriched with the catalogue",
    partition_by=("dt",),
)

QUARANTINE = Table(
    "quarantine",
    pa.schema(
        [
            ("reason", pa.string()),
            ("field", pa.string()),
            ("source", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("received_at", TIMESTAMP),
            ("payload", pa.string()),
        ]
    ),
    "every refused event with its reason and where it came from",
)

QUARANTINE_REPLAYS = Table(
    "quarantine_replays",
    pa.schema([("id", pa.string()), ("message_id", pa.string()), ("replayed_at", TIMESTAMP)]),
    "which refused events have been put back into the stream, so that none is put back twice",
)

LEDGER = Table(
    "ledger",
    pa.schema(
        [
            ("source", pa.string()),
            ("batch", pa.string()),
            ("recorded_at", TIMESTAMP),
            ("accepted", pa.int64()),
            ("processed", pa.int64()),
            ("quarantined", pa.int64()),
            ("duplicates", pa.int64()),
        ]
    ),
    "what became of the events of each batch: accepted = processed + quarantined + duplicates",
)

RECOMMENDATIONS = Table(
    "recommendations",
    pa.schema(
        [
            ("request_id", pa.string()),
            ("answered_at", TIMESTAMP),
            ("customer_id", pa.string()),
            ("scenario", pa.string()),
            ("model_version", pa.string()),
            ("fallback", pa.string()),
            ("experiment", pa.string()),
            ("variant", pa.string()),
            ("explored", pa.bool_()),
            ("propensity", pa.float64()),
            ("choices", pa.map_(pa.string(), pa.string())),
            (
                "items",
                pa.list_(pa.struct([("product_id", pa.string()), ("source", pa.string()), ("score", pa.float64())])),
            ),
            ("unreadable", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("dt", pa.date32()),
        ]
    ),
    "what the service answered, once: items as recommended, the first one at the first place; what was not readable has "
    "only its text and its place in Kafka",
    partition_by=("dt",),
)

OUTCOMES = Table(
    "outcomes",
    pa.schema(
        [
            ("message_id", pa.string()),
            ("request_id", pa.string()),
            ("shown_at", TIMESTAMP),
            ("person", pa.string()),
            ("answered", pa.bool_()),
            ("scenario", pa.string()),
            ("model_version", pa.string()),
            ("experiment", pa.string()),
            ("variant", pa.string()),
            (
                "items",
                pa.list_(
                    pa.struct(
                        [
                            ("product_id", pa.string()),
                            ("source", pa.string()),
                            ("place", pa.int32()),
                            ("clicked_at", TIMESTAMP),
                            ("carted_at", TIMESTAMP),
                            ("ordered_at", TIMESTAMP),
                            ("revenue", pa.float64()),
                        ]
                    )
                ),
            ),
            ("dt", pa.date32()),
        ]
    ),
    "what became of each list of recommendations that was shown; follows from events and recommendations",
    partition_by=("dt",),
    # Days that are still open are written anew every few minutes: what was replaced need not stay long.
    properties={"delta.logRetentionDuration": "interval 2 hours"},
)

# The definitions that features were computed by, as a property of their tables.
DEFINITION_PROPERTY = "shelfwise.definition"
_ACTIVITY_PROPERTIES = {
    # Every few seconds there is an entry in the log: a folder of millions of files would slow down every reader.
    "delta.logRetentionDuration": "interval 2 hours",
    DEFINITION_PROPERTY: definition_hash(),
}

CUSTOMER_ACTIVITY = Table(
    "customer_activity",
    _activity_schema(Entity.CUSTOMER),
    "what each customer did, as of each moment it changed",
    properties=_ACTIVITY_PROPERTIES,
    view="customer_activity",
)

CUSTOMER_EXPOSURE = Table(
    "customer_exposure",
    _activity_schema(Entity.EXPOSURE),
    "what each customer was shown last, as of each moment it changed",
    properties=_ACTIVITY_PROPERTIES,
    view="customer_exposure",
)

ITEM_ACTIVITY = Table(
    "item_activity",
    _activity_schema(Entity.ITEM),
    "what happened to each item, as of each moment it changed",
    properties=_ACTIVITY_PROPERTIES,
    view="item_activity",
)

ITEM_TRANSITIONS = Table(
    "item_transitions",
    pa.schema(
        [
            ("product_id", pa.string()),
            ("event_timestamp", TIMESTAMP),
            ("created", TIMESTAMP),
            (f"{NEXT.name}_at", pa.float64()),
            (f"{NEXT.name}_items", pa.list_(pa.string())),
            (f"{NEXT.name}_weights", pa.list_(pa.float32())),
            (f"{NEXT.name}_from", pa.float64()),
            (f"{NEXT.name}_to", pa.float64()),
        ]
    ),
    "which products customers turn to after each item, a row per item and hour in which that changed",
    view="item_transitions",
)

CATALOG = Table(
    "catalog",
    pa.schema(
        [
            ("product_id", pa.string()),
            ("event_timestamp", TIMESTAMP),
            ("created", TIMESTAMP),
            ("name", pa.string()),
            ("category", pa.string()),
            ("brand", pa.string()),
            ("price", pa.float64()),
            ("previous_price", pa.float64()),
            ("currency", pa.string()),
            ("stock", pa.int64()),
            ("first_seen_at", pa.float64()),
            ("origin", pa.string()),
        ]
    ),
    "each change of a product: a row per product and time; stock null means unknown; origin is catalog, events, or "
    "removed for a product that its full catalogue no longer lists (its stock is 0)",
    view="item_catalog",
)

SHOP = "all"  # the one key of the catalogue index
CATALOG_INDEX = Table(
    "catalog_index",
    pa.schema(
        [
            ("shop", pa.string()),
            ("event_timestamp", TIMESTAMP),
            ("created", TIMESTAMP),
            ("product_ids", pa.list_(pa.string())),
        ]
    ),
    "the ids of all products, one row per change of the assortment, so that a service knows what to ask for",
    view="catalog_index",
)

CATALOG_LISTINGS = Table(
    "catalog_listings",
    pa.schema(
        [
            ("file", pa.string()),
            ("number", pa.int64()),
            ("snapshot", pa.bool_()),
            ("product_ids", pa.list_(pa.string())),
        ]
    ),
    "which products each file of a catalogue lists; that with the number which the catalogue table remembers counts",
)

ACTIVITY: dict[Entity, Table] = {
    Entity.CUSTOMER: CUSTOMER_ACTIVITY,
    Entity.EXPOSURE: CUSTOMER_EXPOSURE,
    Entity.ITEM: ITEM_ACTIVITY,
}
# Whose rows follow from the events.
COMPUTED = (*ACTIVITY.values(), ITEM_TRANSITIONS)
ALL_TABLES = (
    EVENTS,
    QUARANTINE,
    QUARANTINE_REPLAYS,
    LEDGER,
    RECOMMENDATIONS,
    OUTCOMES,
    *COMPUTED,
    CATALOG,
    CATALOG_INDEX,
    CATALOG_LISTINGS,
)

# A hash in Redis with the time of the last write of each view, epoch milliseconds: what an emptied Redis does not have.
ONLINE_WRITES = "shelfwise:online"
# A stream in Redis of the products whose features were written, so that a service need not look at all of them.
ITEM_CHANGES = "shelfwise:changed:product_id"
# So many of its last entries are kept, about; one is a batch of products.
ITEM_CHANGES_KEPT = 1_000


def create_missing_tables() -> None:
    """Create whichever table is not there yet, empty."""
    for table in ALL_TABLES:
        table.create_if_missing()
    EVENTS.add_missing_columns()
