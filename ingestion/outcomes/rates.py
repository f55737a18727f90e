"""Sums and rates of the outcomes, and how sure one can be of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from feature_repo.tables import OUTCOMES
from ingestion.outcomes.attribution import database

# What outcomes can be told apart by, as SQL over a shown product.
KEYS = {
    "model": "coalesce(model_version, 'none')",
    "scenario": "scenario",
    "source": "source",
    "experiment": "experiment",
    "variant": "experiment || '/' || variant",
    "place": "place::VARCHAR",
    "day": "dt::VARCHAR",
}
_Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """A mean per shown product, and its 95% interval; None where it cannot be told."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Outcome:
    """What became of recommended products.

    Attributes:
        of: values of the keys that it is grouped by.
        lists: lists that showed any.
        persons: customers who saw any.
        shown, clicks, carts, orders: products; a product counts once per list.
        revenue: of the ordered ones.
        click_rate, order_rate: per shown product.
        revenue_rate: per thousand shown products.
    """

    of: tuple[str | None, ...]
    lists: int
    persons: int
    shown: int
    clicks: int
    carts: int
    orders: int
    revenue: float
    click_rate: Rate
    order_rate: Rate
    revenue_rate: Rate


@dataclass(frozen=True)
class Unanswered:
    """Lists with a ``request_id`` of which no answer is known, and all lists."""

    unknown: int
    lists: int


def outcomes_by(
    keys: Sequence[str], since: datetime | None = None, until: datetime | None = None
) -> tuple[list[Outcome], Unanswered]:
    """The outcomes of the lists shown in a span of time, by the keys (of :data:`KEYS`), the most shown first."""
    which = pa.dataset.field("message_id").is_valid()
    for moment, later in ((since, True), (until, False)):
        if moment is not None:
            at, day = pa.scalar(moment, OUTCOMES.schema.field("shown_at").type), pa.scalar(moment.date())
            shown_at, dt = ds.field("shown_at"), ds.field("dt")
            which &= (shown_at >= at) & (dt >= day) if later else (shown_at < at) & (dt <= day)
    columns = ", ".join(f"{KEYS[key]} AS key{number}" for number, key in enumerate(keys))
    grouped = ", ".join(f"key{number}" for number in range(len(keys)))
    with database() as connection:
        dataset = DeltaTable(OUTCOMES.uri).to_pyarrow_dataset()
        connection.register("stored", dataset.scanner(filter=which))
        connection.execute("CREATE TABLE outcomes AS SELECT * FROM stored")
        unknown, lists = connection.execute("SELECT count(*) FILTER (NOT answered), count(*) FROM outcomes").fetchall()[
            0
        ]
        found = connection.execute(
            f"""
            WITH lines AS (
                SELECT * EXCLUDE (items, item), item.* FROM (SELECT *, unnest(items) AS item FROM outcomes WHERE answered)
            )
            SELECT {f"[{grouped}]" if keys else "[]::VARCHAR[]"} AS of, person, count(DISTINCT message_id) AS lists,
                count(*) AS shown, count(clicked_at) AS clicks, count(carted_at) AS carts, count(ordered_at) AS orders,
                coalesce(sum(revenue), 0) AS revenue
            FROM (SELECT *{", " + columns if keys else ""} FROM lines) GROUP BY of, person ORDER BY of, person
            """
        ).to_arrow_table()
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for row, of in enumerate(found["of"].to_pylist()):
        groups.setdefault(tuple(of), []).append(row)
    outcomes = [_outcome(of, found.take(rows)) for of, rows in groups.items()]
    return sorted(outcomes, key=lambda one: (-one.shown, str(one.of))), Unanswered(unknown, lists)


def _outcome(of: tuple[str | None, ...], rows: pa.Table) -> Outcome:
    """Of rows per customer."""
    shown, clicks, orders, revenue = (
        np.asarray(rows[name].to_numpy(), float) for name in ("shown", "clicks", "orders", "revenue")
    )
    carts = rows["carts"].to_numpy()
    return Outcome(
        of,
        int(rows["lists"].to_numpy().sum()),
        rows.num_rows,
        int(shown.sum()),
        int(clicks.sum()),
        int(carts.sum()),
        int(orders.sum()),
        round(float(revenue.sum()), 2),
        share(clicks, shown),
        share(orders, shown),
        mean(1000 * revenue, shown),
    )


def mean(gains: Floats, counts: Floats) -> Rate:
    """The sum of gains over that of counts, both per customer; customers are independent, what one does is not.

    The interval is that of a ratio of means, linearised.
    """
    value, deviation = _ratio(gains, counts)
    if len(counts) < 2:
        return Rate(value, None, None)
    return Rate(value, value - _Z * deviation, value + _Z * deviation)


def share(gains: Floats, counts: Floats) -> Rate:
    """The same of a share: its interval is Wilson's (1927), for as many independent cases as have the same deviation."""
    value, deviation = _ratio(gains, counts)
    cases = value * (1 - value) / deviation**2 if deviation > 0 and 0 < value < 1 else float(len(counts))
    cases = min(cases, float(counts.sum()))
    centre = (value + _Z**2 / (2 * cases)) / (1 + _Z**2 / cases)
    half = _Z / (1 + _Z**2 / cases) * math.sqrt(value * (1 - value) / cases + _Z**2 / (4 * cases**2))
    return Rate(value, max(centre - half, 0.0), min(centre + half, 1.0))


def _ratio(gains: Floats, counts: Floats) -> tuple[float, float]:
    """A ratio of sums over customers and its standard deviation."""
    total = float(counts.sum())
    value = float(gains.sum()) / total
    size = len(counts)
    spread = float(((gains - value * counts) ** 2).sum()) * size / max(size - 1, 1)
    return value, math.sqrt(spread) / total
