"""The history of what was trained, promoted, refused and rolled back, and why: runs of an MLflow experiment."""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from feature_repo import tables
from feature_repo.errors import ShelfwiseError, UnavailableError
from feature_repo.models.promotions import model_name
from feature_repo.settings import get_settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_COMMAND, _DECISION, _WHY, _VERSION = (f"shelfwise.{name}" for name in ("command", "decision", "why", "version"))
REPORT = "report.json"
# MLflow takes so many in one call.
_AT_ONCE = 100
_TAG_LENGTH = 5_000
_NO_NAME = re.compile(r"[^\w.:/-]+")


class Record:
    """One run; use :meth:`begin`.

    Attributes:
        run_id: MLflow's.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    @classmethod
    def begin(cls, command: str) -> Record:
        """Begin to record what a command does.

        Raises:
            UnavailableError: the tracking store or server cannot be used.
        """
        with _tracking():
            client = _client()
            run = client.create_run(_experiment(client), tags={_COMMAND: command}, run_name=command)
            return cls(client, run.info.run_id)

    def note(
        self,
        version: str,
        parameters: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        report: Mapping[str, Any] | None = None,
    ) -> None:
        """Add to the run: nested values get names with dots, what is no number is no metric.

        Args:
            report: kept as a file with the run.
        """
        from mlflow.entities import Metric, Param

        params = [Param(name, str(value)) for name, value in flat(parameters or {}).items()]
        now = int(time.time() * 1000)
        numbers = [
            Metric(name, float(value), now, 0)
            for name, value in flat(metrics or {}).items()
            if isinstance(value, int | float)
        ]
        with _tracking():
            self._client.set_tag(self.run_id, _VERSION, version)
            self._client.update_run(self.run_id, name=version)
            for start in range(0, len(params), _AT_ONCE):
                self._client.log_batch(self.run_id, params=params[start : start + _AT_ONCE])
            for start in range(0, len(numbers), _AT_ONCE):
                self._client.log_batch(self.run_id, metrics=numbers[start : start + _AT_ONCE])
            if report:
                self._client.log_dict(self.run_id, dict(report), REPORT)

    def end(self, decision: str, why: str, status: str = "FINISHED") -> None:
        """Say how it ended."""
        with _tracking():
            self._client.set_tag(self.run_id, _DECISION, decision)
            self._client.set_tag(self.run_id, _WHY, why[:_TAG_LENGTH])
            self._client.set_terminated(self.run_id, status)


def record_done(command: str, version: str, decision: str, why: str, metrics: Mapping[str, Any] | None = None) -> None:
    """Record what is done already; if that fails, it stays done, and a warning is printed."""
    try:
        record = Record.begin(command)
        record.note(version, metrics=metrics)
        record.end(decision, why)
    except UnavailableError as error:
        print(f"warning: {version} is {decision}, but that is not recorded: {error}", file=sys.stderr)


def decisions() -> dict[str, tuple[str, str]]:
    """What was decided last of each version, and why; of the latest thousand records."""
    found: dict[str, tuple[str, str]] = {}
    with _tracking():
        client = _client()
        runs = client.search_runs([_experiment(client)], order_by=["attributes.start_time DESC"], max_results=1000)
    for run in runs:
        tags = run.data.tags
        if _VERSION in tags and _DECISION in tags:
            found.setdefault(tags[_VERSION], (tags[_DECISION], tags.get(_WHY, "")))
    return found


def close_interrupted(in_force: str | None) -> None:
    """End the records of retraining runs that were killed; to be called while no other one can be at work."""
    wanted = f"attributes.status = 'RUNNING' AND tags.`{_COMMAND}` = 'retrain'"
    with _tracking():
        client = _client()
        for run in client.search_runs([_experiment(client)], wanted):
            promoted = in_force is not None and run.data.tags.get(_VERSION) == in_force
            why = "killed after it was promoted" if promoted else "killed before anything was promoted"
            Record(client, run.info.run_id).end("promoted" if promoted else "interrupted", why, "KILLED")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by names with dots, in characters that MLflow takes."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        name = prefix + _NO_NAME.sub("_", name)
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def data_version() -> dict[str, int]:
    """The versions of the Delta tables that training reads, now."""
    from deltalake import DeltaTable

    read = (tables.EVENTS, *tables.COMPUTED, tables.CATALOG)
    return {table.name: DeltaTable(table.uri).version() for table in read if table.exists()}


def _client() -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # a machine without git is fine
    warnings.filterwarnings("ignore", r"The ``noload`` loader", DeprecationWarning)  # of MLflow's own code
    from mlflow.tracking import MlflowClient

    uri = get_settings().retrain.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        folder = get_settings().home / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{folder / 'history.db'}"
    return MlflowClient(uri)


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(model_name())
    if found:
        return str(found.experiment_id)
    local = client.tracking_uri.startswith("sqlite:")
    # A server has a place of its own for artefacts.
    place = (get_settings().home / "mlflow" / "artifacts").resolve().as_uri() if local else None
    return str(client.create_experiment(model_name(), place))


@contextmanager
def _tracking() -> Iterator[None]:
    """Whatever MLflow raises becomes an error that people are meant to read."""
    try:
        yield
    except ShelfwiseError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnavailableError(f"MLflow cannot be used ({reason}): see SHELFWISE_RETRAIN__TRACKING_URI") from error
