"""Times that commands are given."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from feature_repo.time_arguments import moment, moment_or_age

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize("read", [moment, moment_or_age])
@pytest.mark.parametrize("text", ["2026-05-04T12:00", "2026-05-04T12:00:00Z", "2026-05-04T14:00+02:00"])
def test_a_moment_is_utc_unless_it_says_otherwise(read: Callable[[str], datetime], text: str) -> None:
    assert read(text) == NOON
    assert read(text).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        ("2 h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("1w", timedelta(days=7)),
    ],
)
def test_an_age(text: str, ago: timedelta) -> None:
    assert abs(datetime.now(UTC) - moment_or_age(text) - ago) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("read", "text"), [(moment, "2h"), (moment, "soon"), (moment_or_age, "2x"), (moment_or_age, "")]
)
def test_what_is_none_is_named(read: Callable[[str], datetime], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is n.*2026-01-31"):
        read(text)
