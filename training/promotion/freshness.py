"""Is it worth training again: does the stored history reach up to now, and did enough happen since the champion's?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from feature_repo.errors import InputError
from feature_repo.sections.training import RetrainSettings
from training.data.events import EventLog, Window
from training.data.impressions import count_clicked
from training.promotion.exit_codes import ExitCode

# Stored moments are in whole microseconds.
JUST_AFTER = timedelta(microseconds=1)


@dataclass(frozen=True)
class Freshness:
    """What was found.

    Attributes:
        newest: the newest stored event.
        new_lists: impression lists with a click since the champion's last event; None without a champion.
        problem: how the command is to end, if nothing is to be trained.
    """

    newest: datetime
    new_lists: int | None
    problem: ExitCode | None
    detail: str


def look(learnt_until: datetime | None, limits: RetrainSettings) -> Freshness:
    """Look at the stored history.

    Args:
        learnt_until: the last event that the champion learnt from.

    Raises:
        InputError: there is no history at all.
    """
    with EventLog(Window()) as log:
        newest = log.last.astimezone(UTC)
    age = (datetime.now(tz=UTC) - newest).total_seconds() / 3600
    new_lists = None if learnt_until is None else _clicked_since(learnt_until)
    told = f"newest event {newest:%Y-%m-%d %H:%M} UTC, {age:.1f} hours old"
    if age > limits.max_event_age_hours:
        advice = "see `python -m ingestion health`, or raise SHELFWISE_RETRAIN__MAX_EVENT_AGE_HOURS"
        detail = f"stale: {told}, at most {limits.max_event_age_hours:g} are allowed; {advice}"
        return Freshness(newest, new_lists, ExitCode.STALE, detail)
    if new_lists is None:
        return Freshness(newest, None, None, told)
    told += f"; {new_lists:,} lists with a click since the champion's last event"
    if new_lists < limits.min_new_lists:
        detail = f"nothing to do yet: {told}, {limits.min_new_lists:,} are needed (SHELFWISE_RETRAIN__MIN_NEW_LISTS)"
        return Freshness(newest, new_lists, ExitCode.NOTHING_NEW, detail)
    return Freshness(newest, new_lists, None, told)


def _clicked_since(moment: datetime) -> int:
    try:
        log = EventLog(Window(since=moment + JUST_AFTER))
    except InputError:  # no events
        return 0
    with log:
        return count_clicked(log)
