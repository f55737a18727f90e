"""Reading the commands' arguments."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from feature_repo.errors import InputError


def moment(text: str) -> datetime:
    """An ISO 8601 date or time; UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an ISO 8601 date or time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def require_folder_of(report: Path | None) -> None:
    """Refuse early what could not be written in the end.

    Raises:
        InputError: the report's folder does not exist.
    """
    if report and not report.parent.is_dir():
        raise InputError(f"--report: there is no folder {report.parent}")
