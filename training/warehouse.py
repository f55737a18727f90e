"""The warehouse that Feast reads, where that is a copy: brought up to date before anything is learnt from it."""

from __future__ import annotations

import subprocess
import sys

from feature_repo.errors import UnavailableError
from feature_repo.sections.warehouses import OfflineStoreKind
from feature_repo.settings import PROJECT_ROOT


def bring_up_to_date(store: OfflineStoreKind) -> None:
    """Publish what is new to a Postgres; the Delta tables are always up to date, and the others have loaders of their own.

    Raises:
        UnavailableError: that failed.
    """
    if store is not OfflineStoreKind.POSTGRES:
        return
    command = [sys.executable, "-m", "ingestion", "publish"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise UnavailableError(f"`python -m ingestion publish` failed: {last}")
