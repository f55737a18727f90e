"""Finding recorded events: one file, or a folder of files, perhaps in partitions named ``dt=YYYY-MM-DD``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from feature_repo.errors import InputError

Format = Literal["parquet", "jsonl"]

ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
}
# BigQuery writes JSON lines into files that people call so.
EXPORT_ENDINGS: dict[str, Format] = {**ENDINGS, ".json": "jsonl", ".json.gz": "jsonl"}
PARTITION_PREFIX = "dt="


@dataclass(frozen=True)
class EventFiles:
    """Recorded events on disk.

    Attributes:
        format: what all the files are.
        files: ordered by partition, then by name.
    """

    format: Format
    files: tuple[Path, ...]


def discover(path: Path, endings: Mapping[str, Format] = ENDINGS) -> EventFiles:
    """The event files at ``path``, a file or a folder (searched to any depth, hidden and ``_`` names left out).

    Args:
        path: where to look.
        endings: how the names of such files end.

    Raises:
        InputError: nothing there, nothing usable, or Parquet and JSON lines mixed.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    files = sorted(_events_under(path, endings), key=lambda file: (day_of(file) or date.min, str(file)))
    if not files:
        raise InputError(f"{path} holds no event files; looked for *{', *'.join(endings)}")
    formats = {found for file in files if (found := _format_of(file, endings))}
    if len(formats) > 1:
        raise InputError(f"{path} mixes Parquet and JSON lines; give a folder with one of them")
    return EventFiles(formats.pop(), tuple(files))


def day_of(file: Path) -> date | None:
    """The day of the ``dt=`` partition that ``file`` lies in, if any.

    Raises:
        InputError: the partition is not named after a day.
    """
    for folder in reversed(file.parts[:-1]):
        if folder.startswith(PARTITION_PREFIX):
            try:
                return date.fromisoformat(folder.removeprefix(PARTITION_PREFIX))
            except ValueError as error:
                raise InputError(f"{file.parent}: partitions are named {PARTITION_PREFIX}YYYY-MM-DD") from error
    return None


def files_under(folder: Path) -> list[Path]:
    """All files in a folder, at any depth; hidden and ``_`` names are left out."""
    found: list[Path] = []
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith((".", "_"))]
        found += [Path(parent, name) for name in names if not name.startswith((".", "_"))]
    return found


def _events_under(path: Path, endings: Mapping[str, Format]) -> list[Path]:
    if path.is_file():
        if _format_of(path, endings) is None:
            raise InputError(f"{path} is none of *{', *'.join(endings)}")
        return [path]
    return [file for file in files_under(path) if _format_of(file, endings) is not None]


def _format_of(file: Path, endings: Mapping[str, Format]) -> Format | None:
    return next((kind for ending, kind in endings.items() if file.name.endswith(ending)), None)
