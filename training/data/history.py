"""Feature values as they were, read through Feast's point-in-time join."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from feast import FeatureStore
from feast.errors import FeatureServiceNotFoundException
from numpy.typing import NDArray

from feature_repo.aggregates import RECENT, SHOWN, Entity
from feature_repo.errors import InputError
from feature_repo.ranking.shelf import STORED_COLUMNS, Codes, Shelf, Vocabularies
from feature_repo.ranking.visitors import CUSTOMER_SUMS
from feature_repo.reading import Floats

Columns = dict[str, NDArray[Any]]

# Asked for just before the moment, so that what happened at it is not known yet.
JUST_BEFORE_SECONDS = 0.001


def require_features(store: FeatureStore) -> None:
    """Refuse a feature store that lacks what is read here.

    Raises:
        InputError: it does.
    """
    try:
        for name in ("customer_features", "item_features", "shelf_features"):
            store.get_feature_service(name)
    except FeatureServiceNotFoundException as error:
        raise InputError("the feature store is not set up yet: run `feast -c feature_repo apply`") from error


@dataclass(frozen=True)
class History:
    """The offline store as of any moment.

    Attributes:
        store: the feature store.
        ids: every product, by code.
        words: the numbering of categories and brands for all that is read here.
    """

    store: FeatureStore
    ids: tuple[str, ...]
    words: Vocabularies

    def customers(self, customer_ids: NDArray[np.object_], moments: Floats) -> Columns:
        """Stored columns of customers just before moments (epoch seconds), one row each, in the given order."""
        if not len(moments):
            return _no_rows(("last_event_at", *CUSTOMER_SUMS, *RECENT.columns, *SHOWN.columns))
        return self._read("customer_features", Entity.CUSTOMER.key, customer_ids, moments)

    def items(self, codes: Codes, moments: Floats) -> Columns:
        """Stored columns of products just before moments, one row each, in the given order."""
        if not len(moments):
            return _no_rows(STORED_COLUMNS)
        return self._of_items("item_features", codes, moments)

    def shelves(self, moments: Floats) -> list[Shelf]:
        """The whole catalogue as of each moment; a product's row is its code everywhere."""
        everything = np.tile(np.arange(len(self.ids), dtype=np.int32), len(moments))
        columns = self._of_items("shelf_features", everything, np.repeat(moments, len(self.ids)))
        shelves = []
        for number, moment in enumerate(moments):
            rows = slice(number * len(self.ids), (number + 1) * len(self.ids))
            part = {name: column[rows] for name, column in columns.items()}
            shelves.append(Shelf.from_columns(self.ids, part, float(moment), self.words))
        return shelves

    def _of_items(self, service: str, codes: Codes, moments: Floats) -> Columns:
        return self._read(service, Entity.ITEM.key, np.array(self.ids, dtype=object)[codes], moments)

    def _read(self, service: str, key: str, ids: NDArray[np.object_], moments: Floats) -> Columns:
        microseconds = np.round((moments - JUST_BEFORE_SECONDS) * 1e6).astype(np.int64)
        entities = pd.DataFrame(
            {
                key: ids,
                "event_timestamp": pd.to_datetime(microseconds, unit="us", utc=True),
                "row": np.arange(len(ids)),
            }
        )
        job = self.store.get_historical_features(
            entities, self.store.get_feature_service(service), full_feature_names=True
        )
        frame = job.to_df().sort_values("row")
        # Views share feature names, so Feast puts the view's name before each.
        return {name.rpartition("__")[2]: frame[name].to_numpy() for name in frame.columns}


def _no_rows(names: Iterable[str]) -> Columns:
    """What Feast cannot be asked for: an empty frame has no types to join by."""
    return {name: np.empty(0) for name in names}
