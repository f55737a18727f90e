"""Whether customers click less on what a promoted version recommends than on what the version before did.

The two were not shown to the same customers at the same time, as in an experiment: so the version before is looked at in
the same hours of its days, and only a fall that is large, and larger than chance at all looks together, is a reason to go back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from feature_repo import tables
from feature_repo.models.promotions import Promotion
from feature_repo.reading import Floats
from feature_repo.sections.training import WatchSettings
from feature_repo.settings import get_settings
from training.experiments.exposures import outcome_tables
from training.experiments.sequential import Summary, difference

_DAYS_BEFORE = 14
_PLANNED = 10_000


def judge_clicks(in_force: Promotion, before: str | None, limits: WatchSettings) -> tuple[str, list[str]]:
    """What is to be said of the clicks on a version, and the reasons to go back to the one before; nothing if none are known."""
    if before is None or not tables.OUTCOMES.exists():
        return "", []
    promoted = datetime.fromisoformat(in_force.at)
    # What was shown just now may still be clicked.
    over = datetime.now(UTC) - timedelta(minutes=get_settings().outcomes.click_minutes)
    now = Summary.of(_click_rates(in_force.version, promoted, over))
    then = Summary.of(_click_rates(before, promoted - timedelta(days=_DAYS_BEFORE), promoted, each_day=over - promoted))
    found = difference(then, now, _PLANNED)
    if found.high is None:
        return "", []
    told = f"clicks on {now.mean:.2%} of what was shown (before {then.mean:.2%})"
    if found.high < -limits.max_click_fall * then.mean:
        return told, [f"{told}, more than {limits.max_click_fall:.0%} below"]
    return told, []


def _click_rates(version: str, since: datetime, until: datetime, each_day: timedelta = timedelta(days=1)) -> Floats:
    """Of the customers who saw a version's products in a span of time, the share that each clicked; shape (customers,).

    Args:
        each_day: count only so long from the beginning of each day, days being counted from ``since``.
    """
    with outcome_tables() as connection:
        found = connection.execute(
            f"""SELECT (count(item.clicked_at) / count(*))::DOUBLE AS rate
            FROM (SELECT person, unnest(items) AS item FROM delta_scan('{tables.OUTCOMES.uri}')
                  WHERE model_version = $version AND shown_at >= $since AND shown_at < $until
                  AND (epoch(shown_at) - epoch($since::TIMESTAMPTZ)) % 86400 < $seconds)
            GROUP BY person""",
            {"version": version, "since": since, "until": until, "seconds": each_day.total_seconds()},
        ).fetchnumpy()
    return np.asarray(found["rate"], dtype=float)
