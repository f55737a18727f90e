"""Reading files that people write in TOML, against a model of what may stand in them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from feature_repo.errors import InputError

Declared = TypeVar("Declared", bound=BaseModel)


def read_declared(path: Path, model: type[Declared], what: str) -> Declared:
    """A file that holds just what a model describes.

    Raises:
        InputError: the file is missing or not as described; every fault is named.
    """
    try:
        return model.model_validate(tomllib.loads(path.read_text()))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in error.errors()]
        raise InputError(f"the {what} {path} cannot be used: {'; '.join(faults)}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"the {what} {path} cannot be read: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """A file's content, to be completed before it is checked by :func:`declared`.

    Raises:
        InputError: it is missing, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def declared(path: Path, given: Mapping[str, Any], model: type[Declared]) -> Declared:
    """What a file says, as the model describes it.

    Raises:
        InputError: it is not as described; names the first fault.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {field + ': ' if field else ''}{said}") from error
