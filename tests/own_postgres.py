"""A Postgres of the tests' own: Debian's server in a folder of its own, on loopback, not as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from own_stack import free_ports

# What Debian installs, the newest first; elsewhere what is on the PATH.
_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
_USER, _PASSWORD, _DATABASE = "shelfwise", "a secret: 'quoted'", "shelfwise"
_START_SECONDS = 30
# The test data is not worth waiting for a disk. The zone is one that nobody should notice.
_OPTIONS = ("fsync=off", "timezone=Asia/Tokyo", "listen_addresses=127.0.0.1", "unix_socket_directories=")


@dataclass(frozen=True)
class OwnPostgres:
    """Where the server is, and who may use it."""

    port: int
    user: str = _USER
    password: str = _PASSWORD
    database: str = _DATABASE

    @property
    def variables(self) -> dict[str, str]:
        """The settings by which Shelfwise uses it."""
        prefix = "SHELFWISE_OFFLINE__POSTGRES__"
        return {
            f"{prefix}PORT": str(self.port),
            f"{prefix}USER": self.user,
            f"{prefix}PASSWORD": self.password,
            f"{prefix}DATABASE": self.database,
        }


def programs() -> Path:
    """Where the server's programs are; the test is skipped if there are none."""
    on_path = shutil.which("initdb")
    folders = [*_INSTALLED, *([Path(on_path).resolve().parent] if on_path else [])]
    if not folders:
        pytest.skip("no Postgres server is installed: `sh deploy/apt_install.sh postgresql` brings one")
    return folders[0]


@contextmanager
def own_postgres(*options: str) -> Iterator[OwnPostgres]:
    """Run a server with an empty database for a while, with these ``name=value`` options beside those of all tests."""
    found, (port,) = programs(), free_ports(1)
    # Not in pytest's folders, which other users cannot enter.
    home = Path(tempfile.mkdtemp(prefix="shelfwise-postgres-"))
    # Postgres refuses to run as root.
    owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    os.chown(home, owner.pw_uid, owner.pw_gid)
    as_owner: dict[str, object] = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    as_owner = {**as_owner, "cwd": home} if os.getuid() == 0 else {"cwd": home}
    password = home / "password"
    password.write_text(_PASSWORD)
    os.chown(password, owner.pw_uid, owner.pw_gid)
    try:
        init = [found / "initdb", "-D", home / "data", "-U", _USER, "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]
        made = subprocess.run([*init, f"--pwfile={password}"], capture_output=True, text=True, **as_owner)  # type: ignore[call-overload]
        assert made.returncode == 0, made.stderr
        settings = [word for option in (*_OPTIONS, *options, f"port={port}") for word in ("-c", option)]
        with (home / "log").open("wb") as log:
            server = subprocess.Popen(
                [found / "postgres", "-D", home / "data", *settings],
                stdout=log,
                stderr=log,
                **as_owner,  # type: ignore[call-overload]
            )
        try:
            _create_database(port, home / "log", server)
            yield OwnPostgres(port)
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown, which does not wait for clients
            server.wait(timeout=_START_SECONDS)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _create_database(port: int, log: Path, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    give_up = time.monotonic() + _START_SECONDS
    while True:
        try:
            with psycopg.connect(
                host="127.0.0.1", port=port, user=_USER, password=_PASSWORD, dbname="postgres", autocommit=True
            ) as connection:
                connection.execute(f"CREATE DATABASE {_DATABASE}")
            return
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
