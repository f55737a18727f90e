"""What customers did who were shown a variant of an experiment, from the table ``outcomes``.

A customer belongs to the variant that he was shown first, and counts once the time in which an order counts is over since then;
what he did in that time is his outcome, whoever looks and when. So outcomes of customers are independent, and do not change
between looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import numpy as np
from duckdb_extensions import import_extension
from numpy.typing import NDArray

from feature_repo import tables
from feature_repo.errors import InputError
from feature_repo.experiments import Experiment
from feature_repo.reading import Floats
from feature_repo.settings import get_settings


@dataclass(frozen=True)
class Exposures:
    """Customers whose time is over; arrays of shape (customers,).

    Attributes:
        variants: what each was shown first.
        click_rates: of the recommended products that each was shown, the share that he clicked.
        converted: whether each ordered any of them.
        pending: how many others have seen a variant, whose time is not over.
        crossed: how many have seen another variant later, by logging in or because weights were changed.
    """

    variants: NDArray[np.object_]
    click_rates: Floats
    converted: Floats
    pending: int
    crossed: int

    def counts(self, experiment: Experiment) -> dict[str, int]:
        """Customers by variant."""
        return {name: int((self.variants == name).sum()) for name in experiment.shares}


def read_exposures(name: str, experiment: Experiment, until: datetime) -> Exposures:
    """The customers of an experiment as of a moment.

    Raises:
        InputError: there are none, or of variants that the experiment does not have.
    """
    with outcome_tables() as connection:
        rows = connection.execute(
            f"""
            WITH shown AS (
                SELECT person, variant, shown_at, message_id, items
                FROM delta_scan('{tables.OUTCOMES.uri}') WHERE answered AND experiment = $name AND shown_at < $until
            ), first AS (
                SELECT person, min(shown_at) AS began, arg_min(variant, shown_at) AS variant,
                    count(DISTINCT variant) > 1 AS crossed
                FROM shown GROUP BY person
            ), lines AS (
                SELECT person, unnest(items) AS item FROM shown JOIN first USING (person)
                WHERE shown_at <= began + $hours
            )
            SELECT first.variant AS variant, crossed, began + $hours <= $until AS over,
                coalesce(count(item) FILTER (item.clicked_at <= began + $hours) / nullif(count(item), 0), 0)::DOUBLE AS rate,
                coalesce(bool_or(item.ordered_at <= began + $hours), false) AS converted
            FROM first LEFT JOIN lines USING (person) GROUP BY person, first.variant, crossed, began ORDER BY began, person
            """,
            {"name": name, "until": until, "hours": timedelta(hours=get_settings().outcomes.order_hours)},
        ).fetchnumpy()
    variants, over = rows["variant"].astype(object), np.asarray(rows["over"], bool)
    if not len(variants):
        raise InputError(
            f"no customer was shown a variant of {name} yet: `python -m ingestion outcomes --by variant` shows what there is"
        )
    if unknown := set(variants) - experiment.variants.keys():
        raise InputError(
            f"{name} has had a variant {min(unknown)!r}, which it does not declare: give a changed experiment another name"
        )
    return Exposures(
        variants[over],
        np.asarray(rows["rate"], float)[over],
        np.asarray(rows["converted"], float)[over],
        int((~over).sum()),
        int(np.asarray(rows["crossed"], bool).sum()),
    )


@contextmanager
def outcome_tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB, ready to scan Delta tables.

    Raises:
        InputError: there are no outcomes.
    """
    if not tables.OUTCOMES.exists():
        raise InputError("there are no outcomes yet: `python -m ingestion outcomes` computes them")
    import_extension("delta")
    with duckdb.connect() as connection:
        connection.load_extension("delta")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
