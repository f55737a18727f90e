"""What a judgement is; every check of the health comes to one of these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What a check came to."""

    OK = "ok"
    ALARM = "alarm"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Check:
    """One judgement.

    Attributes:
        name: what was looked at, for example ``lag``.
        subject: of what, for example ``events/0``.
        value: what was measured, in ``unit``; None if nothing could be.
        limit: where the alarm begins; None if there is no such number.
        detail: a few words on the value.
        advice: of an alarm, what it means and what to do; otherwise empty.
    """

    name: str
    subject: str
    status: Status
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    detail: str = ""
    advice: str = ""


def number(value: float | None, unit: str = "") -> str:
    """A value as people read it, the same in the terminal and on the page."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.2f}"
    return f"{text} {unit}".strip()


def advice_lines(alarms: Iterable[Check]) -> list[str]:
    """One line for all alarms of a kind that call for the same: what it means and what to do."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for alarm in alarms:
        subjects.setdefault((alarm.name, alarm.advice), []).append(alarm.subject)
    return [f"ALARM {name} ({', '.join(of)}): {advice}" for (name, advice), of in subjects.items()]
