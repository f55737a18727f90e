"""The table ``outcomes``, kept up to date: the days that news may concern are computed again and replaced.

Each commit says which versions of ``events`` and ``recommendations`` it knows of. A refresh that was killed has replaced
some days with what is right for them, and the next one begins where it did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS, OUTCOMES, RECOMMENDATIONS, Table, create_missing_tables
from ingestion.delta_log import steps
from ingestion.locks import computing_outcomes
from ingestion.outcomes.attribution import ANSWER_DAYS, Days, credit_days, outcomes_of

_DAYS_AT_ONCE = 3
_KEEP_REPLACED_HOURS = 1
_FIRST_DAY = date(1970, 1, 1)


def refresh(recompute: bool = False, threads: int | None = None) -> int:
    """Bring the table up to date.

    Args:
        recompute: compute all days, not only those that news may concern.
        threads: most threads that may be used.

    Returns:
        How many days were computed.
    """
    create_missing_tables()
    with computing_outcomes():
        events, answers, outcomes = (DeltaTable(table.uri) for table in (EVENTS, RECOMMENDATIONS, OUTCOMES))
        since = _FIRST_DAY if recompute else _since(events, answers, outcomes)
        if since is None:
            return 0
        days = _concerned(since, events, outcomes)
        for part in _together(days):
            _replace(part, outcomes_of(part, events, answers, threads))
        properties = CommitProperties(app_transactions=_known(events, answers))
        write_deltalake(OUTCOMES.uri, OUTCOMES.schema.empty_table(), mode="append", commit_properties=properties)
        if days:
            stored = DeltaTable(OUTCOMES.uri)
            stored.vacuum(_KEEP_REPLACED_HOURS, enforce_retention_duration=False, dry_run=False)
        return len(days)


def differing_days() -> list[date]:
    """The days whose stored outcomes are not what the events and answers give now, computed anew."""
    events, answers, outcomes = (DeltaTable(table.uri) for table in (EVENTS, RECOMMENDATIONS, OUTCOMES))
    found = []
    for day in _concerned(_FIRST_DAY, events, outcomes):
        stored = outcomes.to_pyarrow_table(filters=ds.field("dt") == pa.scalar(day)).cast(OUTCOMES.schema)
        ordered = stored.sort_by([("shown_at", "ascending"), ("message_id", "ascending")])
        if not ordered.equals(outcomes_of(Days(day, day), events, answers)):
            found.append(day)
    return found


def _known(events: DeltaTable, answers: DeltaTable) -> list[Transaction]:
    return [Transaction(_app_id(EVENTS), events.version()), Transaction(_app_id(RECOMMENDATIONS), answers.version())]


def _app_id(table: Table) -> str:
    """With other windows, nothing of what is stored holds any more."""
    settings = get_settings().outcomes
    return f"outcomes:{table.name}:{settings.click_minutes:g}min:{settings.order_hours:g}h"


def _since(events: DeltaTable, answers: DeltaTable, outcomes: DeltaTable) -> date | None:
    """The first day of lists that may have other outcomes than the table says; None if there is none."""
    first_days = []
    for table, stored, before in (
        (EVENTS, events, credit_days(get_settings().outcomes)),
        (RECOMMENDATIONS, answers, ANSWER_DAYS),
    ):
        done = outcomes.transaction_version(_app_id(table))
        if done is None:
            return _FIRST_DAY
        changes = steps(table.path, done, stored.version())
        if changes is None:
            return _FIRST_DAY
        for file in (file for step in changes for file in (*step.came, *step.went)):
            found = re.search(r"dt=(\d{4}-\d{2}-\d{2})", str(file))
            if found is None:
                return _FIRST_DAY
            # Before 1970 there were no shops to be wrong about.
            first_days.append(max(date.fromisoformat(found[1]), _FIRST_DAY + timedelta(before)) - timedelta(before))
    return min(first_days, default=None)


def _concerned(since: date, events: DeltaTable, outcomes: DeltaTable) -> list[date]:
    """The days from then on of which there are lists of recommendations, or outcomes, in order."""
    later = ds.field("dt") >= pa.scalar(since)
    shown = events.to_pyarrow_dataset().to_table(["dt"], filter=later & ds.field("request_id").is_valid())
    stored = outcomes.to_pyarrow_dataset().to_table(["dt"], filter=later)
    return sorted({day for table in (shown, stored) for day in pc.unique(table["dt"]).to_pylist()})


def _together(days: list[date]) -> Iterator[Days]:
    """Days in a row in one piece, but not too many of them."""
    begin = 0
    for place in range(1, len(days) + 1):
        within = place < len(days) and days[place] - days[begin] < timedelta(_DAYS_AT_ONCE)
        if not within:
            yield Days(days[begin], days[place - 1])
            begin = place


def _replace(days: Days, rows: pa.Table) -> None:
    predicate = f"dt >= '{days.first}' AND dt <= '{days.last}'"
    write_deltalake(OUTCOMES.uri, rows, mode="overwrite", predicate=predicate)
