"""What the service says of each answer that it gave, on its way through Kafka into the table ``recommendations``.

Serving writes it and the ingestion reads it; several answers travel in one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AnsweredItem(_Record):
    """One recommended product."""

    product_id: str
    source: str
    score: float


class Answered(_Record):
    """One answer.

    Attributes:
        answered_at: when.
        customer_id: whom the request named: the user id, else the anonymous id.
        experiment, variant: what the customer was assigned to, if anything.
        explored: whether the product at the first place was drawn at random from the list.
        propensity: the chance that this product had of coming first, where it was drawn.
        choices: where it was drawn, which product each variant that is only watched would have put first.
        items: the products as answered.
    """

    request_id: str = Field(min_length=1)
    answered_at: AwareDatetime
    scenario: str
    items: list[AnsweredItem]
    customer_id: str | None = None
    model_version: str | None = None
    fallback: str | None = None
    experiment: str | None = None
    variant: str | None = None
    explored: bool = False
    propensity: float | None = Field(None, gt=0, le=1)
    choices: dict[str, str] = {}


_MESSAGE = TypeAdapter(list[Answered])


def to_message(records: Sequence[dict[str, Any]]) -> bytes:
    """A message of some answers, given as the fields of :class:`Answered` (``answered_at`` in epoch seconds)."""
    return orjson.dumps(records)


def of_message(value: bytes) -> list[Answered]:
    """The answers in a message.

    Raises:
        ValueError: it is not one of :func:`to_message`.
    """
    return _MESSAGE.validate_json(value)
