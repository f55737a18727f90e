"""What is expected of a step's time."""

from __future__ import annotations

from serving.answering.expected import Expected


def test_a_step_that_was_never_seen_is_let_begin_unless_time_is_over() -> None:
    expected = Expected()
    assert expected.fits("rank", 0.001)
    assert not expected.fits("rank", 0.0)
    assert not expected.fits("rank", -1.0)


def test_a_step_begins_if_it_has_ended_in_time_before() -> None:
    expected = Expected()
    for _ in range(50):
        expected.took("rank", 0.010)
        expected.took("explain", 0.001)
    assert expected.fits("rank", 0.016)
    assert not expected.fits("rank", 0.012), "some take longer than most"
    assert expected.fits("explain", 0.012)


def test_what_was_once_slow_is_tried_again_after_a_second() -> None:
    now = 0.0
    expected = Expected(lambda: now)
    expected.took("rank", 3.0)
    assert not expected.fits("rank", 0.05)
    now = 0.9
    assert not expected.fits("rank", 0.05)
    now = 1.1
    assert expected.fits("rank", 0.05)
    expected.took("rank", 0.005)
    assert expected.fits("rank", 0.02)


def test_what_stays_slow_is_tried_once_a_second() -> None:
    now, tries = 0.0, 0
    expected = Expected(lambda: now)
    for _ in range(100):  # five seconds
        if expected.fits("rank", 0.05):
            tries += 1
            expected.took("rank", 0.2)
        now += 0.05
    assert 4 <= tries <= 6
