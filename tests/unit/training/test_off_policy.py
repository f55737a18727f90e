"""The worth of a variant that nobody was shown, where the truth is known: chances of clicks are invented."""

from __future__ import annotations

import numpy as np

from training.experiments.off_policy import AS_SERVED, MIN_CLICKS, MIN_MATCHES, Draw, value

PLACES = 5
SOURCES = ("taste", "new", "popular")
APPEAL = {"taste": 0.3, "new": 0.1, "popular": 0.2}


def world(rng: np.random.Generator, answers: int, customers: int = 150) -> tuple[list[Draw], float, float]:
    """Draws, and the true worth of putting first what comes from taste, and of what was served (any product)."""
    persons = rng.integers(customers, size=answers)
    kinds = rng.integers(len(SOURCES), size=(answers, PLACES))
    appeal = np.array([APPEAL[source] for source in SOURCES])[kinds]
    chances = appeal + rng.normal(0, 0.05, customers)[persons][:, None] + rng.normal(0, 0.05, kinds.shape)
    chances, best = np.clip(chances, 0, 1), appeal.argmax(axis=1)
    drawn, rows = rng.integers(PLACES, size=answers), np.arange(answers)
    clicked = rng.random(answers) < chances[rows, drawn]
    ranks = rng.permuted(np.tile(np.arange(PLACES), (answers, 1)), axis=1)
    draws = [
        Draw(
            *(str(persons[row]), 1 / PLACES, bool(clicked[row]), int(drawn[row])),
            *({AS_SERVED: 0, "bold": int(best[row])}, [SOURCES[kind] for kind in kinds[row]], ranks[row].tolist()),
        )
        for row in rows
    ]
    return draws, float(chances[rows, best].mean()), float(chances[:, 0].mean())


def test_intervals_cover_the_true_worth() -> None:
    rng = np.random.default_rng(1)
    covered: dict[str, list[bool]] = {}
    gains, widths = [], {"inverse propensity": [], "doubly robust": []}
    for _ in range(30):
        draws, bold, served = world(rng, 800)
        found = value(draws, "bold")
        for method, estimate in found.estimates.items():
            covered.setdefault(method, []).append(estimate.low <= bold <= estimate.high)
            if method in widths:
                widths[method].append(estimate.high - estimate.low)
        gains.append(found.gain.low <= bold - served <= found.gain.high)
    assert set(covered) == {"inverse propensity", "self-normalised", "doubly robust"}
    assert all(np.mean(hits) >= 0.8 for hits in covered.values()), {
        name: np.mean(hits) for name, hits in covered.items()
    }
    assert np.mean(gains) >= 0.8
    assert np.mean(widths["doubly robust"]) < np.mean(widths["inverse propensity"])


def test_with_too_little_nothing_is_claimed() -> None:
    draws, *_ = world(np.random.default_rng(2), 100)
    found = value(draws, "bold")
    assert found.matches < MIN_MATCHES
    assert found.estimates == {}
    assert value(draws, "nobody").answers == 0
    assert value(draws, "nobody").unknown == 100


def test_what_is_not_known_is_told_apart() -> None:
    draws, *_ = world(np.random.default_rng(3), 1_000)
    for draw in draws[:300]:
        del draw.wanted["bold"]
    found = value(draws, "bold")
    assert (found.answers, found.unknown) == (700, 300)
    assert found.effective == found.matches, "all were drawn with the same chance"


def test_with_few_clicks_nothing_is_claimed() -> None:
    def draws(clicks: int) -> list[Draw]:
        wanted = {AS_SERVED: 0, "bold": 1}
        return [
            Draw(str(n), 0.5, n % 2 == 1 and n < 2 * clicks, n % 2, wanted, ("new", "new"), (0, 1)) for n in range(400)
        ]

    assert value(draws(0), "bold").estimates == {}
    assert value(draws(MIN_CLICKS - 1), "bold").estimates == {}
    assert value(draws(MIN_CLICKS), "bold").estimates["inverse propensity"].low > 0
