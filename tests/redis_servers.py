"""Redis servers of a test's own: single ones, and three that are a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
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


@contextmanager
def redis_cluster(folder: Path) -> Iterator[list[Server]]:
    """Three servers that are a cluster without replicas, each with a third of the slots."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
    with ExitStack() as running:
        nodes = [running.enter_context(redis_server(folder / f"redis-{n}", *options)) for n in range(3)]
        for place, node in enumerate(nodes):
            begin, end = (SLOTS * edge // len(nodes) for edge in (place, place + 1))
            node.client().execute_command("CLUSTER ADDSLOTSRANGE", begin, end - 1)
            node.client().execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, nodes[0].bus)
        until(lambda: all(_whole(node, len(nodes)) for node in nodes))
        yield nodes


def _whole(node: Server, count: int) -> bool:
    info = node.client().execute_command("CLUSTER INFO")
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(count))
