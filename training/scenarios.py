"""Scenarios: where recommendations are shown, each a declared composition of candidates, filters and ranking.

A shop adds one by declaring it, here or in its rules file (``serving/rules/declared.py``); nothing else knows their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from feature_repo.filters import Filters
from training.candidates.gathering import HOME_SHARES
from training.candidates.sources import Source
from training.ranking.rankers import Purpose


class Ranking(StrEnum):
    """What puts candidates in order."""

    RANKER = "ranker"  # the trained ranker; popularity without a model, or for whom nothing is known of (but in lists)
    STRENGTH = "strength"  # the sum over the sources of share times score
    SOURCES = "sources"  # one source after the other, each in its own order


class About(StrEnum):
    """Which products proposals should go with."""

    VISITOR = "visitor"  # all that the visitor did lately
    PAGE = "page"  # the products in the request's context, else the one that the visitor looked at last
    CART = "cart"  # the products in the request's context, else those that the visitor has carted
    ORDER = "order"  # the products in the request's context, else those of the visitor's latest order
    LIST = "list"  # all that the visitor did lately; nothing but the products in the request's context is recommended


class Need(StrEnum):
    """What a request must say for a scenario to make sense."""

    CUSTOMER = "customer"
    CONTEXT = "context"
    CATEGORY = "category"


class Bought(StrEnum):
    """What happens to products that the customer has bought."""

    KEEP = "keep"
    WAIT = "wait"  # they are left out until they are due to be bought again, for ever if no cycle is known


class Cap(BaseModel):
    """At most so many products of one brand, category path or department (the path's first level)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["brand", "category", "department"]
    most: int = Field(ge=1)


def _by_name(name: Any) -> Any:
    known = {source.name.lower(): source for source in Source if source not in (Source.POPULAR, Source.PINNED)}
    if isinstance(name, str) and name not in known:
        raise ValueError(f"there is no source {name!r}; there are {', '.join(known)}")
    return known.get(name, name)


class Composition(BaseModel):
    """A scenario.

    Attributes:
        summary: one line for people.
        sources: the share of the candidates that each may fill, in order of precedence.
        ranking: what puts the candidates in order.
        purpose: the question that the ranker answers, if it does.
        about: which products they should go with.
        needs: of these, a request must have one; none: it need not have any.
        bought: what happens to bought products.
        filters: only such products are recommended.
        fill: whether popular products fill up what the sources leave.
        diversity: how much being unlike the products before counts beside the score, 0 to 1.
        caps: most products of one kind.
        new_every: of so many places, the middle one is kept for a new arrival, if one waits to be seen; 0: none is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: str
    sources: dict[Annotated[Source, BeforeValidator(_by_name)], Annotated[float, Field(gt=0, le=1)]]
    ranking: Ranking
    purpose: Purpose = Purpose.TURN
    about: About = About.VISITOR
    needs: tuple[Need, ...] = ()
    bought: Bought = Bought.KEEP
    filters: Filters = Filters()
    fill: bool = True
    diversity: float = Field(0.0, ge=0, le=1)
    caps: tuple[Cap, ...] = ()
    new_every: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _whole_lists(self) -> Composition:
        if (self.about is About.LIST) != (Source.GIVEN in self.sources):
            raise ValueError('about = "list" and the source `given` go together')
        if self.purpose is Purpose.LIST and self.about is not About.LIST:
            raise ValueError('purpose = "list" needs about = "list": that ranker compares the products of whole lists')
        return self

    @model_validator(mode="after")
    def _something_new(self) -> Composition:
        if self.new_every and Source.NEW not in self.sources:
            raise ValueError("new_every needs the source `new`")
        return self


HOME = Composition(
    summary="what the customer may want next; without what was bought, until it is due again",
    sources=dict(HOME_SHARES),
    ranking=Ranking.RANKER,
    needs=(Need.CUSTOMER,),
    bought=Bought.WAIT,
    diversity=0.05,
    new_every=10,
)

# The order of the home page's candidates by the ranker and nothing else: what models are compared by. Leaving out what was
# bought, showing new products and diversity are there for other reasons than to guess the next product.
RANKING_ALONE = HOME.model_copy(update={"bought": Bought.KEEP, "diversity": 0.0, "new_every": 0})

SCENARIOS: Mapping[str, Composition] = {
    "home": HOME,
    "product": Composition(
        summary="similar products and alternatives to the product in `context_items`",
        sources={Source.TOGETHER: 0.5, Source.SIMILAR: 0.5, Source.NEW: 0.02, Source.ALIKE: 0.2},
        ranking=Ranking.STRENGTH,
        about=About.PAGE,
        needs=(Need.CONTEXT,),
        new_every=10,
    ),
    "cart": Composition(
        summary="what goes with the cart: `context_items`, else what the customer has put into it",
        sources={Source.BOUGHT_TOGETHER: 0.6, Source.TOGETHER: 0.3, Source.SIMILAR: 0.1, Source.TASTE: 0.1},
        ranking=Ranking.STRENGTH,
        about=About.CART,
        needs=(Need.CUSTOMER, Need.CONTEXT),
        bought=Bought.WAIT,
    ),
    "post_purchase": Composition(
        summary="what goes with the order just placed: `context_items`, else the customer's latest",
        sources={Source.BOUGHT_TOGETHER: 0.6, Source.TOGETHER: 0.2, Source.TASTE: 0.2},
        ranking=Ranking.STRENGTH,
        about=About.ORDER,
        needs=(Need.CUSTOMER, Need.CONTEXT),
        bought=Bought.WAIT,
    ),
    "buy_again": Composition(
        summary="what the customer bought and is due to buy again",
        sources={Source.BOUGHT: 1.0},
        ranking=Ranking.SOURCES,
        needs=(Need.CUSTOMER,),
        fill=False,
    ),
    "trending": Composition(
        summary="what is asked for more now than usual",
        sources={Source.TRENDING: 1.0},
        ranking=Ranking.SOURCES,
    ),
    "category": Composition(
        summary="the products of `filters.category` in the order of the customer's interest",
        sources={**HOME_SHARES, Source.NEW: 0.1},
        ranking=Ranking.RANKER,
        needs=(Need.CATEGORY,),
        new_every=10,
    ),
    "list": Composition(
        summary="the products of `context_items`, which are to be shown together, in the order of the customer's interest",
        sources={Source.GIVEN: 1.0},
        ranking=Ranking.RANKER,
        purpose=Purpose.LIST,
        about=About.LIST,
        needs=(Need.CONTEXT,),
        fill=False,
    ),
}
