"""Settings of the offline store, and of each warehouse that it may be."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, SecretStr

from feature_repo.sections.section import Port, Section


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
    port: Port = Field(5432, description="port of the server")
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
