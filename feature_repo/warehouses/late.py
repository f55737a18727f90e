"""What `feast materialize` has to look at: Feast's own stores look at the time that a row is about, and nothing else.

A row that a late event gave is about a time which has been materialised before, and would never come online. So the rows
that were written since a materialisation began are taken as well, however old they are. What is older than the online value
is refused there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from feature_repo.settings import get_settings

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def span(start: datetime) -> tuple[datetime, datetime]:
    """From when on rows must be about, or else must have been written.

    Both in UTC: `feast materialize` names the machine's zone, which not every engine knows.
    """
    begin = start.astimezone(UTC)
    return begin, begin - timedelta(seconds=get_settings().offline.materialize_overlap_seconds)


def rows_since(
    table: str,
    about: str,
    written: str | None,
    start: datetime,
    literal: Callable[[str], str] = "TIMESTAMPTZ '{}'".format,
) -> str:
    """A query for the rows of a table (as it stands after FROM) that a materialisation from ``start`` on has to look at.

    Args:
        about: column of the time that a row is about.
        written: column of the time at which it was written, if there is one.
        literal: how the warehouse writes a moment, given in ISO 8601.
    """
    begin, since = (literal(moment.isoformat(" ", "microseconds")) for moment in span(start))
    return f"SELECT * FROM {table} AS stored WHERE {about} >= {begin} OR {written or about} >= {since}"
