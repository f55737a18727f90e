"""Airflow on this machine: its processes, with the project's DAGs, on loopback, and with all that it keeps below the home."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from deploy.errors import StackError
from deploy.ports import Listener
from deploy.probes import TIMEOUT_SECONDS, Readiness
from deploy.records import Record
from deploy.services import Service, python_module
from deploy.setup_airflow import ENVIRONMENT, is_set_up
from deploy.tasks import Task
from feature_repo.settings import PROJECT_ROOT, Settings

USER = "admin"
# What the processes are called where their health is told.
_SCHEDULER, _DAG_PROCESSOR = "scheduler", "dag_processor"


def execute(settings: Settings, words: Sequence[str]) -> int:
    """Become a command of Airflow, in the environment of this installation.

    Raises:
        StackError: Airflow is not installed.
    """
    check()
    program = str(ENVIRONMENT / "bin" / "airflow")
    os.execve(program, [program, *words], {**os.environ, **variables(settings)})


def check() -> None:
    """Make sure that Airflow is installed.

    Raises:
        StackError: it is not.
    """
    if not is_set_up():
        raise StackError("Airflow is not installed, or not as locked: `make airflow-setup` does that")


def variables(settings: Settings) -> dict[str, str]:
    """The environment variables by which Airflow runs this project's DAGs and nothing else, and tells nobody."""
    listener = airflow_listener(settings)
    return {
        "AIRFLOW_HOME": str(airflow_home(settings)),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "automation" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{listener.url}/execution/",
        "AIRFLOW__API__HOST": listener.host,
        "AIRFLOW__API__PORT": str(listener.port),
        "AIRFLOW__API__BASE_URL": listener.url,
        # Its processes rename themselves, by which they would lose the marks that they are found by.
        "SPT_NOENV": "1",
        # The DAGs import the project's settings and exit codes, which need next to nothing.
        "PYTHONPATH": str(PROJECT_ROOT),
    }


def airflow_home(settings: Settings) -> Path:
    """Where Airflow keeps its database, its configuration with its secrets, and the logs of tasks."""
    return settings.home.resolve() / "airflow"


def airflow_listener(settings: Settings) -> Listener:
    return Listener("airflow", settings.automation.host, settings.automation.port, "SHELFWISE_AUTOMATION__PORT")


def airflow_services(settings: Settings) -> dict[str, Service]:
    """Airflow's processes by name, in the order in which they start.

    Its server of task logs is left out: it would listen on all addresses, and the logs are files of this machine.
    """
    listener = airflow_listener(settings)
    return {
        service.name: service
        for service in (
            Service(
                name="airflow-api",
                stage=4,
                address=listener.url,
                probe=partial(_probe, listener, ""),
                command=partial(python_module, "deploy", "airflow", "api-server"),
                listeners=(listener,),
                check=check,
                prepare=partial(_prepare, settings),
                everyday=False,
            ),
            Service(
                name="airflow-scheduler",
                stage=5,
                address="-",
                probe=partial(_probe, listener, _SCHEDULER),
                command=partial(python_module, "deploy", "airflow", "scheduler", "--skip-serve-logs"),
                check=check,
                everyday=False,
            ),
            Service(
                name="airflow-dags",
                stage=5,
                address="-",
                probe=partial(_probe, listener, _DAG_PROCESSOR),
                command=partial(python_module, "deploy", "airflow", "dag-processor"),
                check=check,
                everyday=False,
            ),
        )
    }


def _prepare(settings: Settings) -> list[Task]:
    """Airflow's own database, made or brought up to date; nobody else may look into the folder, which holds secrets."""
    airflow_home(settings).mkdir(parents=True, exist_ok=True, mode=0o700)
    return [Task("airflow-database", [sys.executable, "-m", "deploy", "airflow", "db", "migrate"])]


def _probe(listener: Listener, part: str, record: Record | None) -> Readiness:
    """Ready when the API answers and, if ``part`` names another process, that has given a sign of life since it was started."""
    try:
        with urllib.request.urlopen(f"{listener.url}/api/v2/monitor/health", timeout=TIMEOUT_SECONDS) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return Readiness.NOT_READY
    if not part:
        return Readiness.READY
    heartbeat = health[part][f"latest_{part}_heartbeat"]
    alive = heartbeat and record and datetime.fromisoformat(heartbeat).timestamp() >= record.created
    return Readiness.READY if alive and health[part]["status"] == "healthy" else Readiness.NOT_READY
