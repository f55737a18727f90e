"""What a variant that nobody has been shown would be worth, from answers whose first place was drawn at random.

What is estimated is the chance that the product at the first place is clicked, if the variant chose it from the products of the
answer. By inverse propensity (Horvitz and Thompson, 1952), self-normalised (Swaminathan and Joachims, 2015), and doubly robust
(Dudik et al., 2011), with a model of clicks that is fitted on other customers than those that it is used on. Intervals are
bootstrap intervals over customers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from feature_repo import tables
from feature_repo.reading import Floats
from feature_repo.settings import get_settings
from training.evaluation.measures import Estimate, estimates
from training.experiments.exposures import outcome_tables

AS_SERVED = "as served"
MIN_MATCHES = 50
# Among so few clicks, the bootstrap does not know how many others might have come.
MIN_CLICKS = 20
_FOLDS = 2


@dataclass(frozen=True)
class Draw:
    """An answer with a drawn first place that was shown.

    Attributes:
        propensity: the chance of what was drawn.
        clicked: whether it was clicked.
        drawn: place of the drawn product in ``sources`` and ``ranks``.
        wanted: by policy, the place there of the product that it would have put first.
        sources, ranks: of each product of the answer, what proposed it and its place by score, from 0.
    """

    person: str
    propensity: float
    clicked: bool
    drawn: int
    wanted: dict[str, int]
    sources: Sequence[str]
    ranks: Sequence[int]


@dataclass(frozen=True)
class Value:
    """What a policy is worth: clicks of the first place per list.

    Attributes:
        answers: draws of which it is known what it would have put first.
        unknown: draws of which it would have put first what the answer did not have.
        matches: answers in which just that was drawn.
        effective: so many answers of its own would tell as much.
        estimates: by method; empty where there are too few matches, or clicks of them.
        gain: what it is worth more than what was served, doubly robust.
    """

    policy: str
    answers: int
    unknown: int
    matches: int
    effective: float
    estimates: dict[str, Estimate] = field(default_factory=dict)
    gain: Estimate | None = None


def read_draws(experiment: str, until: datetime) -> list[Draw]:
    """The drawn answers of an experiment that were shown, each as it was shown first.

    Args:
        until: as of when; what may still be clicked then is left out.
    """
    over = until - timedelta(minutes=get_settings().outcomes.click_minutes)
    with outcome_tables() as connection:
        rows = connection.execute(
            f"""
            WITH shown AS (
                SELECT request_id, person, shown_at, list_filter(items, lambda item: item.place = 1)[1] AS first
                FROM delta_scan('{tables.OUTCOMES.uri}') WHERE answered AND experiment = $name
                QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY shown_at, message_id) = 1
            ), answers AS (  -- one that Kafka was slow to confirm may be stored twice
                SELECT * FROM delta_scan('{tables.RECOMMENDATIONS.uri}') WHERE experiment = $name
                QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY answered_at) = 1
            )
            SELECT person, propensity, first.clicked_at IS NOT NULL, variant, map_entries(choices),
                list_transform(answers.items, lambda item: item.product_id),
                list_transform(answers.items, lambda item: item.source),
                list_transform(answers.items, lambda item: item.score)
            FROM shown JOIN answers USING (request_id)
            WHERE explored AND first IS NOT NULL AND shown_at <= $over ORDER BY answered_at, request_id
            """,
            {"name": experiment, "over": over},
        ).fetchall()
    draws = []
    for person, propensity, clicked, variant, choices, ids, sources, scores in rows:
        by_variant = {choice["key"]: ids.index(choice["value"]) for choice in choices}
        ranks = np.argsort(np.argsort(-np.array(scores), kind="stable")).tolist()
        wanted = {**by_variant, AS_SERVED: by_variant[variant]}
        draws.append(Draw(person, propensity, clicked, 0, wanted, sources, ranks))
    return draws


def value(draws: Sequence[Draw], policy: str, seed: int = 7) -> Value:
    """What a policy is worth, from the draws of which it is known what it would have put first."""
    known = [draw for draw in draws if policy in draw.wanted]
    matched = np.array([draw.wanted[policy] == draw.drawn for draw in known], dtype=bool)
    propensity = np.array([draw.propensity for draw in known])
    weights = np.where(matched, 1 / propensity, 0.0) if len(known) else np.zeros(0)
    effective = float(weights.sum() ** 2 / (weights**2).sum()) if matched.any() else 0.0
    base = Value(policy, len(known), len(draws) - len(known), int(matched.sum()), effective)
    rewards = np.array([draw.clicked for draw in known], dtype=float)
    if base.matches < MIN_MATCHES or rewards[matched].sum() < MIN_CLICKS:
        return base
    clusters = np.unique([draw.person for draw in known], return_inverse=True)[1]
    expected = _expected(known, [policy, AS_SERVED], rewards, clusters, seed)
    served = np.where([draw.wanted[AS_SERVED] == draw.drawn for draw in known], 1 / propensity, 0.0)
    normalised = float(weights @ rewards / weights.sum())
    robust = expected[:, 1] + weights * (rewards - expected[:, 0])
    columns = {
        "inverse propensity": weights * rewards,
        # Its mean is the ratio, and the deviation of its mean that of the ratio, linearised.
        "self-normalised": normalised + weights * (rewards - normalised) / weights.mean(),
        "doubly robust": robust,
        "gain": robust - expected[:, 2] - served * (rewards - expected[:, 0]),
    }
    found = dict(zip(columns, estimates(np.column_stack(list(columns.values())), clusters, seed), strict=True))
    gain = found.pop("gain")
    return Value(policy, base.answers, base.unknown, base.matches, effective, found, gain)


def _expected(
    draws: Sequence[Draw], policies: Sequence[str], rewards: Floats, clusters: NDArray[np.integer], seed: int
) -> Floats:
    """The chance of a click on what was drawn, and on what each policy wanted, shape (draws, 1 + policies).

    Customers are split in halves; the model for one half is fitted on the other.
    """
    from sklearn.linear_model import LogisticRegression

    words = sorted({source for draw in draws for source in draw.sources})
    places = [[draw.drawn, *(draw.wanted[policy] for policy in policies)] for draw in draws]
    features = np.array(
        [
            [[*(draw.sources[at] == word for word in words), np.log1p(draw.ranks[at])] for at in row]
            for draw, row in zip(draws, places, strict=True)
        ],
        dtype=float,
    )
    fold = np.random.default_rng(seed).integers(0, _FOLDS, int(clusters.max()) + 1)[clusters]
    expected = np.zeros(features.shape[:2])
    for number in range(_FOLDS):
        mine, others = fold == number, fold != number
        if len(np.unique(rewards[others])) < 2:
            expected[mine] = rewards[others].mean() if others.any() else rewards.mean()
            continue
        model = LogisticRegression(max_iter=1_000).fit(features[others, 0], rewards[others])
        for column in range(features.shape[1]):
            if mine.any():
                expected[mine, column] = model.predict_proba(features[mine, column])[:, 1]
    return expected
