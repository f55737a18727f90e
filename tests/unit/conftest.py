"""What tests without servers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo import tables
from feature_repo.settings import HOME_VARIABLE, get_settings


@pytest.fixture
def fresh_settings() -> Iterator[None]:
    """The test's settings are read when it first asks for them, and are not left to others."""
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation of the test's own, with empty tables."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    get_settings.cache_clear()
    tables.create_missing_tables()
    yield
    get_settings.cache_clear()
