"""An installation of its own for evaluating a folder of events: loaded by the production backfill, kept for the next time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from feature_repo.aggregates import definition_hash
from feature_repo.errors import InputError
from feature_repo.settings import HOME_VARIABLE, PROJECT_ROOT, get_settings
from feature_repo.store import REPO_PATH

_NOTE = "evaluation.json"


def load(data: Path, home: Path | None) -> Path:
    """Have the events of a file or folder, and their features, in an installation; gives its home.

    Args:
        data: as for ``python -m ingestion backfill``.
        home: where; by default a folder of the present installation that goes by what is loaded. What is there already
            is used as it is.

    Raises:
        InputError: there is nothing to load, it cannot be loaded, or ``home`` holds something else.
    """
    content = _content(data)
    home = home.resolve() if home else _usual_home(content)
    noted = _noted(home)
    if noted and noted["content"] != content:
        raise InputError(f"--home: {home} holds other events or features; name another folder, or remove it")
    if noted and noted["complete"]:
        return home
    if not noted and home.exists() and any(home.iterdir()):
        raise InputError(
            f"--home: {home} is not empty, and nothing of the evaluation; name another folder, or remove it"
        )
    # What a loading left that was cut off is begun anew.
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    note = {"content": content, "data": str(data.resolve())}
    (home / _NOTE).write_text(json.dumps({**note, "complete": False}, indent=2))
    _run(home, "ingestion", "backfill", str(data.resolve()), "--offline-only")
    _run(home, "feast.cli.cli", "-c", str(REPO_PATH), "apply")
    (home / _NOTE).write_text(json.dumps({**note, "complete": True}, indent=2))
    return home


def loaded(data: Path) -> Path | None:
    """The home that :func:`load` gives events which are loaded completely.

    Raises:
        InputError: there are no such events.
    """
    home = _usual_home(_content(data))
    noted = _noted(home)
    return home if noted and noted["complete"] else None


def _content(data: Path) -> str:
    if not data.exists():
        raise InputError(f"{data} does not exist")
    return fingerprint(data)


def _usual_home(content: str) -> Path:
    return (get_settings().home / "evaluation" / content).resolve()


def _noted(home: Path) -> dict[str, Any] | None:
    """What is noted of what is loaded there. A note that does not say whether that is complete was written at the end."""
    note = home / _NOTE
    return {"complete": True, **json.loads(note.read_text())} if note.exists() else None


def fingerprint(data: Path) -> str:
    """Of the files (names, sizes, times) and of how features are defined."""
    files = sorted(path for path in ([data] if data.is_file() else data.rglob("*")) if path.is_file())
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([stats, definition_hash()]).encode()).hexdigest()[:16]


def enter(home: Path) -> None:
    """Let this process work in another installation from now on."""
    os.environ[HOME_VARIABLE] = str(home)
    get_settings.cache_clear()


def _run(home: Path, module: str, *arguments: str) -> None:
    """Run a command in the installation; what it says goes to standard error, because standard output is the result."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, HOME_VARIABLE: str(home)},
        stdout=sys.stderr,
    )
    if done.returncode:
        raise InputError(f"{module} {arguments[0]} failed, as said above; {home} may be removed")
