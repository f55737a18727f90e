"""How far an API has been pulled, and what its records looked like: a file per API in ``SHELFWISE_HOME/pull``."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_repo.errors import InputError
from feature_repo.settings import get_settings

CHANGES_KEPT_SECONDS = 24 * 3600.0


class KnownField(BaseModel):
    """What is known of a field of the records.

    Attributes:
        types: JSON types that it has had, null aside.
        always: whether every record, or the part of it that it belongs to, has had it.
    """

    types: list[str]
    always: bool


class Change(BaseModel):
    """A field that is not what it was in the pulls before: ``appeared``, ``vanished`` or ``changed type``."""

    field: str
    what: str
    detail: str = ""
    used: bool = False

    @property
    def worrying(self) -> bool:
        """Whether something that was there is not, or not as it was."""
        return self.what != "appeared"

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.field} {self.what}{detail}{', and the mapping uses it' if self.used else ''}"


class ResourceState(BaseModel):
    """What is remembered of a resource.

    Attributes:
        cursor: the latest time of change of the records that Kafka has; None before any.
        fields: of the records, by path.
        changes: those found in the last 24 hours, with when.
        succeeded_at: when a pull of it last came to its end.
        failure: why the last one did not; empty if it did.
    """

    cursor: datetime | None = None
    fields: dict[str, KnownField] = Field(default_factory=dict)
    changes: list[tuple[datetime, Change]] = Field(default_factory=list)
    succeeded_at: datetime | None = None
    failure: str = ""


class PullState(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    host: str
    resources: dict[str, ResourceState] = Field(default_factory=dict)

    def save(self, name: str) -> None:
        """Put the file in its place, whole or not at all, also if the machine fails."""
        path = _path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(name: str, host: str) -> PullState:
    """What is remembered of an API; nothing, if it has not been pulled yet.

    Raises:
        InputError: the file cannot be used, or is of an API elsewhere.
    """
    path = _path(name)
    if not path.exists():
        return PullState(host=host)
    state = _read(path)
    if state.host != host:
        raise InputError(
            f"{name} has been pulled from {state.host} before, and base_url is of {host}: give the new one another "
            f"`name`, or delete {path} to read everything again (what is known already is not counted twice)"
        )
    return state


def all_states() -> dict[str, PullState]:
    """What is remembered of each API, by name."""
    return {path.stem: _read(path) for path in sorted(_path("any").parent.glob("*.json"))}


def _read(path: Path) -> PullState:
    try:
        return PullState.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be used ({type(error).__name__}); delete it to read everything again: what is known already "
            "is not counted twice"
        ) from error


def _path(name: str) -> Path:
    return get_settings().home / "pull" / f"{name}.json"
