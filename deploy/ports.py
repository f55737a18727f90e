"""Is an address free to listen on, and if not, who has it and which setting moves us elsewhere?"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from deploy.errors import StackError


@dataclass(frozen=True)
class Listener:
    """An address that a service listens on, and the environment variables that set it."""

    service: str
    host: str
    port: int
    setting: str  # variable of the port, for example SHELFWISE_KAFKA__PORT

    @property
    def host_setting(self) -> str:
        return self.setting.rpartition("__")[0] + "__HOST"

    @property
    def reachable_host(self) -> str:
        """Where to connect to: a wildcard address is listened on, but not connected to."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)

    @property
    def url(self) -> str:
        host = f"[{self.reachable_host}]" if ":" in self.reachable_host else self.reachable_host
        return f"http://{host}:{self.port}"


def check_free(listeners: Iterable[Listener]) -> None:
    """Make sure that every address can be listened on.

    Raises:
        StackError: some cannot; the message names for each the port, who has it and the setting to change.
    """
    listeners = list(listeners)
    problems = [problem for listener in listeners if (problem := _problem(listener))]
    problems += _clashes(listeners)
    if problems:
        raise StackError("\n".join(problems))


def _problem(listener: Listener) -> str | None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            # As the servers do: a connection of an earlier run that lingers in TIME_WAIT does not count.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            # Only listening tells when somebody else listens on the same port of the wildcard address.
            trial.listen(1)
    except OSError as error:
        return _explain(listener, error)
    return None


def _explain(listener: Listener, error: OSError) -> str:
    where = f"{listener.service} cannot listen on {listener.host}:{listener.port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where}: the port is taken by {describe_owner(listener.port)}. "
            f"End that, or choose another port with {listener.setting}."
        )
    if error.errno == errno.EACCES:
        return f"{where}: ports below 1024 need root. Choose another with {listener.setting}."
    return f"{where}: {error.strerror or error}. Choose an address of this machine with {listener.host_setting}."


def _clashes(listeners: list[Listener]) -> list[str]:
    seen: dict[int, Listener] = {}
    clashes = []
    for listener in listeners:
        other = seen.setdefault(listener.port, listener)
        if other is not listener:
            clashes.append(
                f"{other.service} and {listener.service} are both set to port {listener.port}. "
                f"Change {other.setting} or {listener.setting}."
            )
    return clashes


def describe_owner(port: int) -> str:
    """The process that listens on a port, as far as this user may see it."""
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (process {process.pid}: {' '.join(process.cmdline())[:120]})"
            except psutil.Error:
                break
    return "a process of another user"
