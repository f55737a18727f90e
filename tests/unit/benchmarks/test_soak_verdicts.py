"""Each criterion of a soak is met by a good run, and not by one that is bad in just this."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from open_loop import NO_ANSWER, Load
from soak_verdicts import (
    Sample,
    Swap,
    growth,
    memory_flat,
    no_errors,
    p99_steady,
    stream_keeps_up,
    swaps_seen,
    swaps_unnoticed,
)

DUE = np.arange(0.0, 300.0, 0.1)
RNG = np.random.default_rng(3)


def load(milliseconds: float = 10.0) -> Load:
    return Load(DUE, np.full(len(DUE), milliseconds / 1000), Counter({200: len(DUE)}), 0.0)


def samples(per_sample: float, noise: float = 3.0, waiting: int = 5) -> list[Sample]:
    """A process of 400 MB that grows by so many MB between two samples; at the start by much more."""
    return [
        Sample(at * 10.0, {"service": 300 + min(at * 20, 100) + per_sample * at + RNG.normal(0, noise)}, waiting)
        for at in range(60)
    ]


def test_an_answer_that_is_missing_or_has_less_is_an_error() -> None:
    assert no_errors(load(), {"ranker": 0}).passed
    assert not no_errors(load(), {"ranker": 2}).passed
    for status in (500, 429, NO_ANSWER):
        bad = Load(DUE, DUE, Counter({200: 10, status: 1}), 0.0)
        assert not no_errors(bad, {}).passed


def test_memory_that_grows_is_seen_through_the_noise_and_after_warm_up() -> None:
    assert memory_flat(samples(0.0), ["service"]).passed
    assert not memory_flat(samples(2.0), ["service"]).passed
    assert growth(samples(2.0, noise=0.0), "service") == pytest.approx(2.0 * 47 / 470, rel=0.1)


def test_one_large_sample_moves_nothing() -> None:
    flat = samples(0.0, noise=0.0)
    flat[-1] = Sample(flat[-1].at, {"service": 4_000.0}, 0)
    assert memory_flat(flat, ["service"]).passed


def test_a_process_that_was_not_there_all_the_time_is_not_flat() -> None:
    gone = samples(0.0)
    gone[40] = Sample(gone[40].at, {}, 0)
    assert not memory_flat(gone, ["service"]).passed
    assert not memory_flat(samples(0.0), []).passed, "and nothing judged is nothing met"


def test_a_p99_is_steady_beside_what_the_machine_did() -> None:
    slower = [load(10), load(10), load(20)]
    assert p99_steady([load(10)] * 3, [load(1)] * 3).passed
    assert not p99_steady(slower, [load(1)] * 3).passed
    assert p99_steady(slower, [load(1), load(1), load(2)]).passed, "the machine was as much slower"
    assert not p99_steady(slower, [load(2), load(2), load(1)]).passed, "a faster machine is no excuse"


def test_a_swap_must_come_into_use() -> None:
    good, bad = Swap("a", 100.0, 3.0), Swap("b", 200.0, None)
    assert swaps_seen([good, good], 2).passed
    assert not swaps_seen([good, bad], 2).passed
    assert not swaps_seen([good], 2).passed


@pytest.mark.parametrize(("slow_at", "unnoticed"), [(102.0, False), (50.0, True), (150.0, True)])
def test_a_request_during_a_swap_is_not_slower_than_all_others(slow_at: float, unnoticed: bool) -> None:
    seconds = np.full(len(DUE), 0.01)
    seconds[np.searchsorted(DUE, slow_at)] = 0.5
    found = Load(DUE, seconds, Counter({200: len(DUE)}), 0.0)
    assert swaps_unnoticed([Swap("a", 100.0, 3.0)], found).passed is unnoticed


def test_a_stream_that_falls_behind_is_seen() -> None:
    assert stream_keeps_up(samples(0.0, waiting=900), 20.0).passed
    assert not stream_keeps_up(samples(0.0, waiting=1_300), 20.0).passed
    assert not stream_keeps_up([], 20.0).passed
