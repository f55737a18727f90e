"""What a soak has shown: pure judgements of its requests, samples and model swaps, each with its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from open_loop import Load
from scipy.stats import theilslopes

# By what the 99th percentile of the last third may be above that of the first, beyond what the empty endpoint rose by.
STEADY_RATIO = 1.5
# What a process may grow by over the measured time, by the fit, as a share of its size.
MEMORY_TOLERANCE = 0.10
# A swap's first and last moments: promoted until seen in use, and what the loading leaves behind.
SETTLE_SECONDS = 2.0
# Of samples at the beginning, this share is warm-up: libraries are still being loaded, and memory pools filled.
WARM_UP_SHARE = 0.2


@dataclass(frozen=True)
class Sample:
    """The state at one moment.

    Attributes:
        at: seconds since what is measured began.
        memory: resident megabytes of each process, by a name of its own.
        waiting: events in Kafka that the features do not have yet.
    """

    at: float
    memory: Mapping[str, float]
    waiting: int


@dataclass(frozen=True)
class Swap:
    """Another model was promoted ``at`` a second of the run; the service answered with it ``after`` so many; None: never."""

    version: str
    at: float
    after: float | None


@dataclass(frozen=True)
class Verdict:
    """One criterion."""

    criterion: str
    passed: bool
    says: str


def no_errors(load: Load, degraded: Mapping[str, float]) -> Verdict:
    """Every request was answered with 200, and nothing was left out of an answer."""
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(load.statuses.items()))
    less = ", ".join(f"{count:g} without {what}" for what, count in degraded.items() if count) or "none with less"
    return Verdict("no error", load.failed == 0 and not any(degraded.values()), f"{statuses}; {less}")


def growth(samples: Sequence[Sample], name: str) -> float:
    """By what share of its size a process has grown over the samples after warm-up: a line through the medians of slopes.

    A single large sample does not move it (Theil and Sen's fit). A process that was not there all the time is infinitely large.
    """
    kept = samples[int(len(samples) * WARM_UP_SHARE) :]
    if len(kept) < 2 or any(name not in sample.memory for sample in kept):
        return float("inf")
    times, sizes = [sample.at for sample in kept], [sample.memory[name] for sample in kept]
    slope = float(theilslopes(sizes, times).slope)
    return slope * (times[-1] - times[0]) / float(np.median(sizes))


def memory_flat(samples: Sequence[Sample], names: Sequence[str], tolerance: float = MEMORY_TOLERANCE) -> Verdict:
    """No process of ``names`` has grown by more than the tolerance."""
    found = {name: growth(samples, name) for name in names}
    says = ", ".join(f"{name} {by:+.1%}" for name, by in found.items())
    return Verdict(
        f"memory flat (growth of at most {tolerance:.0%})", bool(found) and max(found.values()) <= tolerance, says
    )


def p99_steady(ours: Sequence[Load], empty: Sequence[Load], ratio: float = STEADY_RATIO) -> Verdict:
    """The last third is not slower than the first, beyond what the empty endpoint became slower by meanwhile."""
    first, last = ours[0].quantile(0.99), ours[-1].quantile(0.99)
    machine = max(1.0, empty[-1].quantile(0.99) / empty[0].quantile(0.99))
    says = (
        f"{first:.1f} ms in the first third, {last:.1f} ms in the last; the empty endpoint {machine:.2f} times as slow"
    )
    return Verdict(f"p99 steady (at most {ratio:g} times)", last <= first * ratio * machine, says)


def swaps_seen(swaps: Sequence[Swap], wanted: int) -> Verdict:
    """As many models as wanted came into use."""
    says = ", ".join(
        f"{swap.version} at {swap.at:.0f} s "
        + ("was never in use" if swap.after is None else f"in use after {swap.after:.1f} s")
        for swap in swaps
    )
    seen = sum(swap.after is not None for swap in swaps)
    return Verdict(f"models swapped ({wanted})", seen == len(swaps) == wanted, says or "none")


def swaps_unnoticed(swaps: Sequence[Swap], load: Load) -> Verdict:
    """No request that was due while a model came into use took longer than the slowest of the others."""
    during = np.zeros(len(load.due), dtype=bool)
    for swap in swaps:
        during |= (load.due >= swap.at) & (load.due < swap.at + (swap.after or 0.0) + SETTLE_SECONDS)
    if not during.any() or during.all():
        return Verdict("swaps unnoticed", False, "there was no request to compare")
    slowest, others = load.seconds[during].max() * 1000, load.seconds[~during].max() * 1000
    says = f"slowest of {during.sum():,} requests during swaps {slowest:.0f} ms, of all others {others:.0f} ms"
    return Verdict("swaps unnoticed (none slower than the rest)", bool(slowest <= others), says)


def stream_keeps_up(samples: Sequence[Sample], events_per_second: float, seconds: float = 60.0) -> Verdict:
    """In the last third, no more events wait than come in a minute."""
    waiting = [sample.waiting for sample in samples[len(samples) * 2 // 3 :]]
    most = max(waiting, default=0)
    passed = bool(waiting) and most <= events_per_second * seconds
    return Verdict(f"stream keeps up ({seconds:g} s)", passed, f"at most {most:,} events waited in the last third")
