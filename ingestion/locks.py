"""Who may write what: the feature tables, the running stream or a batch job that asks it to step aside; and other commands.

All are ``flock`` locks on files: the kernel releases them when a process ends, however it ends, so that they cannot
go stale.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings

_POLL_SECONDS = 0.2
# A lock on a file knows no threads, and would have its holder wait for himself.
_catalogue = threading.RLock()
_catalogue_depth = 0


def _open(name: str) -> int:
    folder: Path = get_settings().home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _held(name: str) -> Iterator[None]:
    """Wait for a lock, and hold it."""
    descriptor = _open(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def writing_features(wait: bool = False) -> Iterator[None]:
    """Hold the right to write the feature tables.

    Args:
        wait: wait for the present holder to let go instead of failing.

    Raises:
        UnavailableError: another stream of this installation holds it.
    """
    descriptor = _open("features.lock")
    try:
        while not _try(descriptor, fcntl.LOCK_EX):
            if not wait:
                raise UnavailableError("another stream of this installation is running; `make status` shows it")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def stream_paused() -> Iterator[None]:
    """Ask a running stream to pause, wait until it has, and let it go on (reseeded) afterwards."""
    with _held("maintenance.lock"), writing_features(wait=True):
        yield


@contextmanager
def putting_back() -> Iterator[None]:
    """Hold the right to put refused events back: two at once would both find an event not put back yet.

    Raises:
        UnavailableError: another process holds it.
    """
    descriptor = _open("quarantine.lock")
    try:
        if not _try(descriptor, fcntl.LOCK_EX):
            raise UnavailableError("another `quarantine replay` is running; wait until it has ended")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def pulling(name: str, command: str = "pull") -> Iterator[None]:
    """Hold the right to read the API or database with this name: two at once would overwrite each other's place.

    Raises:
        UnavailableError: another process holds it.
    """
    descriptor = _open(f"{command}-{name}.lock")
    try:
        if not _try(descriptor, fcntl.LOCK_EX):
            raise UnavailableError(f"another `{command}` of {name} is running; end it, or wait until it has ended")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def computing_outcomes() -> Iterator[None]:
    """Hold the right to write the outcomes; waits until nobody else does."""
    with _held("outcomes.lock"):
        yield


@contextmanager
def loading_catalogue() -> Iterator[None]:
    """Hold the right to load a catalogue: what a list has lost depends on what all lists had. Waits until nobody else does."""
    with _held("catalogue-load.lock"):
        yield


@contextmanager
def writing_catalogue() -> Iterator[None]:
    """Hold the right to read, merge and write the catalogue; waits until nobody else does. Its holder may take it again.

    A row that is news to one writer may be old to the next, and the index names the products that its writer knows.
    """
    global _catalogue_depth
    with _catalogue, ExitStack() as outermost:
        if not _catalogue_depth:
            outermost.enter_context(_held("catalogue.lock"))
        _catalogue_depth += 1
        try:
            yield
        finally:
            _catalogue_depth -= 1


@contextmanager
def rewriting_files() -> Iterator[None]:
    """Hold the right to merge files of the tables, or to delete those that no longer count; waits for it.

    Who deletes them all at once would delete what somebody else has merged and not committed yet.
    """
    with _held("rewriting.lock"):
        yield


@contextmanager
def loading() -> Iterator[None]:
    """Say that a backfill is using its scratch folders; several may at once."""
    descriptor = _open("loading.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def nobody_loading() -> Iterator[bool]:
    """Keep backfills from beginning, and give whether none is under way."""
    descriptor = _open("loading.lock")
    try:
        yield _try(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def pause_wanted() -> bool:
    """Whether a batch job is waiting for the stream to pause."""
    descriptor = _open("maintenance.lock")
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def wait_while(condition: Callable[[], bool]) -> None:
    """Sleep in small steps for as long as ``condition`` holds."""
    while condition():
        time.sleep(_POLL_SECONDS)
