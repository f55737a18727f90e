"""What may be asked of the service and what it answers: the models behind validation and the OpenAPI page."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from feature_repo.contract import Identifier, Price, Text
from feature_repo.settings import get_settings

_MAX_K = get_settings().serving.max_k

Count = Annotated[int, Field(ge=1, le=_MAX_K, description=f"how many products, 1 to {_MAX_K}")]


class Scenario(StrEnum):
    """Where the recommendations will be shown."""

    HOME = "home"
    PRODUCT = "product"
    CART = "cart"


class RequestModel(BaseModel):
    """Strict about types, and about field names: a misspelt filter must not be silently ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Filters(RequestModel):
    """Which products may be recommended."""

    category: Text | None = Field(None, description="category path or its beginning, for example `Apparel/Men's`")
    brand: Text | None = Field(None, description="exact brand")
    min_price: Price | None = Field(None, description="lowest price; products without price are left out")
    max_price: Price | None = Field(None, description="highest price; products without price are left out")

    @model_validator(mode="after")
    def _in_order(self) -> Filters:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("min_price is greater than max_price")
        return self


class RecommendRequest(RequestModel):
    """Recommendations for a customer."""

    user_id: Identifier | None = Field(None, description="the shop's id of the customer; this or anonymous_id")
    anonymous_id: Identifier | None = Field(
        None, description="the tracker's id of the visitor; used if nothing is known of user_id"
    )
    k: Count = 10
    scenario: Annotated[Scenario, Field(strict=False)] = Field(
        Scenario.HOME, description="`home` leaves out what the customer has bought"
    )
    context_items: list[Identifier] = Field(
        [], max_length=100, description="products on the page or in the cart; count as just viewed, are not recommended"
    )
    exclude: list[Identifier] = Field([], max_length=1_000, description="products not to recommend")
    filters: Filters = Filters()
    device: Literal["desktop", "mobile", "tablet"] | None = Field(None, description="what the customer holds")

    @model_validator(mode="after")
    def _some_id(self) -> RecommendRequest:
        if self.user_id is None and self.anonymous_id is None:
            raise ValueError("one of user_id and anonymous_id is required")
        return self


class SimilarRequest(RequestModel):
    """Products that go with a product."""

    product_id: Identifier
    k: Count = 10


class TrendingRequest(RequestModel):
    """Products that are asked for more than usual."""

    k: Count = 10
    category: Text | None = Field(None, description="category path or its beginning")


class RecommendedItem(BaseModel):
    """One recommended product."""

    product_id: str
    score: float = Field(description="comparable within one answer only")
    source: Literal["recent", "together", "taste", "similar", "trending", "popular"] = Field(
        description="what proposed the product"
    )
    reason: str = Field(description="why, in words for the customer")


class Answer(BaseModel):
    """What every endpoint answers."""

    items: list[RecommendedItem]
    model_version: str | None = Field(description="null: there is no model yet")
    feature_age_ms: int | None = Field(description="time since the customer's last known event; null: none known")
    fallback: Literal["session", "popular", "empty"] | None = Field(
        description="null: personal (or as asked for); session: from context_items alone; popular: from what others do; "
        "empty: there is nothing that may be recommended"
    )
    request_id: str


class ErrorDetail(BaseModel):
    """What was wrong with a request."""

    code: str
    message: str
    field: str | None = Field(description="dotted path of the field at fault")


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail
