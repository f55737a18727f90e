"""What checks of data found: for people, as JSON and as an exit code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class Status(StrEnum):
    """What a check came to."""

    OK = "ok"
    VIOLATED = "violated"
    NOT_JUDGED = "not judged"


class ExitCode(IntEnum):
    """How a command that checks data ends."""

    FINE = 0
    VIOLATED = 1
    NOT_RUN = 2


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        table: what was looked at: a table, a part of it, or a file.
        check: for example ``unique``.
        subject: a column, a day, a feature.
        failing: how many rows fail.
        rows: how many were looked at.
        value: what was measured, where that is not the number of rows that fail.
        limit: what is allowed, in words.
        examples: a few of what fails.
        advice: what it means and what to do.
    """

    table: str
    check: str
    subject: str
    status: Status
    failing: int = 0
    rows: int = 0
    value: float | None = None
    limit: str = ""
    examples: tuple[str, ...] = ()
    advice: str = ""

    def sentence(self) -> str:
        """One line with all of it."""
        measured = f"{self.failing:,} of {self.rows:,} rows" if self.value is None else f"{self.value:,.4g}"
        parts = [f"{self.table}, {self.check}, {self.subject}: {measured}"]
        if self.limit:
            parts.append(f"allowed: {self.limit}")
        if self.examples:
            parts.append(f"for example {', '.join(self.examples)}")
        return "; ".join(parts) + (f". {self.advice[:1].upper()}{self.advice[1:]}" if self.advice else "")


def judged(failing: int, limit: int = 0) -> Status:
    """Whether so many failures are too many."""
    return Status.VIOLATED if failing > limit else Status.OK


def violated(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are violated."""
    return [finding for finding in findings if finding.status is Status.VIOLATED]


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """How the command is to end."""
    return ExitCode.VIOLATED if violated(findings) else ExitCode.FINE


def to_json(at: datetime, findings: Sequence[Finding]) -> str:
    """One JSON object: ``at`` (ISO 8601), ``status`` (ok or violated) and ``findings``."""
    import orjson

    status = "violated" if violated(findings) else "ok"
    return orjson.dumps({"at": at, "status": status, "findings": list(findings)}).decode()


def show(console: Console, findings: Sequence[Finding]) -> None:
    """A table of all, then a line for each that is violated."""
    from rich.table import Table
    from rich.text import Text

    styles = {Status.OK: "green", Status.VIOLATED: "bold red", Status.NOT_JUDGED: "dim"}
    table = Table("table", "check", "subject")
    for heading in ("failing", "rows", "value"):
        table.add_column(heading, justify="right")
    for heading in ("allowed", "status"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        value = "" if one.value is None else f"{one.value:,.4g}"
        cells = (one.table, one.check, one.subject, f"{one.failing:,}", f"{one.rows:,}", value, one.limit)
        table.add_row(*(Text(cell) for cell in cells), Text(one.status, style=styles[one.status]))
    console.print(table)
    wrong = violated(findings)
    for one in wrong:
        console.print(
            f"VIOLATED {one.sentence()}", style=styles[Status.VIOLATED], markup=False, highlight=False, soft_wrap=True
        )
    if not wrong:
        console.print("All is as expected.")
