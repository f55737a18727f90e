"""Kafka Connect's REST API: connectors put in place, watched until they run, and restarted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import requests

from feature_repo.errors import InputError, UnavailableError
from ingestion.connectors.causes import explained, root_cause
from ingestion.connectors.files import Connector

_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.5
# So long after a change, what Connect says may be of what was there before; and a task runs before it tries anything.
_OLD_NEWS_SECONDS = 3.0
_STEADY_SECONDS = 6.0
_CONFLICT, _NOT_FOUND = 409, 404
RUNNING, FAILED, STOPPED, PAUSED = "RUNNING", "FAILED", "STOPPED", "PAUSED"


@dataclass(frozen=True)
class Status:
    """How a connector is.

    Attributes:
        state: of the connector, as Connect calls it.
        tasks: state of each of its tasks.
        trace: of the first failure; empty if there is none.
    """

    state: str
    tasks: tuple[str, ...]
    trace: str

    @property
    def runs(self) -> bool:
        return self.state == RUNNING and bool(self.tasks) and all(task == RUNNING for task in self.tasks)

    @property
    def failed(self) -> bool:
        return FAILED in (self.state, *self.tasks)

    @property
    def rests(self) -> bool:
        """Whether somebody has stopped it, or was cut off while it was stopped."""
        return self.state in (STOPPED, PAUSED)

    def __str__(self) -> str:
        return f"connector {self.state}, tasks {', '.join(self.tasks) or 'none'}"


class Connect:
    """A Kafka Connect cluster, by one of its workers.

    Args:
        address: ``http://host:port``.
        patience: how many seconds to wait for what takes its time.
    """

    def __init__(self, address: str, patience: float) -> None:
        self._address, self._patience = address, patience

    def names(self) -> list[str]:
        return sorted(self._ask("GET", "/connectors"))

    def put(self, connector: Connector) -> bool:
        """Give a connector its configuration; whether it had another, or none.

        Raises:
            InputError: Connect does not accept it; the message says why, and what to do.
        """
        before = self._ask("GET", f"/connectors/{connector.name}/config", missing=True)
        wanted = {"name": connector.name, **connector.config}
        if before == wanted:
            return False
        self._ask("PUT", f"/connectors/{connector.name}/config", wanted)
        return True

    def status(self, name: str) -> Status:
        """How a connector is; ``UNASSIGNED`` also before any worker has taken it."""
        said = self._ask("GET", f"/connectors/{name}/status", missing=True) or {}
        connector, tasks = said.get("connector", {}), said.get("tasks", [])
        traces = [part["trace"] for part in (*tasks, connector) if part.get("trace")]
        return Status(
            connector.get("state", "UNASSIGNED"), tuple(task["state"] for task in tasks), traces[0] if traces else ""
        )

    def restart_failed(self, name: str) -> None:
        self._ask("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")

    def resume(self, name: str) -> None:
        self._ask("PUT", f"/connectors/{name}/resume")

    def wait_until_it_runs(self, name: str) -> None:
        """Until connector and tasks have run for some seconds.

        Raises:
            UnavailableError: they failed, or did not run in time; the message says why, and what to do.
        """
        begun = time.monotonic()
        deadline = begun + self._patience
        steady_since: float | None = None
        while True:
            status = self.status(name)
            steady_since = (steady_since or time.monotonic()) if status.runs else None
            if steady_since and time.monotonic() >= steady_since + _STEADY_SECONDS:
                return
            # At first it may be the failure of what is being replaced.
            if status.failed and time.monotonic() > begun + _OLD_NEWS_SECONDS:
                raise UnavailableError(f"{name} has failed: {explained(root_cause(status.trace))}")
            if not status.runs and time.monotonic() > deadline:
                raise UnavailableError(
                    f"{name} does not run after {self._patience:g} s ({status}); SHELFWISE_CONNECT__TIMEOUT_SECONDS is how "
                    "long to wait, and the worker's log says what it does (`python -m deploy logs connect`)"
                )
            time.sleep(_POLL_SECONDS)

    def read_again(self, name: str) -> None:
        """Forget how far a connector came, so that it begins with a snapshot, and let it go on."""
        self._ask("PUT", f"/connectors/{name}/stop")
        try:
            deadline = time.monotonic() + self._patience
            while (status := self.status(name)).state != STOPPED or status.tasks:
                if time.monotonic() > deadline:
                    raise UnavailableError(f"{name} does not stop within {self._patience:g} s ({status}); try again")
                time.sleep(_POLL_SECONDS)
            self._ask("DELETE", f"/connectors/{name}/offsets")
        finally:
            self.resume(name)

    def _ask(self, method: str, path: str, body: Any = None, missing: bool = False) -> Any:
        """What Connect answers; None for what is not there, if that may be ``missing``."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = requests.request(method, self._address + path, json=body, timeout=_ANSWER_SECONDS)
            except requests.RequestException as error:
                raise UnavailableError(
                    f"Kafka Connect does not answer at {self._address} ({type(error).__name__}); `make up WITH=cdc` starts a "
                    "worker, and SHELFWISE_CONNECT__URL names one that runs elsewhere"
                ) from None
            # While workers agree who does what, they ask to come back later.
            if answer.status_code != _CONFLICT or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        if answer.status_code == _NOT_FOUND and missing:
            return None
        if not answer.ok:
            raise InputError(f"Kafka Connect refuses {method} {path}: {explained(_message(answer))}")
        return answer.json() if answer.content else None


def _message(answer: requests.Response) -> str:
    try:
        said = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.text
    # Connect's advice at the end leads to an API that nobody here uses.
    return " ".join(said.split("You can also find the above list")[0].split())[:1_000]
