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
from redis.exceptions import RedisError

from feature_repo.aggregates import RECENT, SHOWN, Entity
from feature_repo.errors import InputError, UnavailableError
from feature_repo.settings import TrainingSettings
from feature_repo.shelf import STORED_COLUMNS, Shelf
from feature_repo.store import open_store
from feature_repo.successors import COLUMNS as SUCCESSOR_COLUMNS
from feature_repo.tables import CUSTOMER_ACTIVITY, TIMESTAMP
from feature_repo.visitors import CUSTOMER_SUMS, Visitors
from training.distributions import CUSTOMERS, DAYS, Distributions, what_is_seen
from training.history import JUST_BEFORE_SECONDS, require_features
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
        columns = _read(store, "customer_features", Entity.CUSTOMER.key, customers, _OF_CUSTOMERS)
    except RedisError as error:
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


_OF_CUSTOMERS = ("last_event_at", *CUSTOMER_SUMS, *RECENT.columns, *SHOWN.columns)
_OF_PRODUCTS = ("name", *STORED_COLUMNS, *SUCCESSOR_COLUMNS)


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
    index = store.get_online_features(["catalog_index:product_ids"], [{"shop": "all"}]).to_dict()
    ids = list(index["product_ids"][0] or [])
    if not ids:
        raise InputError("the online store knows no products: `python -m ingestion rebuild-online` fills it")
    return ids, _read(store, "shelf_features", Entity.ITEM.key, ids, _OF_PRODUCTS)


def _read(
    store: FeatureStore, service: str, key: str, ids: Sequence[str], names: Sequence[str]
) -> dict[str, list[Any]]:
    """Columns of a feature service for keys, in their order."""
    columns: dict[str, list[Any]] = {name: [] for name in names}
    features = store.get_feature_service(service)
    for start in range(0, len(ids), _AT_ONCE):
        values = store.get_online_features(features, [{key: one} for one in ids[start : start + _AT_ONCE]]).to_dict()
        for name in names:
            columns[name] += values[name]
    return columns
