"""Live metrics by version: reading them, summing them up over restarts, and judging by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_stack import OwnStack

from feature_repo.models.promotions import Promotion
from feature_repo.sections.training import WatchSettings
from training.commands.watch import judge
from training.promotion import live
from training.promotion.live import ANSWERS, FAILURES, FALLBACKS, WITHIN, Counts, parse, percentile, share

TEXT = """\
# HELP shelfwise_requests_total answers
# TYPE shelfwise_requests_total counter
shelfwise_requests_total{fallback="none",model="v1",scenario="home"} 60.0
shelfwise_requests_total{fallback="popular",model="v1",scenario="home"} 30.0
shelfwise_requests_total{fallback="none",model="v1",scenario="cart"} 10.0
shelfwise_requests_total{fallback="none",model="v2",scenario="home"} 5.0
# HELP shelfwise_errors_total errors
# TYPE shelfwise_errors_total counter
shelfwise_errors_total{code="internal_error",model="v2"} 15.0
shelfwise_errors_total{code="missing_id",model="v2"} 80.0
# HELP shelfwise_latency_seconds latency
# TYPE shelfwise_latency_seconds histogram
shelfwise_latency_seconds_bucket{le="0.002",model="v1",scenario="home"} 45.0
shelfwise_latency_seconds_bucket{le="0.004",model="v1",scenario="home"} 90.0
shelfwise_latency_seconds_bucket{le="+Inf",model="v1",scenario="home"} 90.0
shelfwise_latency_seconds_count{model="v1",scenario="home"} 90.0
shelfwise_latency_seconds_sum{model="v1",scenario="home"} 0.2
"""
STACK = (Promotion("v1", "2026-01-01T00:00:00", ""), Promotion("v2", "2026-01-02T00:00:00", ""))


def test_counters_are_read_by_version() -> None:
    counts = parse(TEXT)
    assert counts["v1"] == {
        ANSWERS: 100,
        FALLBACKS: 30,
        WITHIN + "0.002": 45,
        WITHIN + "0.004": 90,
        WITHIN + "+Inf": 90,
    }
    assert counts["v2"] == {ANSWERS: 5, FALLBACKS: 0, FAILURES: 15}, "what was refused is no failure"
    assert share(counts["v1"], FALLBACKS) == pytest.approx(0.3)
    assert share(counts["v2"], FAILURES) == pytest.approx(0.75)


def test_a_percentile_lies_between_the_bounds() -> None:
    counts = parse(TEXT)["v1"]
    assert percentile(counts, 0.5) == pytest.approx(0.002)
    assert percentile(counts, 0.75) == pytest.approx(0.003)
    assert percentile({}, 0.95) is None
    assert percentile({WITHIN + "1.0": 0.0, WITHIN + "+Inf": 4.0}, 0.95) == 1.0, "the last bound that is known"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """What the service counts, to be set by the test."""
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    counts: dict[str, Counts] = {}
    monkeypatch.setattr(live, "read_counts", lambda: counts)
    with OwnStack.at(tmp_path).exported():
        yield counts


def test_a_restart_of_the_service_makes_nothing_forgotten(service: dict[str, Counts]) -> None:
    service["v1"] = {ANSWERS: 100.0}
    live.look(STACK[:1])
    service["v1"] = {ANSWERS: 140.0}
    assert live.look(STACK[:1])["v1"][ANSWERS] == 140
    service.clear()
    service["v2"] = {ANSWERS: 7.0}
    sums = live.look(STACK)
    assert (sums["v1"][ANSWERS], sums["v2"][ANSWERS]) == (140, 7)
    service["v2"] = {ANSWERS: 3.0}
    assert live.look(STACK)["v2"][ANSWERS] == 10, "restarted again in between"


def test_what_a_version_did_before_it_was_promoted_again_does_not_count(service: dict[str, Counts]) -> None:
    service["v2"] = {ANSWERS: 10.0, FAILURES: 90.0}
    live.look(STACK)
    live.look(STACK[:1])
    service["v2"] = {ANSWERS: 30.0, FAILURES: 90.0}
    again = (STACK[0], Promotion("v2", "2026-01-03T00:00:00", ""))
    assert live.look(again)["v2"] == {ANSWERS: 20, FAILURES: 0}


def test_it_is_known_that_a_version_was_gone_back_to(service: dict[str, Counts]) -> None:
    service["v1"] = {ANSWERS: 100.0}
    live.look(STACK[:1])
    live.look(STACK)
    assert not live.was_gone_back_to(STACK)
    assert live.look(STACK[:1])["v1"][ANSWERS] == 100, "going back is no promotion: what it did before counts"
    assert live.was_gone_back_to(STACK[:1])
    again = (STACK[0], Promotion("v2", "2026-01-03T00:00:00", ""))
    live.look(again)
    assert not live.was_gone_back_to(again)


LIMITS = WatchSettings(min_requests=100, max_failure_rise=0.01, max_fallback_rise=0.1, max_latency_ratio=1.5)


def counts(failed: int = 0, fallbacks: int = 100, slow: int = 0, answers: int = 1_000) -> Counts:
    bounds = {WITHIN + "0.005": float(answers - slow), WITHIN + "0.1": float(answers), WITHIN + "+Inf": float(answers)}
    return {ANSWERS: float(answers), FAILURES: float(failed), FALLBACKS: float(fallbacks), **bounds}


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (counts(), None),
        (counts(failed=8), None),
        (counts(failed=50), "failed requests"),
        (counts(fallbacks=190), None),
        (counts(fallbacks=300), "fallbacks"),
        (counts(slow=200), "95% within"),
        (counts(failed=50, answers=40, fallbacks=0), None),  # too few
    ],
)
def test_a_version_is_judged_beside_the_one_before(now: Counts, reason: str | None) -> None:
    _, reasons = judge(now, counts(), LIMITS)
    assert len(reasons) == (reason is not None)
    assert reason is None or reason in reasons[0]


def test_without_a_version_before_only_failures_are_judged() -> None:
    assert judge(counts(fallbacks=1_000, slow=900), {}, LIMITS)[1] == []
    assert "failed requests" in judge(counts(failed=50), {}, LIMITS)[1][0]
