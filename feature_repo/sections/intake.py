"""Settings of what comes in: the collector, the stream, the catalogue, and what may be kept of customers."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr

from feature_repo.sections.section import Key, OptionalKey, Port, Section


class CollectorSettings(Section):
    """The HTTP API that trackers send to."""

    host: str = Field("127.0.0.1", description="address the collector listens on")
    port: Port = Field(8080, description="port of the collector")
    write_key: Key = Field(
        SecretStr("demo-write-key"),
        description="the write key that trackers must send (basic auth user name)",
    )
    requests_per_second: float = Field(
        0.0, ge=0, description="most requests per second with the write key, beyond which it answers 429; 0: no limit"
    )
    max_event_bytes: PositiveInt = Field(
        36_864,
        description="largest single event accepted (Segment's limit of 32 KB, and what the collector adds to an event)",
    )
    max_body_bytes: PositiveInt = Field(512_000, description="largest request body accepted (Segment's limit: 500 KB)")
    ack_timeout_seconds: PositiveFloat = Field(10.0, description="how long to wait for Kafka before answering 503")


class StreamSettings(Section):
    """The Spark Structured Streaming job."""

    interval_seconds: float = Field(
        0.05,
        ge=0,
        description="how often features are refreshed; from 1 second on, events are read in micro-batches that often, "
        "and below that each is read as it arrives",
    )
    offline_seconds: PositiveFloat = Field(
        5.0, description="how often changed features are written to the offline store"
    )
    archive_seconds: PositiveFloat = Field(30.0, description="how often events, quarantine and ledger are written")
    transitions_seconds: PositiveFloat = Field(
        5.0, description="how often it is learnt which products customers turn to next"
    )
    transitions_horizon_days: PositiveFloat = Field(
        180.0, description="from how much of the past that is learnt at a start"
    )
    max_events_per_batch: PositiveInt = Field(
        50_000, description="most events that are read from Kafka at a time when catching up"
    )
    duplicate_horizon: str = Field(
        "6 hours",
        description="a message id seen again within this time of its first arrival is known as a duplicate for certain",
    )
    future_tolerance_seconds: int = Field(
        300, description="an event dated further than this after its arrival is quarantined"
    )
    compact_every_minutes: PositiveFloat = Field(
        10.0, description="how often small files of the offline store are merged"
    )
    keep_unused_files_hours: float = Field(24.0, description="how long files that compaction replaced are kept")
    niceness: int = Field(
        5,
        ge=0,
        le=19,
        description="how far the stream stands back behind the service and others on the same machine, where all of them want "
        "the processor (nice value); 0: not at all",
    )


class CatalogSettings(Section):
    """How ``python -m ingestion catalog`` keeps up with the shop's catalogue."""

    refresh_seconds: PositiveFloat = Field(
        60.0, description="how often `--every` without a number looks for changes of prices, stock and products"
    )
    max_removed_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of its products that a full catalogue may lose at once without being refused",
    )


class PrivacySettings(Section):
    """Erasing customers and giving out what is held of them (docs/privacy.md)."""

    key: OptionalKey = Field(
        SecretStr(""),
        description="key that the collector's /customers/... must be called with (basic auth user name); empty: nobody may",
    )
    gather_seconds: float = Field(
        60.0, ge=0, description="how long requests to erase gather until the stream pauses for them, for some seconds"
    )
