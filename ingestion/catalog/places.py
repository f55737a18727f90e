"""Where the files of a catalogue lie: on this machine, or in a bucket (:mod:`ingestion.catalog.s3`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

from feature_repo.errors import InputError
from ingestion import delta_log
from ingestion.recorded.files import files_under

if TYPE_CHECKING:
    from deltalake import DeltaTable

LOG = "_delta_log"
S3_PREFIX = "s3://"


@dataclass(frozen=True)
class StoredFile:
    """A file as it is now.

    Attributes:
        key: its whole address.
        modified_ns: when it was modified, nanoseconds since 1970.
        size: in bytes.
    """

    key: str
    modified_ns: int
    size: int

    @property
    def name(self) -> str:
        return PurePath(self.key).name

    @property
    def suffix(self) -> str:
        return PurePath(self.key).suffix


class Place(Protocol):
    """A file, a folder of files or a Delta table."""

    @property
    def key(self) -> str:
        """Its whole address, by which it is remembered."""

    @property
    def is_delta_table(self) -> bool: ...

    def file(self) -> StoredFile | None:
        """The file, if it is one."""

    def files(self) -> list[StoredFile] | None:
        """All files in the folder, at any depth; hidden and ``_`` names are left out. None if there is no folder."""

    def delta_table_among(self, files: list[StoredFile]) -> str | None:
        """The folder of a Delta table that some of the files belong to."""

    def delta_table(self, version: int | None = None) -> DeltaTable:
        """The Delta table, as of a version."""

    def log_entries(self, version: int) -> list[dict[str, Any]] | None:
        """What the Delta table's log says of one version; None if that has been cleaned up."""

    def fetched(self, file: StoredFile) -> Any:
        """A context with the path at which the file can be read."""

    def explain(self, error: Exception) -> str:
        """An error in words that may be shown."""


def place_of(path: Path | str) -> Place:
    """The place with an address.

    Raises:
        InputError: it is no address.
    """
    if isinstance(path, str) and path.startswith(S3_PREFIX):
        from ingestion.catalog.s3 import BucketPlace

        return BucketPlace.at(path)
    if isinstance(path, str) and "://" in path:
        raise InputError(f"{path.partition('://')[0]}:// cannot be read; give a path, or {S3_PREFIX}bucket/folder")
    return LocalPlace(Path(os.path.abspath(path)))


@dataclass(frozen=True)
class LocalPlace:
    """A place on this machine, by its absolute path."""

    path: Path

    @property
    def key(self) -> str:
        return str(self.path)

    @cached_property
    def is_delta_table(self) -> bool:
        return (self.path / LOG).is_dir()

    def file(self) -> StoredFile | None:
        return _look_at(self.path) if self.path.is_file() else None

    def files(self) -> list[StoredFile] | None:
        if not self.path.is_dir():
            return None
        return [found for file in sorted(files_under(self.path)) if (found := _look_at(file))]

    def delta_table_among(self, files: list[StoredFile]) -> str | None:
        folders = {folder for file in files for folder in Path(file.key).parents}
        return next((str(folder) for folder in sorted(folders) if (folder / LOG).is_dir()), None)

    def delta_table(self, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable

        return DeltaTable(self.path, version=version)

    def log_entries(self, version: int) -> list[dict[str, Any]] | None:
        return delta_log.entries(self.path, version)

    @contextmanager
    def fetched(self, file: StoredFile) -> Iterator[Path]:
        yield Path(file.key)

    def explain(self, error: Exception) -> str:
        return str(error)


def _look_at(file: Path) -> StoredFile | None:
    try:
        stat = file.stat()
    except FileNotFoundError:  # a moment ago it was there
        return None
    return StoredFile(str(file), stat.st_mtime_ns, stat.st_size)
