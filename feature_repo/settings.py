"""Every setting of Shelfwise, its default and what it is for: the one home for ports, folders, addresses and limits.

Values come, strongest first, from environment variables (``SHELFWISE_KAFKA__PORT=9192``), from a TOML file
(``shelfwise.toml`` beside ``pyproject.toml``, or the path in ``SHELFWISE_CONFIG``), and from the defaults here. A key
that is not declared below is refused in both places, so that a misspelt setting cannot be silently ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from feature_repo.basic_auth import authorization_of
from feature_repo.errors import SettingsError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
ENV_PREFIX = "SHELFWISE_"
CONFIG_PATH_VARIABLE = "SHELFWISE_CONFIG"
HOME_VARIABLE = "SHELFWISE_HOME"
# Set on the processes of the one-machine stack, so that it finds them again; not a setting.
SERVICE_VARIABLE = "SHELFWISE_SERVICE"
# A tree of a ranker has at most so many: they are the bits of one number when it answers.
MOST_LEAVES = 64


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _sendable(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if not text or ":" in text or not text.isascii():
        raise ValueError("a key has one character or more, of ASCII, and no colon")
    return key


class KafkaSettings(Section):
    """The broker that every event passes through."""

    bootstrap: str = Field("", description="host:port[,host:port] of your own brokers; empty: run the embedded one")
    host: str = Field("127.0.0.1", description="address the embedded broker listens on")
    port: int = Field(9092, description="client port of the embedded broker")
    controller_port: int = Field(9093, description="KRaft controller port of the embedded broker")
    heap: str = Field("512m", description="Java heap of the embedded broker")
    events_topic: str = Field("shelfwise.events", description="accepted events, keyed by customer")
    quarantine_topic: str = Field("shelfwise.quarantine", description="rejected events with their reasons")
    checked_topic: str = Field(
        "shelfwise.checked", description="events on their way through the stream; it makes the topic itself"
    )
    recommendations_topic: str = Field("shelfwise.recommendations", description="what the service answered")
    partitions: int = Field(4, description="partitions of each topic when it is created")
    replication: int = Field(
        0,
        ge=0,
        description="brokers that hold each topic, when it is created; 0: as many as your brokers have by default",
    )

    @property
    def servers(self) -> str:
        """``host:port`` list to connect to, whoever runs the broker."""
        return self.bootstrap or f"{self.host}:{self.port}"

    @property
    def embedded(self) -> bool:
        return not self.bootstrap

    @property
    def copies(self) -> int:
        """Of a topic to be created, as Kafka takes it: -1 stands for the brokers' default."""
        return self.replication or -1

    def new_topic(self, partitions: int, configs: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A topic to be created, as Kafka's admin client takes it."""
        configs = dict(configs or {})
        if self.replication:
            # What is acknowledged outlives any one broker of three, and while one is gone, everything goes on.
            configs["min.insync.replicas"] = str(max(1, self.replication - 1))
        return {"num_partitions": partitions, "replication_factor": self.copies, "configs": configs}


class ConnectSettings(Section):
    """Kafka Connect, whose connectors bring changes of databases (`make up WITH=cdc`)."""

    url: str = Field("", description="http://host:port of your own Kafka Connect; empty: run a worker on this machine")
    host: str = Field("127.0.0.1", description="address the worker's REST API listens on")
    port: int = Field(8083, description="port of the worker's REST API")
    heap: str = Field("512m", description="Java heap of the worker")
    timeout_seconds: float = Field(60.0, gt=0, description="how long to wait for a connector to run")

    @property
    def address(self) -> str:
        """Where the REST API is, whoever runs it."""
        return self.url.rstrip("/") or f"http://{self.host}:{self.port}"


class CdcSettings(Section):
    """The shop's database whose changes are followed, and what its tables mean."""

    mapping: str = Field("", description="TOML file that says which tables and columns are what (docs/cdc.md)")
    topic: str = Field("shelfwise.cdc", description="the topic of the changes is this, a dot, and the mapping's name")
    host: str = Field("127.0.0.1", description="address of the shop's Postgres")
    port: int = Field(5432, description="port of the shop's Postgres")
    database: str = Field("shop", description="database")
    user: str = Field("shelfwise", description="user; may replicate, and read the tables")
    password: SecretStr = Field(SecretStr(""), description="the user's password")
    sslmode: str = Field("prefer", description="as Debezium's database.sslmode; `verify-full` across a network")


class RedisSettings(Section):
    """The online store's server."""

    url: str = Field(
        "",
        description="host:port of your own Redis, or host:port,host:port of nodes of a cluster; empty: run one on this "
        "machine",
    )
    cluster: bool = Field(
        False, description="whether `url` names nodes of a Redis Cluster (not all: those named know the others)"
    )
    host: str = Field("127.0.0.1", description="address the local Redis listens on")
    port: int = Field(6379, description="port of the local Redis")
    password: SecretStr = Field(SecretStr(""), description="password, if your Redis wants one")
    timeout_seconds: float = Field(5.0, description="how long to wait for an answer before trying again")
    server: str = Field(
        "",
        description="path of a redis-server to run; empty: an installed one, else the one that came by pip",
    )

    @property
    def address(self) -> str:
        """``host:port`` to connect to, whoever runs the server; of a cluster, several with commas between."""
        return self.url or f"{self.host}:{self.port}"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Hosts and ports to connect to."""
        parts = (one.strip().rpartition(":") for one in self.address.split(","))
        return [(host, int(port)) for host, _, port in parts]

    @property
    def embedded(self) -> bool:
        return not self.url

    @model_validator(mode="after")
    def _fits_together(self) -> RedisSettings:
        if self.cluster and self.embedded:
            raise ValueError("`cluster` needs `url`: host:port of one node or more; the Redis run here is none")
        try:
            several = len(self.addresses) > 1
        except ValueError:
            raise ValueError("`url` is host:port, or host:port,host:port of nodes of a cluster") from None
        if several and not self.cluster:
            raise ValueError(
                "`url` names several servers: say `cluster` if they are one (SHELFWISE_REDIS__CLUSTER=true)"
            )
        return self


class CollectorSettings(Section):
    """The HTTP API that trackers send to."""

    host: str = Field("127.0.0.1", description="address the collector listens on")
    port: int = Field(8080, description="port of the collector")
    write_key: SecretStr = Field(
        SecretStr("demo-write-key"),
        description="the write key that trackers must send (basic auth user name)",
    )
    requests_per_second: float = Field(
        0.0, ge=0, description="most requests per second with the write key, beyond which it answers 429; 0: no limit"
    )
    max_event_bytes: int = Field(32_768, description="largest single event accepted (Segment's limit: 32 KB)")
    max_body_bytes: int = Field(512_000, description="largest request body accepted (Segment's limit: 500 KB)")
    ack_timeout_seconds: float = Field(10.0, description="how long to wait for Kafka before answering 503")


class StreamSettings(Section):
    """The Spark Structured Streaming job."""

    interval_seconds: float = Field(
        0.05,
        ge=0,
        description="how often features are refreshed; from 1 second on, events are read in micro-batches that often, "
        "and below that each is read as it arrives",
    )
    offline_seconds: float = Field(5.0, description="how often changed features are written to the offline store")
    archive_seconds: float = Field(30.0, description="how often events, quarantine and ledger are written")
    transitions_seconds: float = Field(5.0, description="how often it is learnt which products customers turn to next")
    transitions_horizon_days: float = Field(180.0, description="from how much of the past that is learnt at a start")
    max_events_per_batch: int = Field(
        50_000, description="most events that are read from Kafka at a time when catching up"
    )
    duplicate_horizon: str = Field(
        "6 hours",
        description="a message id seen again within this time of its first arrival is known as a duplicate for certain",
    )
    future_tolerance_seconds: int = Field(
        300, description="an event dated further than this after its arrival is quarantined"
    )
    compact_every_minutes: float = Field(10.0, description="how often small files of the offline store are merged")
    keep_unused_files_hours: float = Field(24.0, description="how long files that compaction replaced are kept")


class OfflineStoreKind(StrEnum):
    """The warehouse that Feast reads features of the past from."""

    DELTA = "delta"
    SPARK = "spark"
    POSTGRES = "postgres"
    SNOWFLAKE = "snowflake"
    REDSHIFT = "redshift"


class PostgresSettings(Section):
    """A Postgres that holds the features as plain tables."""

    host: str = Field("127.0.0.1", description="address of the server")
    port: int = Field(5432, description="port of the server")
    database: str = Field("shelfwise", description="database; it must exist")
    namespace: str = Field("shelfwise", description="schema of the tables; it is made if it is missing")
    user: str = Field("shelfwise", description="user; may create in the database, or else in the schema")
    password: SecretStr = Field(SecretStr(""), description="the user's password; empty: none is sent")
    sslmode: str = Field("prefer", description="libpq's sslmode; `verify-full` for a server across a network")


class SnowflakeSettings(Section):
    """A Snowflake account that holds the features as plain tables."""

    account: str = Field("", description="account identifier, without .snowflakecomputing.com")
    database: str = Field("SHELFWISE", description="database; it must exist")
    namespace: str = Field("FEATURES", description="schema of the tables")
    warehouse: str = Field("", description="virtual warehouse that computes; empty: the user's default")
    role: str = Field("", description="role; empty: the user's default")
    user: str = Field("", description="user")
    password: SecretStr = Field(SecretStr(""), description="the user's password")
    private_key_file: str = Field("", description="path of a private key, instead of a password")
    private_key_passphrase: SecretStr = Field(SecretStr(""), description="passphrase of the private key")


class RedshiftSettings(Section):
    """An Amazon Redshift that holds the features as plain tables; AWS finds its credentials as always (AWS_... variables)."""

    cluster_id: str = Field("", description="cluster, with `user`; or name a workgroup")
    workgroup: str = Field("", description="workgroup of Redshift Serverless")
    user: str = Field("", description="database user, on a cluster")
    region: str = Field("", description="AWS region")
    database: str = Field("shelfwise", description="database; it must exist")
    namespace: str = Field("shelfwise", description="schema of the tables")
    s3_staging_location: str = Field("", description="s3://bucket/folder that results and entity rows pass through")
    iam_role: str = Field("", description="ARN of the role by which Redshift may use that folder")


class OfflineSettings(Section):
    """The offline store. The stream writes Delta whatever is chosen; `python -m ingestion publish` fills the others."""

    store: OfflineStoreKind = Field(
        OfflineStoreKind.DELTA,
        description="where Feast reads: delta (the Delta tables, with DuckDB), spark (the same, with Spark), postgres, "
        "snowflake or redshift; run `feast apply` after a change",
    )
    materialize_overlap_seconds: float = Field(
        600.0,
        ge=0,
        description="`feast materialize-incremental` also takes rows that were written up to so long before it last ended",
    )
    postgres: PostgresSettings = PostgresSettings()
    snowflake: SnowflakeSettings = SnowflakeSettings()
    redshift: RedshiftSettings = RedshiftSettings()


class CatalogSettings(Section):
    """How ``python -m ingestion catalog`` keeps up with the shop's catalogue."""

    refresh_seconds: float = Field(
        60.0, gt=0, description="how often `--every` without a number looks for changes of prices, stock and products"
    )
    max_removed_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of its products that a full catalogue may lose at once without being refused",
    )


class S3Settings(Section):
    """Where catalogues at ``s3://...`` are; what is empty here is taken from the usual variables of AWS."""

    endpoint: str = Field(
        "", description="http(s)://host[:port] of an S3-compatible server; empty: AWS_ENDPOINT_URL, else Amazon's"
    )
    region: str = Field("", description="region; empty: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1")
    access_key: SecretStr = Field(
        SecretStr(""), description="access key; empty: AWS_ACCESS_KEY_ID, a profile or a role"
    )
    secret_key: SecretStr = Field(SecretStr(""), description="secret key; empty: AWS_SECRET_ACCESS_KEY")
    session_token: SecretStr = Field(SecretStr(""), description="token of temporary keys; empty: AWS_SESSION_TOKEN")
    timeout_seconds: float = Field(5.0, gt=0, description="how long to wait for an answer before trying again")


class SparkSettings(Section):
    """The Spark engine under the stream and the backfill."""

    master: str = Field("local[*]", description="Spark master URL")
    driver_memory: str = Field("2g", description="Java heap of the Spark driver")
    driver_host: str = Field(
        "127.0.0.1", description="address of this machine at which a cluster's executors reach the Spark driver"
    )
    executor_memory: str = Field("1g", description="Java heap of each executor, on a cluster")
    max_cores: int = Field(
        0, ge=0, description="most cores that one command takes of a standalone cluster; 0: all that are free"
    )


class HealthSettings(Section):
    """When ``python -m ingestion health`` raises an alarm, and where the stream serves its monitoring page and metrics."""

    host: str = Field("127.0.0.1", description="address at which the stream serves its monitoring page and metrics")
    port: int = Field(9464, description="port of the monitoring page and of Prometheus metrics; 0: none")
    window_minutes: float = Field(15.0, gt=0, description="length of the window that rates and shares are taken over")
    lag_messages: int = Field(1_000, description="most messages of a Kafka partition that may wait for the stream")
    lag_seconds: float = Field(120.0, description="how long more messages than that may wait")
    event_delay_seconds: float = Field(
        3_600.0, description="within this time of happening, 95 % of the events must have arrived"
    )
    view_seconds: float = Field(60.0, description="how long the online store may lack what has arrived")
    min_events: int = Field(20, description="fewest events in the window from which the delay is judged")
    quiet_share: float = Field(0.3, description="a feed below this share of its usual rate is too quiet")
    quiet_min_events: float = Field(30.0, description="usual events per window from which a feed's rate is judged")
    partition_min_events: float = Field(
        50.0, description="events per window in the other partitions from which a quiet one is an alarm"
    )
    violation_share: float = Field(
        0.01, description="share of events refused for one reason and field that is too much"
    )
    violation_min_events: int = Field(10, description="fewest such events in the window that are an alarm")
    model_days: float = Field(14.0, gt=0, description="days since its training after which the model is too old")


class ValidationSettings(Section):
    """What ``python -m ingestion validate`` and ``python -m training drift`` take for a violation."""

    days: int = Field(7, ge=1, description="how many of the last days of events and features are looked at")
    volume_drop: float = Field(
        0.4, ge=0, le=1, description="a day with less than this share of the usual rows is violated"
    )
    volume_rise: float = Field(3.0, ge=1, description="so is one with more than so many times the usual rows")
    volume_min_rows: float = Field(50.0, ge=0, description="usual rows per day from which a kind of event is judged")
    accepted_days: list[date] = Field(
        [],
        description="days of which it is known why they have more or fewer rows than usual: they are not judged by that",
    )
    drift_psi: float = Field(
        0.25,
        gt=0,
        description="population stability index of a feature or score, training to serving, that is violated",
    )
    drift_min_customers: int = Field(
        300, ge=1, description="with fewer of them, drift is not judged: chance alone would often look like it"
    )


class ALSEngine(StrEnum):
    """What fits the candidate model."""

    IMPLICIT = "implicit"
    SPARK = "spark"


class RankerSettings(Section):
    """The trees of one of the three rankers; ``python -m training tune`` searches for better ones."""

    trees: int = Field(100, ge=1, description="how many")
    learning_rate: float = Field(0.08, gt=0, description="how much each corrects those before it")
    leaves: int = Field(16, ge=2, le=MOST_LEAVES, description="of each")
    rows_per_leaf: int = Field(100, ge=1, description="at least")
    columns: float = Field(0.3, gt=0, le=1, description="share of the features that each split chooses from, at random")
    l2: float = Field(1.0, ge=0, description="pull of the leaves' values towards zero")


class OrderRankerSettings(RankerSettings):
    """Visits with a purchase are few, and large trees learn them by heart."""

    trees: int = Field(150, ge=1, description="how many")
    learning_rate: float = Field(0.05, gt=0, description="how much each corrects those before it")
    leaves: int = Field(4, ge=2, le=MOST_LEAVES, description="of each")
    rows_per_leaf: int = Field(40, ge=1, description="at least")


class ListRankerSettings(RankerSettings):
    """It ranks a page, not hundreds of candidates, and so can take its time."""

    trees: int = Field(200, ge=1, description="how many")


class TrainingSettings(Section):
    """What ``python -m training run`` learns from and how."""

    seed: int = Field(7, description="seed of everything random in training")
    factors: int = Field(64, description="latent factors of the ALS candidate model")
    als_on: ALSEngine = Field(
        ALSEngine.IMPLICIT,
        description="what fits the ALS: implicit (one thread), or spark (MLlib, on SHELFWISE_SPARK__MASTER)",
    )
    als_iterations: int = Field(15, description="ALS sweeps")
    als_confidence: float = Field(4.0, description="how much one interaction outweighs none (alpha of implicit ALS)")
    als_regularization: float = Field(2.0, description="pull of the ALS factors towards zero")
    turn_ranker: RankerSettings = RankerSettings()
    order_ranker: OrderRankerSettings = OrderRankerSettings()
    list_ranker: ListRankerSettings = ListRankerSettings()
    click_weight: float = Field(1.0, description="weight of a chosen product; one passed over weighs 1")
    cart_weight: float = Field(1.0, description="the same of a product of a list that was then put into the cart")
    order_weight: float = Field(1.0, description="the same of one that was then ordered")
    max_lists: int = Field(30_000, description="most impression lists used, the latest first")
    test_share: float = Field(0.2, description="last share of the impression lists, held out for evaluation")
    item_spaces: int = Field(
        6,
        ge=1,
        description="how many times the item space is fitted along the rankers' rows, to be no older than in use",
    )
    max_turns: int = Field(20_000, description="most moments used at which a customer turned to another product")
    turn_negatives: int = Field(40, description="candidates not turned to that are kept per such moment")
    test_turns: int = Field(1_000, description="such moments at which the evaluation asks for the next product")
    min_lists: int = Field(100, ge=10, description="clicked impression lists without which training refuses to start")
    candidates: int = Field(200, description="candidates given to the ranker per request")


class RetrainSettings(Section):
    """When ``python -m training retrain`` trains a challenger, and what it must show to be promoted."""

    max_event_age_hours: float = Field(24.0, gt=0, description="newest stored event, at most so old")
    min_new_lists: int = Field(
        200, ge=1, description="fewest clicked impression lists since the last event that the champion learnt from"
    )
    tolerance: float = Field(
        0.03,
        ge=0,
        description="by how much hit rates, MRR and NDCG of the challenger may be below the champion's; the 95% interval of "
        "the difference must not reach further down",
    )
    min_cases: int = Field(
        100, ge=1, description="with fewer cases of a question, only what is certainly worse is refused"
    )
    max_latency_ratio: float = Field(
        1.5, gt=0, description="median time of a recommendation by the challenger, as a multiple of the champion's"
    )
    tracking_uri: str = Field(
        "", description="MLflow tracking server or store; empty: MLFLOW_TRACKING_URI, else a file in SHELFWISE_HOME"
    )


class WatchSettings(Section):
    """When ``python -m training watch`` goes back to the version before, by the metrics of the running service."""

    metrics_url: str = Field("", description="where the service's metrics are; empty: at the service's own address")
    min_requests: int = Field(200, ge=1, description="answers of a version from which it is judged")
    max_failure_rise: float = Field(
        0.01,
        ge=0,
        description="share of requests that fail inside the service, at most so much above the version before",
    )
    max_fallback_rise: float = Field(0.1, ge=0, description="share of answers with a fallback, at most so much above")
    max_latency_ratio: float = Field(
        1.5, gt=0, description="95th percentile of the answers' time, at most so many times"
    )
    max_click_fall: float = Field(
        0.2,
        gt=0,
        description="clicks on what was shown, at most so much below the version before, as a share of its own",
    )


class OutcomeSettings(Section):
    """What counts as the outcome of a recommendation that was shown; after a change, all of them are counted anew."""

    click_minutes: float = Field(
        30.0, gt=0, description="a click counts for the list that showed the product if it comes within this time"
    )
    order_hours: float = Field(24.0, gt=0, le=720, description="the same for carts and orders")
    every_seconds: float = Field(
        300.0,
        ge=0,
        description="how often the stream brings the table `outcomes` up to date; 0: `python -m ingestion outcomes` alone does",
    )


class ServingSettings(Section):
    """The BentoML service."""

    host: str = Field("127.0.0.1", description="address the service listens on")
    port: int = Field(3000, description="port of the service")
    model: str = Field(
        "shelfwise:promoted",
        description="tag in BentoML's model store: `promoted` is the version that was promoted last; or name one",
    )
    workers: int = Field(1, description="worker processes")
    metrics_folder: str = Field(
        "",
        description="where this replica keeps its counts for /metrics while it runs; empty: one of its own in the home",
    )
    max_k: int = Field(100, description="most recommendations one request may ask for")
    snapshot_seconds: float = Field(1.0, description="how often the worker looks for item features that changed")
    stale_seconds: float = Field(
        30.0, gt=0, description="item features in memory that are older than this are told (`degraded`), and not ready"
    )
    deadline_ms: float = Field(
        50.0,
        gt=0,
        description="time in which a request is answered: what does not fit is left out, and told (`degraded`)",
    )
    read_timeout_ms: float = Field(
        25.0, gt=0, description="share of the deadline that reading the customer's features may take"
    )
    max_concurrency: int = Field(
        16, ge=1, description="requests that a worker has in hand at once; beyond, it answers 429 with Retry-After"
    )
    read_keys: tuple[Annotated[SecretStr, AfterValidator(_sendable)], ...] = Field(
        (),
        description='keys of which a request for recommendations must send one (basic auth user name), as ["..."]; none: '
        "anybody may ask",
    )
    requests_per_second: float = Field(
        0.0, ge=0, description="most requests per second with one key (of each worker); 0: no limit"
    )
    max_body_bytes: int = Field(65_536, description="largest request body accepted")
    model_poll_seconds: float = Field(5.0, description="how often the worker looks for a newer model or changed rules")
    rules_file: str = Field("", description="TOML file of the shop's own scenarios and rules; empty: none")
    experiments_file: str = Field("", description="TOML file of the experiments that are under way; empty: none")
    log_answers: bool = Field(
        True, description="whether answers are sent to Kafka, so that outcomes can be counted by what was answered"
    )
    storefront: bool | None = Field(
        None,
        description="whether `/` is a small shop for showing and looking into the system; it shows customers' features, so "
        "for your own network only; not set: if `host` is this machine alone",
    )

    @property
    def shows_storefront(self) -> bool:
        if self.storefront is not None:
            return self.storefront
        return self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")

    @property
    def authorization(self) -> dict[str, str]:
        """The headers that let a request for recommendations in."""
        if not self.read_keys:
            return {}
        return {"Authorization": authorization_of(self.read_keys[0].get_secret_value())}


class AutomationSettings(Section):
    """What Airflow (`make airflow`) runs, and when. Schedules are cron expressions; empty: only by hand."""

    host: str = Field("127.0.0.1", description="address that Airflow's pages and API listen on")
    port: int = Field(8090, description="port of Airflow's pages and API")
    time_zone: str = Field("UTC", description="time zone of the schedules, for example Europe/Berlin")
    catalog: str = Field("", description="catalogue to load: a file, a folder or a Delta table; empty: none")
    catalog_snapshot: bool | None = Field(
        None,
        description="whether the catalogue lists all products, so that others are gone; unset: if it is a Delta table",
    )
    catalog_schedule: str = Field("*/15 * * * *", description="when changes of the catalogue are looked for")
    pulls: tuple[str, ...] = Field((), description='TOML files of `python -m ingestion pull`, as ["shop.toml"]')
    pull_schedule: str = Field("*/10 * * * *", description="when the APIs are pulled")
    materialize_schedule: str = Field("5 * * * *", description="when `feast materialize-incremental` runs")
    publish_schedule: str = Field("*/15 * * * *", description="when the warehouse is filled, if it is a Postgres")
    nightly_schedule: str = Field("30 2 * * *", description="when the nightly checks and the compaction run")
    retrain_schedule: str = Field("0 4 * * *", description="when a challenger is trained and compared")
    watch_schedule: str = Field("*/5 * * * *", description="when the live metrics of the promoted model are looked at")
    fresh_data_hours: float = Field(6.0, gt=0, description="how long retraining waits for fresh events before it fails")
    fresh_data_check_minutes: float = Field(10.0, gt=0, description="how often it looks for them meanwhile")
    retries: int = Field(3, ge=0, description="how often a step that failed is tried again")
    retry_seconds: float = Field(60.0, gt=0, description="pause before that; it doubles with each further try")
    timeout_minutes: float = Field(60.0, gt=0, description="longest time of a step; then it is ended and tried again")
    retrain_timeout_minutes: float = Field(480.0, gt=0, description="the same of the retraining")


class PrivacySettings(Section):
    """Erasing customers and giving out what is held of them (docs/privacy.md)."""

    key: SecretStr = Field(
        SecretStr(""),
        description="key that the collector's /customers/... must be called with (basic auth user name); empty: nobody may",
    )
    gather_seconds: float = Field(
        60.0, ge=0, description="how long requests to erase gather until the stream pauses for them, for some seconds"
    )


class NotebooksSettings(Section):
    """The notebooks for analysts."""

    data: str = Field(
        "",
        description="file or folder of contract events that notebooks read; empty: what the installation holds or, if that "
        "is nothing, a small invented shop",
    )


class Settings(BaseSettings):
    """All settings, read once by :func:`get_settings`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    home: Path = Field(PROJECT_ROOT / "var", description="where everything that runs keeps its data, logs and models")
    start_timeout_seconds: float = Field(
        300.0, description="how long the one-machine stack waits for a service that it started to be ready"
    )
    kafka: KafkaSettings = KafkaSettings()
    connect: ConnectSettings = ConnectSettings()
    cdc: CdcSettings = CdcSettings()
    redis: RedisSettings = RedisSettings()
    collector: CollectorSettings = CollectorSettings()
    stream: StreamSettings = StreamSettings()
    offline: OfflineSettings = OfflineSettings()
    catalog: CatalogSettings = CatalogSettings()
    s3: S3Settings = S3Settings()
    spark: SparkSettings = SparkSettings()
    health: HealthSettings = HealthSettings()
    validation: ValidationSettings = ValidationSettings()
    training: TrainingSettings = TrainingSettings()
    retrain: RetrainSettings = RetrainSettings()
    watch: WatchSettings = WatchSettings()
    serving: ServingSettings = ServingSettings()
    outcomes: OutcomeSettings = OutcomeSettings()
    automation: AutomationSettings = AutomationSettings()
    privacy: PrivacySettings = PrivacySettings()
    notebooks: NotebooksSettings = NotebooksSettings()

    @property
    def warehouse(self) -> Path:
        """Folder of the offline store's Delta tables."""
        return self.home / "warehouse"

    @property
    def bentoml_home(self) -> Path:
        """Folder of BentoML's model and bento stores; BENTOML_HOME has the last word, as for the ``bentoml`` command."""
        return Path(os.environ.get("BENTOML_HOME") or self.home / "bentoml")

    @property
    def jars(self) -> Path:
        """Folder of the Java libraries that set-up fetched (``kafka/`` and ``spark/``)."""
        return PROJECT_ROOT / ".venv" / "jars"

    @property
    def browser_library(self) -> Path:
        """Folder of Segment's library for browsers that set-up fetched, for the service's storefront."""
        return PROJECT_ROOT / ".venv" / "browser"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=_config_file()))


@lru_cache
def get_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a key is unknown, a value has the wrong type, or the file named in SHELFWISE_CONFIG is missing.
    """
    _refuse_unknown_variables()
    try:
        return Settings()
    except ValidationError as error:
        # Without the values: some are secret.
        faults = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        ]
        raise SettingsError(
            f"settings cannot be used: {'; '.join(faults)}; `python -m feature_repo.settings` lists those there are"
        ) from error
    except ValueError as error:
        raise SettingsError(f"settings cannot be used: {error}") from error


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_PATH_VARIABLE)
    if named and not Path(named).is_file():
        raise SettingsError(f"{CONFIG_PATH_VARIABLE} names {named}, which is not a file")
    return Path(named) if named else PROJECT_ROOT / "shelfwise.toml"


def variable_names(settings: type[BaseModel] = Settings, prefix: str = ENV_PREFIX) -> dict[str, str]:
    """Every environment variable that sets something, with its description."""
    names: dict[str, str] = {}
    for name, field in settings.model_fields.items():
        annotation, variable = field.annotation, f"{prefix}{name.upper()}"
        if isinstance(annotation, type) and issubclass(annotation, Section):
            names |= variable_names(annotation, f"{variable}__")
        else:
            names[variable] = field.description or ""
    return names


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores unknown environment variables; a typo there must not pass unseen."""
    known = {*variable_names(), CONFIG_PATH_VARIABLE, SERVICE_VARIABLE}
    unknown = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}; `python -m feature_repo.settings` lists those there are"
        )


def main() -> None:
    """Print every setting with its value and meaning, secrets masked."""
    settings = get_settings()
    for name, description in variable_names().items():
        value: Any = settings
        for part in name.removeprefix(ENV_PREFIX).lower().split("__"):
            value = getattr(value, part)
        print(f"{name}={value}\n    {description}")


if __name__ == "__main__":
    main()
