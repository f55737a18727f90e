"""The configurations of connectors: JSON files as Connect's REST API takes them, without secrets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from feature_repo.errors import InputError
from ingestion.changes.config import Mapping

HERE = Path(__file__).parent
_SECRET = re.compile(r"password|secret|token|credential", re.IGNORECASE)
_PROVIDED = re.compile(r"\$\{\w+:[^}]+\}")


@dataclass(frozen=True)
class Connector:
    """A connector's name and configuration."""

    name: str
    config: dict[str, str]


def read(path: Path, mapping: Mapping) -> Connector:
    """Read a file; ``$name``, ``$tables``, ``$columns`` and ``$topic`` in it are those of the mapping.

    Raises:
        InputError: it cannot be read, is no connector's configuration, or holds a secret.
    """
    try:
        # Connect's own ${env:NAME} stays as it is.
        found = json.loads(Template(path.read_text(encoding="utf-8")).safe_substitute(_values(mapping)))
        connector = Connector(str(found["name"]), {key: str(value) for key, value in found["config"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be used ({error!r}); it needs a name and a config, as {HERE / 'postgres.json'} has them"
        ) from error
    for key, value in connector.config.items():
        if _SECRET.search(key) and value and not _PROVIDED.fullmatch(value):
            raise InputError(
                f"{path}: {key} is written out; name an environment variable of the worker instead: "
                '"${env:SHELFWISE_CDC__PASSWORD}"'
            )
    return connector


def _values(mapping: Mapping) -> dict[str, str]:
    tables = mapping.columns
    return {
        "name": mapping.name,
        "topic": mapping.topic,
        "tables": ",".join(tables),
        "columns": ",".join(f"{table}.{column}" for table, names in tables.items() for column in sorted(names)),
    }
