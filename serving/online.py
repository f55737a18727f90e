"""Reading the online store through Feast: one customer per request, all items in the background."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from feature_repo.store import open_store

if TYPE_CHECKING:
    from feast import FeatureStore

Columns = dict[str, list[Any]]

_SHOP = "all"
_ITEMS_PER_READ = 200
# Between the reads of a refresh, requests get their turn of the interpreter.
_PAUSE_SECONDS = 0.005


class OnlineStore:
    """The feature store as the service sees it; safe to use from several threads."""

    def __init__(self) -> None:
        self._store: FeatureStore = open_store()
        self._customer = self._store.get_feature_service("customer_features")
        self._item = self._store.get_feature_service("item_features")

    def customer(self, customer_id: str) -> Columns:
        """One customer's features, columns of one row; all None for one never seen."""
        return self._store.get_online_features(self._customer, [{"customer_id": customer_id}]).to_dict()

    def product_ids(self) -> list[str]:
        """The ids of all products; empty before a catalogue or an event has arrived."""
        found = self._store.get_online_features(["catalog_index:product_ids"], [{"shop": _SHOP}]).to_dict()
        return list(found["product_ids"][0] or [])

    def items(self, product_ids: list[str]) -> Mapping[str, list[Any]]:
        """Features of products, columns parallel to ``product_ids``."""
        columns: Columns = {}
        for start in range(0, len(product_ids), _ITEMS_PER_READ):
            rows = [{"product_id": product} for product in product_ids[start : start + _ITEMS_PER_READ]]
            for name, values in self._store.get_online_features(self._item, rows).to_dict().items():
                columns.setdefault(name, []).extend(values)
            time.sleep(_PAUSE_SECONDS)
        return columns
