"""What a notebook begins with: the shop whose data it reads, as tables, as a feature store and as an event log."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
from duckdb_extensions import import_extension
from numpy.typing import ArrayLike, NDArray

from feature_repo import tables
from feature_repo.errors import InputError
from feature_repo.settings import PROJECT_ROOT
from feature_repo.store import open_store
from notebooks import loading
from training.evaluation import installation

if TYPE_CHECKING:
    from feast import FeatureStore

    from training.evaluation.log import Log

# A row per product of each event.
_LINES = """CREATE VIEW lines AS
    SELECT message_id, event, timestamp, customer_id, session_id, country, device, channel, order_id, currency,
           unnest(products, max_depth := 2)
    FROM events WHERE len(products) > 0"""


@dataclass(frozen=True)
class Shop:
    """The shop that a notebook reads; nothing is written to its installation.

    Attributes:
        home: folder of the installation.
        connection: DuckDB, with a view of each Delta table, and ``lines``: a row per product of each event.
    """

    home: Path
    connection: duckdb.DuckDBPyConnection

    def sql(self, query: str, **parameters: Any) -> pd.DataFrame:
        """The result of a query; ``$name`` stands for a parameter. Times are UTC."""
        return self.connection.execute(query, parameters or None).df()

    @cached_property
    def store(self) -> FeatureStore:
        """Feast's feature store; opening it takes seconds.

        Raises:
            InputError: its features are not registered.
        """
        store = open_store()
        if not store.list_feature_views():
            raise InputError("the features are not registered yet: run `.venv/bin/feast -c feature_repo apply`")
        return store

    @cached_property
    def log(self) -> Log:
        """Everything that happened to products, by session, as the evaluation of recommenders reads it."""
        from training.data.events import EventLog, Window
        from training.evaluation.log import read_log

        with EventLog(Window()) as archive:
            return read_log(archive)

    @cached_property
    def names(self) -> dict[str, str]:
        """What people call each product: its name, or its id if it has none."""
        newest = self.sql(
            """SELECT product_id, coalesce(arg_max(name, event_timestamp), product_id) AS name
               FROM catalog GROUP BY product_id"""
        )
        return dict(zip(newest["product_id"], newest["name"], strict=True))


def epoch_seconds(times: pd.Series) -> NDArray[np.float64]:
    """Times as numbers, whatever unit pandas keeps them in."""
    return np.asarray((times - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=float)


def as_times(seconds: ArrayLike) -> pd.DatetimeIndex:
    """Epoch seconds as times of whole microseconds, which is what the stores hold and Feast takes."""
    microseconds = np.round(np.asarray(seconds, dtype=float) * 1e6).astype(np.int64)
    return pd.DatetimeIndex(pd.to_datetime(microseconds, unit="us", utc=True))


@cache
def open_shop() -> Shop:
    """The shop to read: that of this installation, or the one in SHELFWISE_NOTEBOOKS__DATA, or else a small invented one.

    What is not loaded yet is loaded first, once, with its progress shown.

    Raises:
        InputError: it cannot be loaded.
    """
    home = loading.present() or _load_in_view()
    installation.enter(home)
    import_extension("delta")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    tables.create_missing_tables()
    for table in tables.ALL_TABLES:
        connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM delta_scan('{table.uri}')")
    connection.execute(_LINES)
    shop = Shop(home, connection)
    print(_summary(shop))
    return shop


def _load_in_view() -> Path:
    """Load in a process of its own, whose messages appear in the notebook as they come."""
    command = [sys.executable, "-m", "notebooks", "load"]
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as made:
        assert made.stdout
        for line in made.stdout:
            print(line, end="")
    home = loading.present()
    if made.returncode or home is None:
        raise InputError("the data could not be loaded, as said above")
    return home


def _summary(shop: Shop) -> str:
    row = shop.sql(
        """SELECT count(*) AS events, count(DISTINCT customer_id) AS customers, min(timestamp) AS first,
                  max(timestamp) AS last, (SELECT count(DISTINCT product_id) FROM catalog) AS products
           FROM events"""
    ).iloc[0]
    return (
        f"{row['events']:,} events of {row['customers']:,} customers with {row['products']:,} products, "
        f"{row['first']:%Y-%m-%d} to {row['last']:%Y-%m-%d}, from {shop.home}"
    )
