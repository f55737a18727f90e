"""What the engine answers; :class:`serving.requests.Answer` is how it looks from outside."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Recommended products and what they rest on."""

    items: list[Item]
    model_version: str | None
    fallback: str | None
