"""What is usual for a feed."""

from __future__ import annotations

from ingestion.health.checks import Rate
from ingestion.health.rates import TOO_YOUNG, Count, Usual, rates, usual_of_day, usual_of_weeks, with_totals

FEED = ("topic", "View")


def test_totals_per_source() -> None:
    counts = [Count(1, "a", "View", 3), Count(1, "a", "Order", 2), Count(1, "b", "View", 9), Count(2, "a", "View", 4)]
    totals = with_totals(counts)[len(counts) :]
    assert totals == [Count(1, "a", "all", 5), Count(1, "b", "all", 9), Count(2, "a", "all", 4)]


def test_weeks_are_averaged_per_minute_of_their_hour() -> None:
    usual = usual_of_weeks([Count(1, *FEED, 60), Count(2, *FEED, 180)])
    assert usual
    assert usual.rates == {FEED: 2.0}


def test_a_week_in_which_nothing_ran_does_not_count_but_a_feed_that_was_silent_does() -> None:
    usual = usual_of_weeks([Count(1, *FEED, 120), Count(1, "topic", "Order", 120), Count(3, *FEED, 120)])
    assert usual
    assert usual.rates == {FEED: 2.0, ("topic", "Order"): 1.0}
    assert "2 earlier weeks" in usual.basis


def test_without_an_earlier_week_there_is_nothing_to_say_of_weeks() -> None:
    assert usual_of_weeks([]) is None


def test_the_day_gives_the_median_and_counts_silent_windows() -> None:
    counts = [Count(n, *FEED, 30) for n in range(1, 9)] + [Count(1, "topic", "Order", 999)]
    usual = usual_of_day(counts, windows=12, window_minutes=15.0)
    assert usual.rates == {FEED: 2.0, ("topic", "Order"): 0.0}
    assert "3 hours" in usual.basis


def test_windows_that_are_not_full_do_not_count() -> None:
    counts = [Count(n, *FEED, 30) for n in range(1, 9)] + [Count(9, *FEED, 1)]
    assert usual_of_day(counts, windows=8, window_minutes=15.0).rates == {FEED: 2.0}


def test_less_than_two_hours_are_not_judged() -> None:
    assert usual_of_day([Count(1, *FEED, 30)], windows=7, window_minutes=15.0) == Usual(None, TOO_YOUNG)


def test_feeds_that_fell_silent_are_listed_and_new_ones_too() -> None:
    usual = Usual({("topic", "all"): 4.0, FEED: 4.0}, "basis")
    present = [Count(0, "topic", "all", 30), Count(0, "topic", "Order", 30)]
    assert rates(present, usual, 15.0, ("topic", "all")) == [
        Rate("topic", "all", 2.0, 4.0, "basis"),
        Rate("topic", "Order", 2.0, 0.0, "basis"),
        Rate("topic", "View", 0.0, 4.0, "basis"),
    ]


def test_the_expected_feed_is_listed_even_if_it_was_never_seen() -> None:
    assert rates([], Usual(None, TOO_YOUNG), 15.0, ("topic", "all")) == [Rate("topic", "all", 0.0, None, TOO_YOUNG)]
