"""What changed in a Delta table between two of its versions, read from its log, for whoever keeps a copy of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_LOG = "_delta_log"


@dataclass
class Step:
    """Files whose rows came, and files whose rows went unless they are among those that came."""

    came: list[Path] = field(default_factory=list)
    went: list[Path] = field(default_factory=list)


def entries(table: Path, version: int) -> list[dict[str, Any]] | None:
    """What the log says of one version; None if that has been cleaned up."""
    try:
        return parsed((table / _LOG / f"{version:020}.json").read_text())
    except FileNotFoundError:
        return None


def parsed(text: str) -> list[dict[str, Any]]:
    """The entries of a file of the log."""
    return [json.loads(line) for line in text.splitlines()]


def steps(table: Path, since: int, until: int) -> list[Step] | None:
    """What a copy as of version ``since`` has to go through to be one as of ``until``.

    Files that hold the rows of other files (after OPTIMIZE) are passed over.

    Returns:
        One step for all versions in a row that only added rows, and one for each other; None if it can no longer be told,
        or if rows were marked as deleted within their files.
    """
    found: list[Step] = []
    for version in range(since + 1, until + 1):
        said = entries(table, version)
        if said is None:
            return None
        adds, removes = ([entry[kind] for entry in said if entry.get(kind, {}).get("dataChange")] for kind in _KINDS)
        if any(action.get("deletionVector") for action in (*adds, *removes)):
            return None
        came, went = ([table / unquote(action["path"]) for action in actions] for actions in (adds, removes))
        if not all(file.is_file() for file in (*came, *went)):  # vacuumed
            return None
        if went or not found or found[-1].went:
            found.append(Step())
        found[-1].came += came
        found[-1].went += went
    return [step for step in found if step.came or step.went]


_KINDS = ("add", "remove")
