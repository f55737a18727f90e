"""Comparing two variants while the customers come, as often as one likes, and whether the assignment worked.

The interval of a difference is a confidence sequence: with the chance that it promises, it covers the true difference at all
looks together, so that stopping at the first look that shows one is no cheating. It is the normal mixture of Robbins
("Statistical methods related to the law of the iterated logarithm", 1970), as made sharpest at a planned size by Howard et
al. ("Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021), and with estimated variances, which makes it
hold for large samples, by Waudby-Smith et al. ("Time-uniform central limit theory and asymptotic confidence sequences",
2024). Where it leaves zero out, the mixture sequential probability ratio test of Johari et al. ("Peeking at A/B tests",
2017) rejects. The sample-ratio test may be looked at as often, too (Lindon and Malek, "Anytime-valid inference for multinomial
count data", 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from feature_repo.reading import Floats

# Before so much is to be expected in each variant, if they are alike, the normal approximation is not to be trusted.
MIN_CUSTOMERS = 100
MIN_POSITIVE = 20
# Of experiments whose assignment works, at most one in a thousand ever looks broken.
MISMATCH_BELOW = 0.001
# How close to the declared shares a broken assignment is taken to be: as after so many customers.
_CONCENTRATION = 1_000


@dataclass(frozen=True)
class Summary:
    """Outcomes of the customers of a variant: how many, their mean and variance, and how many are not 0."""

    count: int
    mean: float
    variance: float
    positive: int

    @classmethod
    def of(cls, values: Floats) -> Summary:
        """Of one value per customer."""
        if not len(values):
            return cls(0, 0.0, 0.0, 0)
        return cls(len(values), float(values.mean()), float(values.var()), int(np.count_nonzero(values)))


@dataclass(frozen=True)
class Difference:
    """A variant's mean minus the control's, with its confidence sequence and always valid p-value at this look.

    ``low``, ``high`` and ``p`` are None while it is too early to tell.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None


def difference(control: Summary, variant: Summary, planned: int, alpha: float = 0.05) -> Difference:
    """How much better a variant is than the control.

    Args:
        planned: number of customers of both at which the interval is to be sharpest.
        alpha: chance that the interval ever fails to cover the true difference.
    """
    value = variant.mean - control.mean
    both = _pooled(control, variant)
    fewest = min(control.count, variant.count)
    if fewest < MIN_CUSTOMERS or fewest * both.positive < MIN_POSITIVE * both.count:
        return Difference(value, None, None, None)
    # A small variant in which hardly anybody has ordered yet looks as if its customers were all alike; they are as unlike as all.
    variance = sum(max(one.variance, both.variance) / one.count for one in (control, variant))
    if not variance:  # all alike
        return Difference(value, None, None, None)
    growth = 1 + (control.count + variant.count) * _mixture(planned, alpha)
    radius = math.sqrt(variance * growth / (growth - 1) * math.log(growth / alpha**2))
    evidence = value**2 / variance * (growth - 1) / growth / 2
    return Difference(value, value - radius, value + radius, min(1.0, math.sqrt(growth) * math.exp(-evidence)))


def _pooled(one: Summary, other: Summary) -> Summary:
    """Of the customers of both."""
    count = one.count + other.count
    if not count:
        return one
    mean = (one.count * one.mean + other.count * other.mean) / count
    squares = sum(part.count * (part.variance + (part.mean - mean) ** 2) for part in (one, other))
    return Summary(count, mean, squares / count, one.positive + other.positive)


def _mixture(planned: int, alpha: float) -> float:
    """The mixture's variance beside that of one customer's outcome, with which the interval is narrowest at a size."""
    level = -2 * math.log(alpha)
    return (level + math.log(level + 1)) / planned


def mismatch(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """The chance that numbers of customers are ever as far from the declared shares as these, if the assignment works.

    It is the likelihood of the counts under the declared shares, by that under shares drawn from a Dirichlet distribution
    around them; at most 1.
    """
    came, declared = (np.array([part[name] for name in shares], dtype=float) for part in (counts, shares))
    prior = _CONCENTRATION * declared
    drawn = gammaln(prior.sum()) - gammaln(prior.sum() + came.sum()) + (gammaln(prior + came) - gammaln(prior)).sum()
    return float(np.exp(min(0.0, came @ np.log(declared) - drawn)))
