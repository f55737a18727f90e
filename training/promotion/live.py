"""What the running service's metrics say of each version of the model.

Counters begin at zero whenever the service starts. What is added between two looks is summed up in a file, so that the version
before can still be compared with when a restart has made the service forget it.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from feature_repo.errors import InputError, UnavailableError
from feature_repo.models import promotions
from feature_repo.models.promotions import Promotion
from feature_repo.settings import get_settings

_TIMEOUT_SECONDS = 5.0
# Codes of errors that are the service's doing, not that of who asks: no answer at all, or one without the model that failed.
_FAILED = ("internal_error", "model_failed")
ANSWERS, FALLBACKS, FAILURES, WITHIN = "answers", "fallbacks", "failures", "within "
Counts = dict[str, float]


def read_counts() -> dict[str, Counts]:
    """The service's counters now, by version: answers, fallbacks, failures, and answers within each bucket's seconds.

    Raises:
        UnavailableError: the service cannot be reached.
    """
    settings = get_settings()
    url = settings.watch.metrics_url or f"http://{settings.serving.host}:{settings.serving.port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            return parse(answer.read().decode())
    except (OSError, urllib.error.URLError) as error:
        advice = "start the service, or set SHELFWISE_WATCH__METRICS_URL"
        raise UnavailableError(f"{url} cannot be read ({error}): {advice}") from error


def parse(text: str) -> dict[str, Counts]:
    """Counters by version from Prometheus' text format."""
    versions: dict[str, defaultdict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "model" not in sample.labels:
                continue
            counts = versions.setdefault(sample.labels["model"], defaultdict(float))
            if sample.name == "shelfwise_requests_total":
                counts[ANSWERS] += sample.value
                counts[FALLBACKS] += sample.value * (sample.labels["fallback"] != "none")
            elif sample.name == "shelfwise_errors_total":
                counts[FAILURES] += sample.value * (sample.labels["code"] in _FAILED)
            elif sample.name == "shelfwise_latency_seconds_bucket":
                counts[WITHIN + sample.labels["le"]] += sample.value
    return {version: dict(counts) for version, counts in versions.items()}


def look(stack: tuple[Promotion, ...]) -> Mapping[str, Counts]:
    """Read the service's counters; gives the sums by version since each was promoted last, as far as was looked.

    Args:
        stack: the promotions, at least one.
    """
    now, path = read_counts(), promotions.path().with_suffix(".live.json")
    known = _read(path)
    sums = known["sums"]
    if stack[-1].at > known["promotion"]:
        sums.pop(stack[-1].version, None)  # what it did when it was in force before does not count
    for version, counts in now.items():
        added = _added(counts, known["last"].get(version, {}))
        sums[version] = {name: sums.get(version, {}).get(name, 0.0) + count for name, count in added.items()}
    kept = {promotion.version for promotion in stack}
    latest = max(stack[-1].at, known["promotion"])
    state = {"promotion": latest, "last": now, "sums": {name: one for name, one in sums.items() if name in kept}}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(state, indent=1))
    os.replace(draft, path)
    return sums


def was_gone_back_to(stack: tuple[Promotion, ...]) -> bool:
    """Whether the version in force is there because a later promotion was rolled back, as far as was looked.

    Args:
        stack: the promotions, at least one.
    """
    return bool(stack[-1].at < _read(promotions.path().with_suffix(".live.json"))["promotion"])


def _added(now: Counts, last: Counts) -> Counts:
    """What came since the last look; everything, if the service was started anew since."""
    anew = any(now.get(name, 0.0) < count for name, count in last.items())
    return {name: count - (0.0 if anew else last.get(name, 0.0)) for name, count in now.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {"promotion": "", "last": {}, "sums": {}}
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}): remove it; live metrics are then summed up anew") from error
    return state


def share(counts: Counts, of: str) -> float:
    """Failures or fallbacks as a share of the requests that were taken."""
    total = counts.get(ANSWERS, 0.0) + (counts.get(FAILURES, 0.0) if of == FAILURES else 0.0)
    return counts.get(of, 0.0) / total if total else 0.0


def percentile(counts: Counts, level: float) -> float | None:
    """Seconds within which a share of the answers came, straight between the histogram's bounds; None without answers."""
    bounds = sorted(
        (float(name.removeprefix(WITHIN)), count) for name, count in counts.items() if name.startswith(WITHIN)
    )
    if not bounds or not bounds[-1][1]:
        return None
    wanted, lower, below = level * bounds[-1][1], 0.0, 0.0
    for bound, count in bounds:
        if count >= wanted:
            # Beyond the last bound nothing is known.
            return lower if bound == float("inf") else lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower
