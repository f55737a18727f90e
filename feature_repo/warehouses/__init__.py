"""The warehouse that Feast reads features of the past from, as SHELFWISE_OFFLINE__STORE says.

There is a module for each, and only the chosen one is imported. It has ``OfflineStore`` and ``OfflineStoreConfig``, which Feast
asks this package for by the name in ``feature_store.yaml``, and ``source``, which makes the Feast source of a table.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from feature_repo.errors import SettingsError
from feature_repo.settings import get_settings

if TYPE_CHECKING:
    from feast.data_source import DataSource

    from feature_repo.tables import Table

_CLASSES = ("OfflineStore", "OfflineStoreConfig")


def source(table: Table) -> DataSource:
    """Where Feast finds a feature table's rows in the chosen warehouse."""
    made: DataSource = _chosen().source(table)
    return made


def __getattr__(name: str) -> Any:
    """Feast's two classes, of the warehouse that is chosen when they are asked for."""
    if name in _CLASSES:
        return getattr(_chosen(), name)
    raise AttributeError(name)


def _chosen() -> ModuleType:
    kind = get_settings().offline.store.value
    try:
        return importlib.import_module(f"{__name__}.{kind}")
    except ImportError as error:
        raise SettingsError(
            f"SHELFWISE_OFFLINE__STORE={kind} needs packages that are not installed ({error}); "
            f"`make setup` installs them (those of shelfwise[{kind}])"
        ) from error
