"""Findings as one HTML file that needs nothing else: a table, and pictures drawn as SVG."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from feature_repo.checks.findings import Finding, Status, violated

_WIDTH, _HEIGHT, _FOOT = 460, 130, 34
_STYLE = """
body { font: 14px/1.4 sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse } th, td { border-bottom: 1px solid #ddd; padding: 3px 8px; text-align: left }
td.number { text-align: right } .violated { color: #b00020; font-weight: bold } .judged { color: #888 } .ok { color: #2e7d32 }
.pictures { display: flex; flex-wrap: wrap; gap: 18px } figure { margin: 0 } figcaption { font-weight: bold }
svg text { font: 10px sans-serif; fill: #555 }
"""
_PLAIN, _BEFORE, _WRONG = "#4f7cac", "#b9c4cf", "#c62828"


@dataclass(frozen=True)
class Picture:
    """A picture with its title; ``wrong`` ones come first."""

    title: str
    svg: str
    wrong: bool = False


def bars(title: str, labels: Sequence[str], values: Sequence[float], wrong: Collection[int] = ()) -> Picture:
    """A bar per label; those with the numbers in ``wrong`` are red."""
    return Picture(title, _drawn(labels, [(values, _PLAIN)], wrong), bool(wrong))


def pairs(
    title: str, labels: Sequence[str], before: Sequence[float], now: Sequence[float], wrong: bool = False
) -> Picture:
    """Two bars per label: how it was (grey), and how it is."""
    return Picture(title, _drawn(labels, [(before, _BEFORE), (now, _WRONG if wrong else _PLAIN)]), wrong)


def page(
    title: str, at: datetime, findings: Sequence[Finding], pictures: Sequence[Picture], notes: Sequence[str]
) -> str:
    """The whole file.

    Args:
        notes: sentences below the title.
    """
    wrong = violated(findings)
    verdict = (
        f"{len(wrong):,} of {len(findings):,} checks are violated" if wrong else f"all {len(findings):,} checks hold"
    )
    order = [*wrong, *(finding for finding in findings if finding.status is not Status.VIOLATED)]
    headings = "".join(
        f"<th>{name}</th>" for name in ("status", "table", "check", "subject", "result", "allowed", "what to do")
    )
    ordered = sorted(pictures, key=lambda picture: not picture.wrong)
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{at:%Y-%m-%d %H:%M:%S} UTC: {verdict}.</p>",
            *(f"<p>{escape(note)}</p>" for note in notes),
            f"<table><tr>{headings}</tr>",
            *(_row(finding) for finding in order),
            "</table>",
            f'<h2>Pictures</h2><div class="pictures">{"".join(map(_figure, ordered))}</div>' if pictures else "",
            "</body></html>\n",
        ]
    )


def _row(finding: Finding) -> str:
    result = f"{finding.failing:,} of {finding.rows:,} rows" if finding.value is None else f"{finding.value:,.4g}"
    advice = finding.advice if finding.status is Status.VIOLATED else ""
    if finding.examples:
        advice = f"{advice} For example {', '.join(finding.examples)}."
    kind = finding.status.split()[-1]
    cells = (finding.table, finding.check, finding.subject, result, finding.limit, advice)
    return (
        f'<tr><td class="{kind}">{finding.status}</td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _figure(picture: Picture) -> str:
    return f"<figure><figcaption>{escape(picture.title)}</figcaption>{picture.svg}</figure>"


def _drawn(labels: Sequence[str], series: Sequence[tuple[Sequence[float], str]], wrong: Collection[int] = ()) -> str:
    top = max((value for values, _ in series for value in values), default=0) or 1
    step = _WIDTH / max(len(labels), 1)
    wide = step * 0.8 / len(series)
    parts = []
    for place, (values, colour) in enumerate(series):
        for number, value in enumerate(values):
            tall = max(value, 0) / top * _HEIGHT
            fill = _WRONG if number in wrong else colour
            left = number * step + step * 0.1 + place * wide
            parts.append(
                f'<rect x="{left:.1f}" y="{12 + _HEIGHT - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{fill}">'
                f"<title>{escape(labels[number])}: {value:,.4g}</title></rect>"
            )
    # More labels than fit are left out; each bar says its own when it is pointed at.
    every = -(-len(labels) // 8) or 1
    parts += [
        f'<text x="{number * step + step / 2:.1f}" y="{_HEIGHT + 26}" text-anchor="middle">{escape(label)}</text>'
        for number, label in enumerate(labels)
        if number % every == 0
    ]
    height = _HEIGHT + _FOOT
    return f'<svg width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'
