"""Settings of the servers that hold events and features, and of what computes on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, model_validator

from feature_repo.sections.section import Port, Section


class KafkaSettings(Section):
    """The broker that every event passes through."""

    bootstrap: str = Field("", description="host:port[,host:port] of your own brokers; empty: run the embedded one")
    host: str = Field("127.0.0.1", description="address the embedded broker listens on")
    port: Port = Field(9092, description="client port of the embedded broker")
    controller_port: Port = Field(9093, description="KRaft controller port of the embedded broker")
    heap: str = Field("512m", description="Java heap of the embedded broker")
    events_topic: str = Field("shelfwise.events", description="accepted events, keyed by customer")
    quarantine_topic: str = Field("shelfwise.quarantine", description="rejected events with their reasons")
    checked_topic: str = Field(
        "shelfwise.checked", description="events on their way through the stream; it makes the topic itself"
    )
    recommendations_topic: str = Field("shelfwise.recommendations", description="what the service answered")
    partitions: PositiveInt = Field(4, description="partitions of each topic when it is created")
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
    port: Port = Field(8083, description="port of the worker's REST API")
    heap: str = Field("512m", description="Java heap of the worker")
    timeout_seconds: PositiveFloat = Field(60.0, description="how long to wait for a connector to run")

    @property
    def address(self) -> str:
        """Where the REST API is, whoever runs it."""
        return self.url.rstrip("/") or f"http://{self.host}:{self.port}"


class CdcSettings(Section):
    """The shop's database whose changes are followed, and what its tables mean."""

    mapping: str = Field("", description="TOML file that says which tables and columns are what (docs/cdc.md)")
    topic: str = Field("shelfwise.cdc", description="the topic of the changes is this, a dot, and the mapping's name")
    host: str = Field("127.0.0.1", description="address of the shop's Postgres")
    port: Port = Field(5432, description="port of the shop's Postgres")
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
    port: Port = Field(6379, description="port of the local Redis")
    password: SecretStr = Field(SecretStr(""), description="password, if your Redis wants one")
    timeout_seconds: PositiveFloat = Field(5.0, description="how long to wait for an answer before trying again")
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
    timeout_seconds: PositiveFloat = Field(5.0, description="how long to wait for an answer before trying again")
