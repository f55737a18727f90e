"""A small curve as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT, _EDGE = 200.0, 28.0, 2.0


def sparkline(values: Sequence[float], label: str) -> str:
    """The values as a curve from zero to their maximum; nothing, if there are fewer than two or all are zero.

    Args:
        label: what they are, for those who do not see the curve; it must not hold markup of its own.
    """
    most = max(values, default=0.0)
    if len(values) < 2 or most <= 0:
        return ""
    step, span = _WIDTH / (len(values) - 1), _HEIGHT - 2 * _EDGE
    points = " ".join(
        f"{place * step:.1f},{_HEIGHT - _EDGE - max(0.0, value) / most * span:.1f}"
        for place, value in enumerate(values)
    )
    told = f"{label}; most: {most:,.6g}, last: {values[-1]:,.6g}"
    return (
        f'<svg class="spark" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(told)}"><title>{escape(told)}</title><polyline points="{points}"/></svg>'
    )
