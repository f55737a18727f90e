"""Reading the commands' arguments."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from feature_repo.errors import InputError
from feature_repo.time_arguments import moment

Choice = TypeVar("Choice")


def add_window(parser: argparse.ArgumentParser) -> None:
    """Which events to learn from: ``since`` and ``until``, None without a bound."""
    when = "ISO 8601, UTC unless it says otherwise"
    parser.add_argument("--from", dest="since", type=moment, metavar="TIME", help=f"learn from events since ({when})")
    parser.add_argument("--until", type=moment, metavar="TIME", help="learn from events before")


def names(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def chosen(there: Mapping[str, Choice], wanted: list[str]) -> dict[str, Choice]:
    """The choices of some names; all without any.

    Raises:
        InputError: there is no such choice.
    """
    if unknown := [name for name in wanted if name not in there]:
        raise InputError(f"there is no {', '.join(unknown)}; there are {', '.join(there)}")
    return {name: there[name] for name in wanted or there}


def require_folder_of(report: Path | None) -> None:
    """Refuse early what could not be written in the end.

    Raises:
        InputError: the report's folder does not exist.
    """
    if report and not report.parent.is_dir():
        raise InputError(f"--report: there is no folder {report.parent}")
