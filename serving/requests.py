"""What may be asked: the bodies of the requests, checked before anything else is done."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Identifier = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(strict=True, ge=1, description="how many products to recommend")]


class Scenario(StrEnum):
    """Where the recommendations are shown."""

    HOME = "home"
    PRODUCT = "product"
    CART = "cart"


class Body(BaseModel):
    """A request body; unknown keys are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class Filters(Body):
    """Only products that fulfil all of these."""

    category: Identifier | None = Field(None, description="category path or the beginning of one, in whole levels")
    brand: Identifier | None = Field(None, description="brand")
    min_price: float | None = Field(None, ge=0, allow_inf_nan=False, description="lowest price")
    max_price: float | None = Field(None, ge=0, allow_inf_nan=False, description="highest price")


class RecommendRequest(Body):
    """``POST /recommend``: products for one customer."""

    user_id: Identifier | None = Field(None, description="the shop's id of the customer")
    anonymous_id: Identifier | None = Field(None, description="the tracker's id, where the user id is not known")
    k: Count = 10
    scenario: Scenario = Field(Scenario.HOME, description="where the recommendations are shown")
    context_items: list[Identifier] = Field(
        [], max_length=50, description="the product looked at, or those in the cart"
    )
    exclude: list[Identifier] = Field([], max_length=1_000, description="products never to recommend")
    filters: Filters = Field(default_factory=Filters)

    @model_validator(mode="after")
    def _someone(self) -> RecommendRequest:
        if not self.user_id and not self.anonymous_id:
            raise ValueError("one of user_id and anonymous_id is required")
        return self


class SimilarRequest(Body):
    """``POST /similar``: products like one product."""

    product_id: Identifier
    k: Count = 10
    exclude: list[Identifier] = Field([], max_length=1_000, description="products never to recommend")
    filters: Filters = Field(default_factory=Filters)


class TrendingRequest(Body):
    """``POST /trending``: products asked for more than usual now."""

    k: Count = 10
    exclude: list[Identifier] = Field([], max_length=1_000, description="products never to recommend")
    filters: Filters = Field(default_factory=Filters)


class Item(BaseModel):
    """One recommended product."""

    product_id: str
    score: float = Field(description="comparable within one answer only")
    source: str = Field(description="what proposed it")
    reason: str = Field(description="why, in words to show")


class Answer(BaseModel):
    """What every endpoint gives."""

    items: list[Item]
    model_version: str | None = Field(description="version in BentoML's store; null if there is no model yet")
    feature_age_ms: int | None = Field(description="time since the customer's last known event")
    fallback: str | None = Field(
        description="null: personal; session: from context_items alone; trending, popular or empty: nothing was known"
    )
    request_id: str
