"""What may be asked of the service and what it answers: the models behind validation and the OpenAPI page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from feature_repo.contract import Identifier
from feature_repo.filters import Filters
from feature_repo.settings import get_settings
from serving.answering.answers import Missing
from training.scenarios import SCENARIOS

_MAX_K = get_settings().serving.max_k
_SCENARIOS = "; ".join(f"`{name}`: {composition.summary}" for name, composition in SCENARIOS.items())


class RequestModel(BaseModel):
    """Strict about types, and about field names: a misspelt filter must not be silently ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RecommendRequest(RequestModel):
    """Recommendations in a scenario."""

    user_id: Identifier | None = Field(None, description="the shop's id of the customer")
    anonymous_id: Identifier | None = Field(
        None, description="the tracker's id of the visitor; used if nothing is known of user_id"
    )
    k: Annotated[int, Field(ge=1, le=_MAX_K, description=f"how many products, 1 to {_MAX_K}")] = 10
    scenario: str = Field("home", description=f"where they will be shown: {_SCENARIOS}; or one of the shop's own")
    context_items: list[Identifier] = Field(
        [],
        max_length=100,
        description="products on the page or in the cart: count as just viewed, are not recommended; "
        "in the scenario `list`, those to be put in order, of which the best `k` are answered",
    )
    exclude: list[Identifier] = Field([], max_length=1_000, description="products not to recommend")
    filters: Filters = Filters()
    device: Literal["desktop", "mobile", "tablet"] | None = Field(None, description="what the customer holds")
    country: Identifier | None = Field(
        None, description="where the customer is, in the words of the events' `context.country`; for unknown visitors"
    )
    explain: bool = Field(False, description="whether to tell what moved each score (`why`); takes longer")


class Why(BaseModel):
    """A feature that moved a score, or a rule of the shop's."""

    feature: str
    value: float | None = Field(description="null: unknown, which says something too")
    effect: float = Field(description="the score minus the score without it")
    age_ms: int | None = Field(description="time since the event that it rests on; null: it rests on none")


class RecommendedItem(BaseModel):
    """One recommended product."""

    product_id: str
    score: float = Field(description="comparable within one answer only; diversity and pins may change the order")
    source: Literal[
        "recent",
        "bought",
        "following",
        "together",
        "bought_together",
        "taste",
        "similar",
        "alike",
        "shown",
        "new",
        "trending",
        "segment",
        "popular",
        "pinned",
        "given",
        "country",
        "device",
    ] = Field(description="what proposed the product")
    reason: str = Field(description="why, in words for the customer")
    why: list[Why] = Field([], description="only if asked for with `explain`")


class Answer(BaseModel):
    """What is answered."""

    items: list[RecommendedItem]
    model_version: str | None = Field(description="null: there is no model yet")
    feature_age_ms: int | None = Field(description="time since the customer's last known event; null: none known")
    catalogue_age_ms: int | None = Field(
        description="how long ago the item features were read that the answer rests on; null: there are none"
    )
    fallback: Literal["session", "popular", "empty"] | None = Field(
        description="null: as asked for; session: from context_items alone; popular: from what others do; "
        "empty: there is nothing that may be recommended"
    )
    degraded: list[Missing] = Field(
        description="what the answer had to do without. customer: his features could not be read in time; ranker, explanations, "
        "exploration: no time was left for it; model: there is none that can be used; catalogue: the item features are stale, "
        "or not there"
    )
    request_id: str = Field(
        description="to be sent with the event Product List Viewed of the page that shows the answer"
    )
    experiment: str | None = Field(description="the experiment that the customer takes part in; null: none")
    variant: str | None = Field(description="his variant in it")


class ErrorDetail(BaseModel):
    """What was wrong with a request."""

    code: str
    message: str
    field: str | None = Field(description="dotted path of the field at fault")


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail
