"""The online store's server, a single Redis or a Redis Cluster: connecting to it, its errors, and the notes that it keeps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from feature_repo.sections.servers import RedisSettings
from feature_repo.tables import ONLINE_WRITES

# What the client of a cluster raises when it reaches no node, or not for all keys, is no RedisError.
REDIS_ERRORS = (RedisError, RedisClusterException)

_PARTS = 16


def connect(redis: RedisSettings, timeout_seconds: float) -> Any:
    """A client; untyped, because redis declares every answer to be perhaps awaitable.

    Raises:
        RedisClusterException: no node of the cluster can be reached. A single server is reached for at the first command.
    """
    password = redis.password.get_secret_value() or None
    options: dict[str, Any] = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    if redis.cluster:
        nodes = [ClusterNode(host, port) for host, port in redis.addresses]
        return RedisCluster(startup_nodes=nodes, password=password, retry=Retry(NoBackoff(), 0), **options)
    [(host, port)] = redis.addresses
    return Redis(host=host, port=port, password=password, **options)


@lru_cache
def note_keys(cluster: bool) -> tuple[str, ...]:
    """The hashes that keep the time of the last write of each view: what a server that was emptied does not have.

    In a cluster there is one for each sixteenth of the slots, so that a single node that was emptied shows: any node that
    has an unbroken eighth of them, as each of eight nodes has, keeps one at least.
    """
    if not cluster:
        return (ONLINE_WRITES,)
    tags: dict[int, int] = {}
    for tag in range(_PARTS * _PARTS):
        tags.setdefault(key_slot(str(tag).encode()) * _PARTS // REDIS_CLUSTER_HASH_SLOTS, tag)
    return tuple(f"{ONLINE_WRITES}:{{{tags[part]}}}" for part in range(_PARTS))
