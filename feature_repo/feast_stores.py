"""Feast's registry, offline and online stores, bound to Shelfwise's settings.

``feature_store.yaml`` names these classes, so that plain ``feast apply`` or ``feast materialize`` finds the same Redis,
warehouse and registry as every other command, with nothing to export first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from duckdb_extensions import import_extension
from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RegistryConfig
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import Field

from feature_repo import point_in_time
from feature_repo.settings import get_settings

# Feast turns all of them on: messages of its libraries to each other's developers.
warnings.filterwarnings("ignore", category=DeprecationWarning)
point_in_time.install()
# DuckDB would download its delta extension at first use; the wheel from the package registry brings it.
import_extension("delta")


def redis_connection_string() -> str:
    """The online store's address in Feast's form ``host:port,password=...``."""
    redis = get_settings().redis
    password = redis.password.get_secret_value()
    return f"{redis.address},password={password}" if password else redis.address


class HomeRegistryStore(FileRegistryStore):
    """Feast's file registry, in the folder of the running installation."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path) -> None:
        super().__init__(registry_config, get_settings().home)
        get_settings().home.mkdir(parents=True, exist_ok=True)


class DeltaOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Feast's DuckDB offline store, reading Delta tables."""

    type: Literal["feature_repo.feast_stores.DeltaOfflineStore"] = "feature_repo.feast_stores.DeltaOfflineStore"


class DeltaOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB offline store; importing this module has installed as-of joins and the extension that reads Delta."""


class FreshRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's Redis store at the address in Shelfwise's settings."""

    type: Literal["feature_repo.feast_stores.FreshRedisOnlineStore"] = "feature_repo.feast_stores.FreshRedisOnlineStore"  # type: ignore[assignment]
    connection_string: str = Field(default_factory=redis_connection_string)


class FreshRedisOnlineStore(RedisOnlineStore):
    """Feast's Redis store, except that a row as new as the stored one replaces it.

    Feast skips such a row. But a late event changes a customer's sums without moving the time of the last event, and
    skipping that row would leave the online value wrong until the next event. Older rows are still refused.
    """

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        client = self._get_client(config.online_store)
        timestamp_field = f"_ts:{table.name}"
        project = config.project.encode()
        keys = [serialize_entity_key(entity_key, 3) + project for entity_key, *_ in data]
        with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hget(key, timestamp_field)
            stored = [_nanoseconds(raw) for raw in pipeline.execute()]
        newest = dict(zip(keys, stored, strict=True))
        with client.pipeline(transaction=False) as pipeline:
            for key, (_, values, event_time, _) in zip(keys, data, strict=True):
                stamp = Timestamp()
                stamp.FromDatetime(event_time)
                if stamp.ToNanoseconds() < newest[key]:
                    continue
                newest[key] = stamp.ToNanoseconds()
                fields: dict[str | bytes, bytes] = {timestamp_field: stamp.SerializeToString()}
                for name, value in values.items():
                    fields[_field_key(table.name, name)] = value.SerializeToString()
                pipeline.hset(key, mapping=fields)
            pipeline.execute()
        if progress:
            progress(len(data))


@lru_cache(maxsize=4096)
def _field_key(view: str, feature: str) -> bytes:
    """The hash field that Feast keeps a feature in."""
    return _mmh3(f"{view}:{feature}")


def _nanoseconds(raw: bytes | None) -> int:
    return Timestamp.FromString(raw).ToNanoseconds() if raw else 0
