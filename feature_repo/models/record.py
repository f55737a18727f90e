"""What is recorded with a stored model: read here by everything that shows it, without the libraries that can load it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_repo.errors import InputError
from feature_repo.models.promotions import PROMOTED, in_force, model_name
from feature_repo.settings import get_settings

# Training writes it into the folder of each model.
ABOUT = "model.json"


@dataclass(frozen=True)
class ModelRecord:
    """The part of a model's record that is about its age and worth.

    Attributes:
        trained_at, until: when training ended, and the last event that was learnt from; ISO 8601.
        metrics: results of the evaluation on held-back events.
    """

    version: str
    trained_at: str
    until: str
    metrics: dict[str, Any]


def stored_models() -> Path:
    """The folder with a folder for each stored version."""
    return get_settings().bentoml_home / "models" / model_name()


def version_to_serve() -> str | None:
    """The version that the service is to answer with; None without any.

    Raises:
        InputError: the promotions cannot be read.
    """
    wanted = get_settings().serving.model.partition(":")[2]
    if wanted == PROMOTED:
        return in_force()
    if wanted in ("", "latest"):
        folder = stored_models()
        return max((one.name for one in folder.iterdir() if one.is_dir()), default=None) if folder.is_dir() else None
    return wanted


def read_record(version: str) -> ModelRecord:
    """The record of a stored version.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        card = json.loads((stored_models() / version / ABOUT).read_text())["card"]
        return ModelRecord(version, card["trained_at"], card["until"], card["metrics"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{version}: {str(error) or repr(error)}") from error
