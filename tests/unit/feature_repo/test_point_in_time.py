"""The as-of join gives what Feast's own pairwise join gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import ibis
import pandas as pd
import pytest

from feature_repo.feast_parts import point_in_time

START = datetime(2026, 3, 1, tzinfo=UTC)


def _at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


@pytest.fixture(scope="module")
def features() -> pd.DataFrame:
    rows = [
        ("a", _at(1), _at(1), 1.0),
        ("a", _at(3), _at(3), 3.0),
        ("a", _at(3), _at(4), 3.5),  # corrected later: this one counts
        ("b", _at(2), _at(2), 2.0),
    ]
    return pd.DataFrame(rows, columns=["item", "event_timestamp", "created", "value"])


@pytest.fixture(scope="module")
def moments() -> pd.DataFrame:
    rows = [
        ("a", _at(0.5)),
        ("a", _at(1)),
        ("a", _at(2.9)),
        ("a", _at(3)),
        ("a", _at(500)),
        ("b", _at(5)),
        ("c", _at(5)),
    ]
    return pd.DataFrame(rows, columns=["item", "event_timestamp"])


def _joined(join: object, features: pd.DataFrame, moments: pd.DataFrame, ttl: timedelta | None) -> list[float | None]:
    table = (ibis.memtable(features), "event_timestamp", "created", {"item": "item"}, ["value"], ttl)
    result = join(ibis.memtable(moments), [table]).execute()  # type: ignore[operator]
    result = result.sort_values(["item", "event_timestamp"])
    assert set(result.columns) == {"item", "event_timestamp", "value"}
    return [None if pd.isna(value) else value for value in result["value"]]


def test_newest_row_at_or_before_the_moment(features: pd.DataFrame, moments: pd.DataFrame) -> None:
    joined = _joined(point_in_time.point_in_time_join, features, moments, None)
    assert joined == [None, 1.0, 1.0, 3.5, 3.5, 2.0, None]


@pytest.mark.parametrize("ttl", [None, timedelta(hours=1.5), timedelta(days=365)])
def test_agrees_with_the_pairwise_join(features: pd.DataFrame, moments: pd.DataFrame, ttl: timedelta | None) -> None:
    ours = _joined(point_in_time.point_in_time_join, features, moments, ttl)
    assert ours == _joined(point_in_time._pairwise_join, features, moments, ttl)
