"""Which installation notebooks read: the present one, or one of its own for a folder of events or for an invented shop."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo import tables
from feature_repo.errors import InputError
from feature_repo.settings import PROJECT_ROOT, get_settings
from training.evaluation import installation

# Small enough to be loaded within a minute, large enough to show something. The end is fixed, so that all see the same shop.
_INVENTED = ("--events", "20000", "--days", "21", "--products", "150", "--customers", "600", "--end", "2026-03-01")


def present() -> Path | None:
    """The home of what notebooks read, if everything is there; None if it has to be loaded first."""
    data = _chosen_data()
    if data:
        return installation.loaded(data)
    if _has_events():
        return get_settings().home
    history = _invented_history()
    return installation.loaded(history) if history.is_dir() else None


def prepare() -> Path:
    """Load what is missing; gives the home of what notebooks read.

    Raises:
        InputError: the events cannot be loaded.
    """
    with _one_at_a_time():
        found = present()
        if found:
            return found
        data = _chosen_data() or _invent()
        print(f"loading {data}, once; with Spark, that takes a minute or more", file=sys.stderr, flush=True)
        return installation.load(data, None)


def _chosen_data() -> Path | None:
    """The events that are to be read instead of the installation's; a relative path begins in the project's folder."""
    data = get_settings().notebooks.data
    return PROJECT_ROOT / data if data else None


def _has_events() -> bool:
    from deltalake import DeltaTable

    events = tables.EVENTS
    return events.exists() and DeltaTable(events.uri).to_pyarrow_dataset().count_rows() > 0


def _invented_history() -> Path:
    return get_settings().home / "notebooks" / "shop" / "history"


def _invent() -> Path:
    """The events of the invented shop; the simulator leaves all of them or none."""
    history = _invented_history()
    if not history.is_dir():
        words = ["ingestion", "simulate", "history", *_INVENTED, "--out", str(history.parent)]
        done = subprocess.run([sys.executable, "-m", *words], cwd=PROJECT_ROOT, stdout=sys.stderr)
        if done.returncode:
            raise InputError("the small shop could not be invented, as said above")
    return history


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two notebooks that are opened together load once."""
    folder = get_settings().home / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "loading.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
