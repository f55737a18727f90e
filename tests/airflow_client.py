"""Airflow, started as `make airflow` does, and asked through its own HTTP API."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from own_stack import OwnStack
from waiting import until

_SECONDS = 600.0


@dataclass(frozen=True)
class Run:
    """A run of a DAG.

    Attributes:
        state: success, failed, ...
        tasks: state and number of tries of each step.
    """

    client: httpx.Client
    url: str

    @property
    def state(self) -> str:
        return str(_json(self.client.get(self.url))["state"])

    @property
    def tasks(self) -> dict[str, tuple[str, int]]:
        found = _json(self.client.get(f"{self.url}/taskInstances"))["task_instances"]
        return {task["task_id"]: (task["state"], task["try_number"]) for task in found}

    def log(self, task: str, attempt: int = 1) -> str:
        """What is shown as the log of a step."""
        content = _json(self.client.get(f"{self.url}/taskInstances/{task}/logs/{attempt}"))["content"]
        return "\n".join(str(line["event"]) if isinstance(line, dict) else str(line) for line in content)

    def logs(self, task: str) -> str:
        """What is shown as the logs of all attempts; one that Airflow lost on a busy machine before it began has none."""
        attempts = range(1, self.tasks[task][1] + 1)
        found = [self.client.get(f"{self.url}/taskInstances/{task}/logs/{attempt}") for attempt in attempts]
        return "\n".join(answer.text for answer in found if answer.is_success)

    def finished(self) -> str:
        """The state in which the run ended."""
        until(lambda: self.state in ("success", "failed"), _SECONDS)
        return self.state


class Airflow:
    """A running Airflow."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=60)
        token = _json(self.client.post("/auth/token", json={"username": user, "password": password}))["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    def dags(self) -> dict[str, Any]:
        """The DAGs that Airflow knows, by name."""
        return {dag["dag_id"]: dag for dag in _json(self.client.get("/api/v2/dags"))["dags"]}

    def trigger(self, name: str) -> Run:
        """Start a run of a DAG."""
        runs = f"/api/v2/dags/shelfwise_{name}/dagRuns"
        started = _json(self.client.post(runs, json={"logical_date": None}))
        return Run(self.client, f"{runs}/{started['dag_run_id']}")


@contextmanager
def running_airflow(stack: OwnStack) -> Iterator[Airflow]:
    """`python -m deploy airflow`, until it is interrupted as by Ctrl-C."""
    with stack.start("airflow") as process:
        try:
            told = _read_until(process, r"Airflow is at (\S+): user (\S+), password (\S+) ")
            airflow = Airflow(*told.groups())
            yield airflow
            airflow.client.close()
        finally:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=_SECONDS)
    assert process.returncode == 0, output


def _read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if found := re.search(pattern, line):
            return found
    raise AssertionError(seen)


def _json(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()
