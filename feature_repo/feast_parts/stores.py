"""Feast's registry and online store, bound to Shelfwise's settings.

``feature_store.yaml`` names these classes, so that plain ``feast apply`` or ``feast materialize`` finds the same Redis
and registry as every other command, with nothing to export first.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, compress
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RegistryConfig
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import Field
from redis.exceptions import RedisError

from feature_repo.aggregates import Entity
from feature_repo.online import values as online_values
from feature_repo.online.redis_client import note_keys
from feature_repo.settings import get_settings
from feature_repo.tables import ITEM_CHANGES, ITEM_CHANGES_KEPT

# Feast turns all of them on: messages of its libraries to each other's developers.
warnings.filterwarnings("ignore", category=DeprecationWarning)

_ROWS_PER_ROUND_TRIP = 5_000
_REWRITE_SECONDS = 600.0
_POLL_SECONDS = 0.05


def redis_connection_string() -> str:
    """The online store's address in Feast's form ``host:port[,host:port...],option=value,...``."""
    redis = get_settings().redis
    options = f"socket_timeout={redis.timeout_seconds},socket_connect_timeout={redis.timeout_seconds}"
    password = redis.password.get_secret_value()
    nodes = ",".join(f"{host}:{port}" for host, port in redis.addresses)
    return f"{nodes},{options}" + (f",password={password}" if password else "")


def redis_type() -> RedisType:
    """Whether it is a single server or a cluster, in Feast's terms."""
    return RedisType.redis_cluster if get_settings().redis.cluster else RedisType.redis


class HomeRegistryStore(FileRegistryStore):
    """Feast's file registry, in the folder of the running installation."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path) -> None:
        super().__init__(registry_config, get_settings().home)
        get_settings().home.mkdir(parents=True, exist_ok=True)


class FreshRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's Redis store at the address in Shelfwise's settings."""

    type: Literal["feature_repo.feast_parts.stores.FreshRedisOnlineStore"] = (
        "feature_repo.feast_parts.stores.FreshRedisOnlineStore"  # type: ignore[assignment]
    )
    redis_type: RedisType = Field(default_factory=redis_type)
    connection_string: str = Field(default_factory=redis_connection_string)


class FreshRedisOnlineStore(RedisOnlineStore):
    """Feast's Redis store, except that a row as new as the stored one replaces it.

    Feast skips such a row. But a late event changes a customer's sums without moving the time of the last event, and
    skipping that row would leave the online value wrong until the next event. Older rows are still refused.

    Which products were written is told to those who follow :data:`feature_repo.tables.ITEM_CHANGES`.
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
                    fields[field_key(table.name, name)] = value.SerializeToString()
                pipeline.hset(key, mapping=fields)
            pipeline.execute()
        _tell_changes(client, table, [entity_key.entity_values[0].string_val for entity_key, *_ in data])
        if progress:
            progress(len(data))

    def write_rows(self, config: RepoConfig, view: FeatureView, rows: pa.Table, keep_newer: bool = False) -> bool:
        """Write rows of the view's table as they are, for the one writer that knows what is true now.

        The same layout as :meth:`online_write_batch`, encoded by column: several times as fast as Feast's way through
        pandas and one message per value.

        Args:
            config: the store's configuration.
            view: the feature view; it has one join key.
            rows: one row per key, with the join key, ``event_timestamp`` and the view's features.
            keep_newer: leave alone what is stored as of a later time.

        Returns:
            Whether the view had been written before: if not, the server (or a node of the cluster) is new, or was emptied.
        """
        client = self._get_client(config.online_store)
        join_key = view.join_keys[0]
        entities = rows[join_key].to_pylist()
        keys = entity_keys(join_key, entities, config.project)
        if keep_newer:
            rows, keys = self._not_older(client, f"_ts:{view.name}", rows, keys)
            entities = rows[join_key].to_pylist()
        times = _milliseconds(rows)
        names = [feature.name for feature in view.features]
        fields = [field_key(view.name, name) for name in names] + [f"_ts:{view.name}".encode()]
        columns = [online_values.encoded(rows[name].combine_chunks()) for name in names]
        columns.append([online_values.timestamp(ms) for ms in times])
        notes, known = self._notes(config), True
        for start in range(0, len(keys), _ROWS_PER_ROUND_TRIP):
            with client.pipeline(transaction=False) as pipeline:
                for note in notes:
                    pipeline.hexists(note, view.name)
                part = slice(start, start + _ROWS_PER_ROUND_TRIP)
                for key, values in zip(
                    keys[part], zip(*(column[part] for column in columns), strict=True), strict=True
                ):
                    # What hset() does, too, but it takes so long to put its arguments together that the stream notices.
                    pipeline.execute_command("HSET", key, *chain.from_iterable(zip(fields, values, strict=True)))
                known = all(pipeline.execute()[: len(notes)]) and known
            _tell_changes(client, view, entities[part])
        return known

    def delete_rows(self, config: RepoConfig, view: FeatureView, names: Sequence[str]) -> int:
        """Delete all that is held of some entities of the view, in this view and all others; gives how many there were."""
        keys = entity_keys(view.join_keys[0], names, config.project)
        return int(self._get_client(config.online_store).delete(*keys)) if keys else 0

    def rewrite_files(self, config: RepoConfig) -> None:
        """Let the server write its files anew, without what has been deleted, and wait until it has.

        Raises:
            redis.RedisError: it is gone, or does not do it.
        """
        client = self._get_client(config.online_store)
        cluster = config.online_store.redis_type == RedisType.redis_cluster
        for server in [client.get_redis_connection(node) for node in client.get_nodes()] if cluster else [client]:
            # A rewriting that is under way may have begun before the deletion.
            self._wait_for_rewriting(server)
            if server.info("persistence")["aof_enabled"]:
                server.bgrewriteaof()
            elif server.config_get("save").get("save"):
                server.bgsave()
            self._wait_for_rewriting(server)

    @staticmethod
    def _wait_for_rewriting(server: Any) -> None:
        names = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
        deadline = time.monotonic() + _REWRITE_SECONDS
        while any(server.info("persistence").get(name) for name in names):
            if time.monotonic() > deadline:
                raise RedisError(f"its files were not written anew within {_REWRITE_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    @staticmethod
    def _not_older(client: Any, field: str, rows: pa.Table, keys: list[bytes]) -> tuple[pa.Table, list[bytes]]:
        with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hget(key, field)
            stored = [_nanoseconds(raw) for raw in pipeline.execute()]
        chosen = [ms * 1_000_000 >= known for ms, known in zip(_milliseconds(rows), stored, strict=True)]
        return rows.filter(pa.array(chosen, pa.bool_())), list(compress(keys, chosen))

    def note_written(self, config: RepoConfig, view: FeatureView) -> None:
        """Record that all that is known of the view is online, as of now."""
        now = str(round(time.time() * 1000))
        with self._get_client(config.online_store).pipeline(transaction=False) as pipeline:
            for note in self._notes(config):
                pipeline.hset(note, view.name, now)
            pipeline.execute()

    @staticmethod
    def _notes(config: RepoConfig) -> tuple[str, ...]:
        return note_keys(config.online_store.redis_type == RedisType.redis_cluster)


def _tell_changes(client: Any, view: FeatureView, names: list[str]) -> None:
    """Say that products have been written: afterwards, so that whoever is told reads what is new."""
    if view.join_keys == [Entity.ITEM.key] and names:
        client.xadd(ITEM_CHANGES, {"ids": json.dumps(names)}, maxlen=ITEM_CHANGES_KEPT, approximate=True)


def _milliseconds(rows: pa.Table) -> list[int]:
    return rows["event_timestamp"].cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64()).to_pylist()


def entity_keys(join_key: str, names: Sequence[str], project: str) -> list[bytes]:
    """Redis keys as Feast makes them: its serialisation of one text value ends with length and text."""
    empty = serialize_entity_key(EntityKey(join_keys=[join_key], entity_values=[Value(string_val="")]), 3)
    head, end = empty[:-4], project.encode()
    texts = [name.encode() for name in names]
    return [b"".join((head, len(text).to_bytes(4, "little"), text, end)) for text in texts]


@lru_cache(maxsize=4096)
def field_key(view: str, feature: str) -> bytes:
    """The hash field that Feast keeps a feature in."""
    return _mmh3(f"{view}:{feature}")


def _nanoseconds(raw: bytes | None) -> int:
    return Timestamp.FromString(raw).ToNanoseconds() if raw else 0
