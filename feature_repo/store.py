"""Opening the feature store from Python: the same one that the ``feast`` commands use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feast import FeatureStore

REPO_PATH = Path(__file__).resolve().parent


def open_store() -> FeatureStore:
    """The feature store of the running installation. Importing Feast takes seconds: call this once, early."""
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import FeatureStore

    return FeatureStore(repo_path=str(REPO_PATH))
