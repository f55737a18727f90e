"""What is written down about a running service, so that a later command finds it and never mistakes another for it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

# Creation times of one and the same process differ a little when the system clock is being adjusted.
_CLOCK_TOLERANCE_SECONDS = 1.0


@dataclass(frozen=True)
class Record:
    """The leading process of a service: its id, when it was created (seconds since 1970), its command line, and where it is."""

    name: str
    pid: int
    created: float
    command: list[str]
    address: str

    @classmethod
    def of(cls, name: str, process: psutil.Process, command: list[str], address: str) -> Record:
        return cls(name, process.pid, process.create_time(), command, address)

    def process(self) -> psutil.Process | None:
        """The process itself, or None if it has ended (its id may since have gone to another)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _CLOCK_TOLERANCE_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class Records:
    """The pid files in ``run/`` of the stack's home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def save(self, record: Record) -> None:
        """Write a record whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._path(record.name).with_suffix(".part")
        part.write_text(json.dumps(asdict(record)))
        os.replace(part, self._path(record.name))

    def load(self, name: str) -> Record | None:
        """The record of a service, or None if there is none that can be read."""
        try:
            return Record(**json.loads(self._path(name).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def running(self, name: str) -> psutil.Process | None:
        """The live leading process of a service."""
        record = self.load(name)
        return record.process() if record else None

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)
