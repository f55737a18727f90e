"""The event contract: what an event must look like, as one versioned schema.

The shape is Segment's e-commerce specification, so that the SDKs of Segment and RudderStack can be pointed here as they
are. Everything that needs the contract derives from the models below: the collector validates with them, Spark's schema
and checks are built by walking them (``ingestion/events/parsing.py``), and ``docs/events.md`` is printed from them
(``python -m feature_repo.contract``).
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

CONTRACT_VERSION = 1


def _number_as_text(value: Any) -> Any:
    """Shops often send numeric ids as numbers; Spark's JSON reader takes them as text, and so does the contract."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


String = Annotated[str, BeforeValidator(_number_as_text)]
Identifier = Annotated[String, Field(min_length=1, max_length=200)]
Text = Annotated[String, Field(max_length=2_000)]
Price = Annotated[float, Field(ge=0, le=1_000_000)]
Amount = Annotated[float, Field(ge=0, le=100_000_000)]
Quantity = Annotated[int, Field(ge=0, le=10_000)]
Position = Annotated[int, Field(ge=0, le=10_000)]


class Reason(StrEnum):
    """Why an event was refused: the reason codes of the quarantine."""

    EMPTY = "empty"
    OVERSIZED = "oversized"
    MALFORMED_JSON = "malformed_json"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    TOO_LONG = "too_long"
    ABSURD_VALUE = "absurd_value"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_EVENT = "unknown_event"
    BAD_TIMESTAMP = "bad_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"
    NEWER_VERSION = "newer_version"
    ERASED_CUSTOMER = "erased_customer"


class ContractModel(BaseModel):
    """Strict about types (a price is a number), tolerant of extra keys, which are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Product(ContractModel):
    """One product inside an event."""

    product_id: Identifier = Field(description="the shop's id of the product, as in its catalogue")
    sku: Identifier | None = Field(None, description="stock keeping unit")
    name: Text | None = Field(None, description="display name")
    category: Text | None = Field(None, description="category path, levels separated by `/`")
    brand: Text | None = Field(None, description="brand")
    variant: Text | None = Field(None, description="colour, size and the like")
    price: Price | None = Field(None, description="price of one piece, in the event's currency")
    quantity: Quantity | None = Field(None, description="pieces")
    coupon: Text | None = Field(None, description="coupon applied to this product")
    position: Position | None = Field(None, description="place in the list, from 1")
    url: Text | None = Field(None, description="address of the product page")
    image_url: Text | None = Field(None, description="address of the picture")


class Properties(ContractModel):
    """What happened, in detail. Single-product events may carry the product's fields here or in ``products``."""

    list_id: Identifier | None = Field(None, description="which list was shown")
    request_id: Identifier | None = Field(
        None, description="of a list of recommendations: the `request_id` of the service's answer that it shows"
    )
    category: Text | None = Field(None, description="category of the list, or of the single product")
    query: Text | None = Field(None, description="what was searched for")
    order_id: Identifier | None = Field(None, description="the shop's id of the order; counted once")
    checkout_id: Identifier | None = Field(None, description="id of the checkout")
    cart_id: Identifier | None = Field(None, description="id of the cart")
    revenue: Amount | None = Field(None, description="value of the order without shipping and tax")
    total: Amount | None = Field(None, description="value of the order with shipping and tax")
    currency: Annotated[String, Field(max_length=3)] | None = Field(None, description="ISO 4217 code")
    rating: Annotated[float, Field(ge=0, le=100)] | None = Field(None, description="rating given in a review")
    products: list[Product] | None = Field(None, description="the products concerned, at most 500", max_length=500)
    product_id: Identifier | None = Field(None, description="as in `products[]`, for single-product events")
    sku: Identifier | None = Field(None, description="as in `products[]`")
    name: Text | None = Field(None, description="as in `products[]`")
    brand: Text | None = Field(None, description="as in `products[]`")
    variant: Text | None = Field(None, description="as in `products[]`")
    price: Price | None = Field(None, description="as in `products[]`")
    quantity: Quantity | None = Field(None, description="as in `products[]`")
    coupon: Text | None = Field(None, description="as in `products[]`")
    position: Position | None = Field(None, description="as in `products[]`")
    url: Text | None = Field(None, description="as in `products[]`")
    image_url: Text | None = Field(None, description="as in `products[]`")


class Context(ContractModel):
    """Where it happened. ``device`` and ``os`` may be a word or Segment's object.

    Without ``device``, the kind of device is read from ``userAgent``; without ``country``, it is read from ``location``.
    """

    sessionId: Identifier | None = Field(None, description="the visit, where the tracker knows it")
    country: Text | None = Field(None, description="country of the visitor")
    location: Any = Field(None, description="Segment's location object, with a `country`")
    device: Any = Field(
        None, description="`desktop`, `mobile`, `tablet`, or Segment's object with a `type` (`ios`, `android`: mobile)"
    )
    os: Any = Field(None, description="operating system, or Segment's object with a `name`")
    channel: Text | None = Field(None, description="how the visitor came")
    pagePath: Text | None = Field(None, description="path of the page (also read from Segment's `page.path`)")
    page: Any = Field(None, description="Segment's page object")
    locale: Text | None = Field(None, description="language and region")
    userAgent: Text | None = Field(None, description="the browser's own description")


class Event(ContractModel):
    """One call of a tracker."""

    type: Literal["track", "identify", "alias", "page", "screen", "group"] = Field(description="the kind of call")
    event: Annotated[String, Field(max_length=200)] | None = Field(None, description="what happened (`track` only)")
    messageId: Annotated[String, Field(min_length=1, max_length=100)] = Field(
        description="unique id; the same id seen again within the duplicate horizon is a duplicate"
    )
    userId: Annotated[String, Field(max_length=200)] | None = Field(
        None, description="the shop's id of a known customer; this or anonymousId is required"
    )
    anonymousId: Annotated[String, Field(max_length=200)] | None = Field(
        None, description="the tracker's id of a visitor"
    )
    previousId: Identifier | None = Field(None, description="the id that an `alias` call replaces")
    timestamp: str = Field(description="when it happened, ISO 8601 with an offset; the collector corrects clock skew")
    sentAt: str | None = Field(None, description="when the tracker sent it, by the tracker's clock")
    receivedAt: str | None = Field(None, description="when the collector took it")
    version: Annotated[int, Field(ge=1)] | None = Field(None, description="version of this contract; absent: 1")
    context: Context | None = Field(None, description="where it happened")
    properties: Properties | None = Field(None, description="details of a `track` call")
    traits: Any = Field(None, description="what an `identify` call says of the customer")


@dataclass(frozen=True)
class EventRule:
    """What a known ``track`` event must carry.

    Attributes:
        description: one line for people.
        needs_product: at least one product (in ``products`` or, for one product, flat in the properties).
        requires: properties that must be present.
    """

    description: str
    needs_product: bool = False
    requires: tuple[str, ...] = ()


LIST_VIEWED = "Product List Viewed"
SEARCHED = "Products Searched"
CLICKED = "Product Clicked"
VIEWED = "Product Viewed"
ADDED = "Product Added"
REMOVED = "Product Removed"
CART_VIEWED = "Cart Viewed"
CHECKOUT = "Checkout Started"
ORDERED = "Order Completed"
WISHLISTED = "Product Added to Wishlist"
REVIEWED = "Product Reviewed"

EVENTS: dict[str, EventRule] = {
    LIST_VIEWED: EventRule("a list of products was shown: the impressions", needs_product=True),
    SEARCHED: EventRule("the customer searched", requires=("query",)),
    CLICKED: EventRule("a product in a list was clicked", needs_product=True),
    VIEWED: EventRule("a product page was opened", needs_product=True),
    ADDED: EventRule("a product was put into the cart", needs_product=True),
    REMOVED: EventRule("a product was taken out of the cart", needs_product=True),
    CART_VIEWED: EventRule("the cart was opened"),
    CHECKOUT: EventRule("the customer went to the checkout"),
    ORDERED: EventRule("an order was placed", needs_product=True, requires=("order_id",)),
    WISHLISTED: EventRule("a product was put on the wish list", needs_product=True),
    REVIEWED: EventRule("a product was reviewed", needs_product=True),
}


@dataclass(frozen=True)
class Violation:
    """Why an event does not fulfil the contract: reason code, dotted field and a sentence for people."""

    reason: Reason
    field: str
    message: str


def check(event: Any) -> Violation | None:
    """The first violation of a decoded JSON value against the contract, or None if it may pass.

    The rules are those that Spark applies to what comes through Kafka; only lateness against the clock (a future
    timestamp) is left to the stream, which knows when the event arrived.
    """
    if isinstance(event, dict) and _version_of(event) > CONTRACT_VERSION:
        return Violation(
            Reason.NEWER_VERSION,
            "version",
            f"version {event['version']} is newer than {CONTRACT_VERSION}, which this installation understands",
        )
    try:
        parsed = Event.model_validate(event)
    except ValidationError as error:
        return _violation(error)
    if not (parsed.userId or "").strip() and not (parsed.anonymousId or "").strip():
        return Violation(Reason.MISSING_FIELD, "userId", "one of userId and anonymousId is required")
    if not is_timestamp(parsed.timestamp):
        return Violation(Reason.BAD_TIMESTAMP, "timestamp", f"{parsed.timestamp!r} is not an ISO 8601 time")
    return _check_track(parsed) if parsed.type == "track" else None


def _check_track(event: Event) -> Violation | None:
    if not event.event:
        return Violation(Reason.MISSING_FIELD, "event", "a track call needs the name of the event")
    rule = EVENTS.get(event.event)
    if rule is None:
        return Violation(Reason.UNKNOWN_EVENT, "event", f"{event.event!r} is none of: {', '.join(EVENTS)}")
    properties = event.properties or Properties()
    if rule.needs_product and not properties.products and not properties.product_id:
        return Violation(Reason.MISSING_FIELD, "properties.products", f"{event.event} needs a product")
    for name in rule.requires:
        if getattr(properties, name) is None:
            return Violation(Reason.MISSING_FIELD, f"properties.{name}", f"{event.event} needs {name}")
    return None


ISO_8601 = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})?$"


def is_timestamp(text: str) -> bool:
    """Whether ``text`` is a date and time that the contract accepts."""
    if not re.match(ISO_8601, text):
        return False
    try:
        time_of(text)
    except ValueError:
        return False
    return True


def time_of(text: str) -> datetime:
    """The moment that a timestamp of the contract names; without an offset it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_REASON_OF_PYDANTIC_ERROR = {
    "missing": Reason.MISSING_FIELD,
    "string_too_short": Reason.MISSING_FIELD,
    "string_too_long": Reason.TOO_LONG,
    "too_long": Reason.TOO_LONG,
    "literal_error": Reason.UNKNOWN_TYPE,
    "greater_than_equal": Reason.ABSURD_VALUE,
    "less_than_equal": Reason.ABSURD_VALUE,
    "finite_number": Reason.ABSURD_VALUE,
}


def _version_of(event: dict[str, Any]) -> int:
    version = event.get("version")
    return version if isinstance(version, int) and not isinstance(version, bool) else 0


def _violation(error: ValidationError) -> Violation:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"] if not isinstance(part, int)) or "(event)"
    reason = _REASON_OF_PYDANTIC_ERROR.get(first["type"], Reason.WRONG_TYPE)
    if first["input"] is None:
        reason = Reason.MISSING_FIELD
    elif field == "timestamp" and reason is Reason.WRONG_TYPE:
        reason = Reason.BAD_TIMESTAMP
    return Violation(reason, field, f"{field}: {first['msg']}")


def json_schema() -> dict[str, Any]:
    """The contract as a JSON Schema document (draft 2020-12)."""
    schema = Event.model_json_schema()
    schema["title"] = f"Shelfwise event, version {CONTRACT_VERSION}"
    return schema


def as_markdown() -> str:
    """The contract as a page for people, printed by ``python -m feature_repo.contract``."""
    lines = [
        f"# The event contract, version {CONTRACT_VERSION}",
        "",
        "Printed by `python -m feature_repo.contract` from `feature_repo/contract.py`; do not edit by hand.",
        "",
        "## Events",
        "",
        "| event | meaning | must carry |",
        "| --- | --- | --- |",
    ]
    for name, rule in EVENTS.items():
        needs = (["a product"] if rule.needs_product else []) + [f"`{field}`" for field in rule.requires]
        lines.append(f"| {name} | {rule.description} | {', '.join(needs)} |")
    for model in (Event, Properties, Product, Context):
        lines += ["", f"## {model.__name__}", "", inspect.getdoc(model) or "", ""]
        lines += ["| field | required | meaning |", "| --- | --- | --- |"]
        for field_name, field in model.model_fields.items():
            required = "yes" if field.is_required() else ""
            lines.append(f"| `{field_name}` | {required} | {field.description} |")
    lines += ["", "## Reasons for quarantine", ""]
    lines += [f"- `{reason.value}`" for reason in Reason]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
