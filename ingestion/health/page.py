"""The monitoring page: what ``python -m ingestion health`` says, for people with a browser, with the last day beside it.

It is one document of HTML and CSS without any script, which loads itself again and nothing else. Names of events and
fields come from outside and are escaped, like everything else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.settings import get_settings
from ingestion.health.sparkline import sparkline
from ingestion.health.status import Check, Status, advice_lines, number

if TYPE_CHECKING:
    from ingestion.health.checks import Measures, Violations
    from ingestion.health.metrics import HealthCollector, Trace
    from ingestion.health.rates import Feed
    from ingestion.health.serving import Model

log = logging.getLogger(__name__)

RELOAD_SECONDS = 15
_FIRST_RELOAD_SECONDS = 2
_DAY = 86_400.0
_SLOTS = 96
_HISTORY_SECONDS = 120.0
_STYLE = Path(__file__).with_suffix(".css")
# Which checks are shown together. What is named nowhere is shown, too, at the end.
SECTIONS = {
    "What is up": ("stream", "server", "service"),
    "Data lag": ("lag", "event delay"),
    "Incomplete feeds": ("events", "partition", "pull"),
    "Schema mismatches": ("schema",),
    "Feature freshness": ("freshness", "online store"),
    "Model": ("model age", "model quality"),
}


@dataclass(frozen=True)
class History:
    """Live events of each feed, and refused ones of each reason, in equal parts of the last 24 hours."""

    events: Mapping[Feed, Sequence[int]] = field(default_factory=dict)
    refused: Mapping[str, Sequence[int]] = field(default_factory=dict)


class Page:
    """Makes the page from the collector's latest evaluation."""

    def __init__(self, collector: HealthCollector) -> None:
        self._collector = collector
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._history = History()

    def render(self) -> str:
        """The page as it is now."""
        latest = self._collector.latest()
        if latest is None:
            return _document("Shelfwise", _FIRST_RELOAD_SECONDS, "<p>The first look has not ended yet.</p>")
        measures, checks = latest
        return render(measures, checks, self._last_day(), list(self._collector.past))

    def _last_day(self) -> History:
        # Reading a day of events takes longer than a look, and changes little in two minutes.
        with self._lock:
            if time.monotonic() - self._read_at > _HISTORY_SECONDS:
                self._read_at = time.monotonic()
                try:
                    self._history = last_day(time.time())
                except Exception:
                    # A table that is being made anew, for example; the page is worth having without curves, too.
                    log.exception("the last day could not be read")
            return self._history


def last_day(now: float) -> History:
    """What the tables tell of the last 24 hours."""
    from ingestion.health.tables import LiveEvents, Span, refused_over_time

    day = Span(now - _DAY, now)
    return History(LiveEvents().over_time(day, _SLOTS), refused_over_time(day, _SLOTS))


def render(measures: Measures, checks: Sequence[Check], history: History, past: Sequence[Trace]) -> str:
    """The page; ``past`` are traces of earlier looks."""
    alarms = [check for check in checks if check.status is Status.ALARM]
    state = f"{len(alarms)} alarm{'s' if len(alarms) > 1 else ''}" if alarms else "All is well"
    minutes = get_settings().health.window_minutes
    beside = {f"{source}: {event}": counts for (source, event), counts in history.events.items()}
    extra = {
        "What is up": _up(measures.up),
        "Data lag": _trace("longest wait in Kafka, at each look", [trace.waiting for trace in past]),
        "Feature freshness": _trace("longest that a view was behind, at each look", [trace.behind for trace in past]),
        "Model": _model(measures.model, measures.at),
    }
    sections = []
    for title, names in {**SECTIONS, "More": _others(checks)}.items():
        shown = [check for check in checks if check.name in names]
        if shown or title in extra or title in SECTIONS:
            rows = _checks(shown, beside if title == "Incomplete feeds" else {})
            sections.append(_section(title, extra.get(title, "") + rows))
        if title == "Schema mismatches":
            sections.append(_section("Quarantine by reason", _quarantine(measures.violations, history.refused)))
    at = datetime.fromtimestamp(measures.at, UTC)
    body = (
        f'<header><h1>Shelfwise</h1><p class="state {"alarm" if alarms else "ok"}">{state}</p>'
        f'<p class="faint">as of <time datetime="{at:%FT%TZ}">{at:%F %T} UTC</time>; '
        f"rates and shares of the last {minutes:g} minutes, curves of 24 hours</p></header>"
        f"<main>{_alarms(alarms)}{''.join(sections)}</main>"
        '<footer class="faint">The same in a terminal: python -m ingestion health. For Prometheus: /metrics. '
        "What to do about each alarm: docs/operations.md</footer>"
    )
    return _document(f"{state} - Shelfwise", RELOAD_SECONDS, body)


def _document(title: str, reload: int, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{reload}"><title>{escape(title)}</title>'
        f"<style>{_STYLE.read_text()}</style></head><body>{body}</body></html>"
    )


def _section(title: str, content: str) -> str:
    nothing = '<p class="faint">Nothing to show.</p>'
    return f"<section><h2>{escape(title)}</h2>{content or nothing}</section>"


def _alarms(alarms: Sequence[Check]) -> str:
    if not alarms:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in advice_lines(alarms))
    return f'<section class="alarms"><h2>Alarms</h2><ul>{lines}</ul></section>'


def _others(checks: Iterable[Check]) -> tuple[str, ...]:
    known = {name for names in SECTIONS.values() for name in names}
    return tuple({check.name: None for check in checks if check.name not in known})


def _checks(checks: Iterable[Check], beside: Mapping[str, Sequence[int]]) -> str:
    rows = "".join(_check(check, beside.get(check.subject, ())) for check in checks)
    return f'<ul class="checks">{rows}</ul>' if rows else ""


def _check(check: Check, counts: Sequence[int]) -> str:
    limit = f' <span class="faint">/ {number(check.limit)}</span>' if check.limit is not None else ""
    curve = sparkline(counts, "events in the last 24 hours")
    value = f"{escape(number(check.value, check.unit))}{limit}" if check.value is not None else ""
    return (
        f'<li class="{check.status.replace(" ", "-")}" data-check="{escape(check.name)}" '
        f'data-subject="{escape(check.subject)}" data-status="{check.status}">'
        f'<span class="subject">{escape(check.name)} <span class="faint">{escape(check.subject)}</span></span>'
        f'<span class="value">{value} <span class="state">{check.status}</span></span>'
        f'{curve}<span class="detail">{escape(check.detail)}</span></li>'
    )


def _row(subject: str, value: str, detail: str, state: str, curve: str = "") -> str:
    return (
        f'<li class="{state}"><span class="subject">{escape(subject)}</span>'
        f'<span class="value state">{escape(value)}</span>{curve}<span class="detail">{escape(detail)}</span></li>'
    )


def _up(parts: Mapping[str, bool]) -> str:
    rows = "".join(_row(part, "up" if up else "down", "", "ok" if up else "down") for part, up in parts.items())
    return f'<ul class="checks">{rows}</ul>'


def _trace(title: str, values: Sequence[float]) -> str:
    curve = sparkline(values, title)
    return f'<p class="faint">{escape(title)}; most: {max(values):,.1f} s</p>{curve}' if curve else ""


def _quarantine(violations: Iterable[Violations], refused: Mapping[str, Sequence[int]]) -> str:
    totals: dict[str, list[int]] = {}
    for violation in violations:
        total = totals.setdefault(violation.reason, [0, 0])
        total[0] += violation.total
        total[1] += violation.recent
    rows = "".join(
        _row(
            reason,
            f"{total:,}",
            f"{recent:,} of them lately",
            "",
            sparkline(refused.get(reason, ()), "refused in the last 24 hours"),
        )
        for reason, (total, recent) in sorted(totals.items(), key=lambda item: -item[1][0])
    )
    return f'<ul class="checks">{rows}</ul>' if rows else '<p class="faint">No live event was ever refused.</p>'


def _model(model: Model | None, now: float) -> str:
    if model is None:
        return '<p class="faint">None is promoted yet; popular products are recommended.</p>'
    facts = {"version": model.version, "promoted": model.promoted_at[:16].replace("T", " "), "why": model.why}
    for name, moment in (("trained", model.trained_at), ("learnt until", model.learnt_until)):
        if moment is not None:
            told = f"{datetime.fromtimestamp(moment, UTC):%F %R}, {max(0.0, now - moment) / _DAY:.1f} days ago"
            facts[name] = told
    listed = "".join(f"<dt>{name}</dt><dd>{escape(told)}</dd>" for name, told in facts.items() if told)
    curve = sparkline(model.past, "next product, HR@20, of each promoted version")
    title = '<p class="faint">HR@20 of the next product, of each promoted version</p>' if curve else ""
    return f"<dl>{listed}</dl>{title}{curve}"
