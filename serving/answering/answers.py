"""What the engine answers; :class:`serving.web.requests.Answer` is how it looks from outside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Missing(StrEnum):
    """What an answer had to do without; the values are what clients see in ``degraded``."""

    CUSTOMER = "customer"  # his features could not be read in time
    RANKER = "ranker"  # no time was left for it: in the order of the sources' strengths
    EXPLANATIONS = "explanations"  # nor for them, although they were asked for
    EXPLORATION = "exploration"  # nor for what an experiment draws
    MODEL = "model"  # there is none that can be used
    CATALOGUE = "catalogue"  # the item features in memory are stale, or not there


@dataclass(frozen=True)
class Item:
    """One recommended product."""

    product_id: str
    score: float
    source: str
    reason: str


@dataclass(frozen=True)
class Cause:
    """What moved a score: ``effect`` is by how much, ``age_ms`` the time since what it rests on last changed."""

    feature: str
    value: float | None
    effect: float
    age_ms: int | None


@dataclass(frozen=True)
class ExplainedItem(Item):
    """One recommended product, with what moved its score most."""

    why: list[Cause]


@dataclass(frozen=True)
class Result:
    """Recommended products and what they rest on.

    Attributes:
        degraded: what was missing.
        catalogue_at: as of when the item features are, epoch seconds; None without any.
    """

    items: list[Item]
    model_version: str | None
    fallback: str | None
    degraded: tuple[Missing, ...] = ()
    catalogue_at: float | None = None
