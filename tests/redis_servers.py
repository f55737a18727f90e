"""Redis servers of a test's own: single ones, and some that are a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from own_stack import free_ports
from redis import Redis, RedisError
from waiting import until

from deploy.redis_server import find_server
from feature_repo.settings import Settings

SLOTS = 16_384
# How long a node may be silent until the others take it for gone; a busy machine must not be that silent.
NODE_TIMEOUT_MS = 5_000


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    bus: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self) -> Any:
        return Redis(port=self.port, socket_timeout=5)

    def answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except RedisError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[Server]:
    """A server that keeps nothing, for a while."""
    folder.mkdir()
    port, bus = free_ports(2)
    command = [find_server(Settings()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    if options:
        command += ["--cluster-port", str(bus), *options]
    with (folder / "log").open("w") as log:
        server = Server(port, bus, subprocess.Popen(command, stdout=log, stderr=log))
    try:
        until(server.answers)
        yield server
    finally:
        server.kill()


@dataclass(frozen=True)
class Cluster:
    """Three primaries, each with a third of the slots, and a replica of the last."""

    primaries: list[Server]
    replica: Server

    def move(self, slots: Iterable[int], source: Server, target: Server) -> int:
        """Move slots between two primaries, key by key, as `redis-cli --cluster reshard` does; gives how many keys they had."""
        moved, old, new = 0, source.client(), target.client()
        old_id, new_id = (client.execute_command("CLUSTER MYID") for client in (old, new))
        for slot in slots:
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
            # In words of its own, or redis-py would make text of the keys, which are bytes.
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
                moved += len(keys)
            for client in (new, old):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)
        return moved


@contextmanager
def redis_cluster(folder: Path) -> Iterator[Cluster]:
    """Four servers that are a cluster."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
    with ExitStack() as running:
        nodes = [running.enter_context(redis_server(folder / f"redis-{n}", *options)) for n in range(4)]
        *primaries, replica = nodes
        for place, node in enumerate(primaries):
            begin, end = (SLOTS * edge // len(primaries) for edge in (place, place + 1))
            node.client().execute_command("CLUSTER ADDSLOTSRANGE", begin, end - 1)
        for node in nodes[1:]:
            node.client().execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, nodes[0].bus)
        until(lambda: all(_whole(node, len(nodes)) for node in nodes))
        replica.client().execute_command("CLUSTER REPLICATE", primaries[-1].client().execute_command("CLUSTER MYID"))
        until(lambda: replica.client().info("replication").get("master_link_status") == "up")
        yield Cluster(primaries, replica)


def _whole(node: Server, count: int) -> bool:
    info = node.client().execute_command("CLUSTER INFO")
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(count))
