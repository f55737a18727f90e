"""What serving sees now: features of customers and products, read from the online store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from feast import FeatureStore

from feature_repo.errors import InputError, UnavailableError
from feature_repo.online.reading import OnlineReader
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.ranking.shelf import Shelf
from feature_repo.ranking.visitors import Visitors
from feature_repo.sections.training import TrainingSettings
from feature_repo.store import open_store
from feature_repo.tables import CUSTOMER_ACTIVITY, SHOP, TIMESTAMP
from training.data.history import JUST_BEFORE_SECONDS, require_features
from training.distributions import CUSTOMERS, DAYS, Distributions, what_is_seen
from training.model import Recommender

_AT_ONCE = 200


def when_serving(
    recommender: Recommender, before: Distributions, settings: TrainingSettings
) -> tuple[Distributions, int]:
    """The distributions now, parted as before, and how many of the customers the online store knows nothing of.

    Raises:
        InputError: there is no feature store, or no products in it.
        UnavailableError: the online store does not answer.
    """
    store = open_store()
    require_features(store)
    customers = _customers_lately(settings.seed)
    try:
        ids, products = _products(store)
        columns = _read(store, "customer_features", customers)
    except REDIS_ERRORS as error:
        raise UnavailableError(f"the online store cannot be read: {error}; `make status` shows what runs") from error
    there = [row for row, last in enumerate(columns["last_event_at"]) if last is not None]
    columns = {name: [values[row] for row in there] for name, values in columns.items()}
    moments = np.array(columns["last_event_at"], dtype=float) + JUST_BEFORE_SECONDS
    # As in training, as of the last event: a pause since then is no drift.
    known = [*columns["last_event_at"], *(last for last in products["last_event_at"] if last is not None)]
    shelf = Shelf.from_columns(ids, products, max(known, default=time.time()) + 1)
    visitors = Visitors.from_columns(columns, moments, shelf)
    values = what_is_seen(recommender, shelf, visitors, settings.candidates, settings.seed)
    named = {name: distribution.of_others(values[name]) for name, distribution in before.named.items()}
    return Distributions(len(visitors), named), len(customers) - len(there)


def _customers_lately(seed: int) -> list[str]:
    """A sample of the customers that did anything in the last days, by the offline store."""
    if not CUSTOMER_ACTIVITY.exists():
        raise InputError("there is no history of customers yet: start the stack (`make up`) first")
    since = pa.scalar(datetime.now(UTC) - timedelta(days=DAYS), TIMESTAMP)
    rows = DeltaTable(CUSTOMER_ACTIVITY.uri).to_pyarrow_dataset().filter(ds.field("event_timestamp") >= since)
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        sql = "SELECT DISTINCT customer_id FROM rows ORDER BY hash(customer_id || $1) LIMIT $2"
        found = connection.sql(sql, params=[str(seed), CUSTOMERS]).fetchall()
    return [customer for (customer,) in found]


def _products(store: FeatureStore) -> tuple[list[str], dict[str, list[Any]]]:
    """The ids of all products, and their columns."""
    ids = OnlineReader(store, "shelf_index").read([SHOP])["product_ids"][0] or []
    if not ids:
        raise InputError("the online store knows no products: `python -m ingestion rebuild-online` fills it")
    return ids, _read(store, "shelf_features", ids)


def _read(store: FeatureStore, service: str, ids: Sequence[str]) -> dict[str, list[Any]]:
    """What the service reads for some ids, in their order."""
    reader = OnlineReader(store, service)
    parts = [reader.read(ids[start : start + _AT_ONCE]) for start in range(0, max(len(ids), 1), _AT_ONCE)]
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}
