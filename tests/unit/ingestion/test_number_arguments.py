"""Numbers as arguments: what can be meant is taken, and all else is refused by argparse."""

from __future__ import annotations

import argparse

import pytest

from ingestion.number_arguments import above_zero, count


def test_what_is_taken() -> None:
    assert [above_zero(text) for text in ("60", "0.5", "1_000", "1e9")] == [60, 0.5, 1000, 1e9]
    assert [count(text) for text in ("1", "1_000", "1000000000")] == [1, 1000, 10**9]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e300", "abc", ""])
def test_what_is_no_number_above_zero(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a number above 0"):
        above_zero(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "10000000000", "\u0663", "abc", "", "_"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a whole number"):
        count(text)
