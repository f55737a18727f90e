"""Moments as people write them in TOML files."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from pydantic import BeforeValidator


def _as_moment(value: Any) -> Any:
    """A date as its first moment; what has no offset is UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


Moment = Annotated[datetime, BeforeValidator(_as_moment)]
