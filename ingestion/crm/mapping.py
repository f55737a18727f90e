"""From a record of the API to an event of the contract.

A record that cannot be mapped becomes an event all the same, with whatever it does say: the contract's check refuses that, names
the field, and the quarantine keeps it. So there is one judge of what is good.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson

from feature_repo.contract import ORDERED, is_timestamp, time_of
from ingestion.collector.events import iso
from ingestion.crm.config import Customers, OrderShape, Resource, Where
from ingestion.exports.large_orders import fitted
from ingestion.json_text import as_json

_NOTHING: tuple[Any, ...] = (None, "", [], {})
_NO = (False, 0, "false", "0")
# Seconds since 1970 are below this until the year 5138, milliseconds above it since 1973. Smaller numbers are no times: a day
# may be written as 20260131.
_MILLISECONDS = 100_000_000_000
_SECONDS = 100_000_000
_BEYOND = 2**63
# What lies deeper in a record becomes text: JSON nested deeper than 250 levels cannot be written by orjson.
_DEEPEST = 100
# A day as Debezium writes it.
_DAY_IN_UTC = re.compile(r"^(\d{4}-\d\d-\d\d)Z$")


def at(record: Any, where: Where) -> Any:
    """What a record says at a path; None if nothing."""
    for path in [where] if isinstance(where, str) else where:
        found = record
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        if found not in _NOTHING:
            return found
    return None


def wanted(record: Any, resource: Resource) -> bool:
    """Whether a record is one of those that the configuration wants."""

    def says(path: str) -> bool:
        return at(record, path) not in (None, *_NO)

    return not any(map(says, resource.skip_if)) and all(map(says, resource.only_if))


def moment(value: Any) -> datetime | None:
    """The time that an API gives as ISO 8601, or as seconds or milliseconds since 1970; None if it is none."""
    try:
        if isinstance(value, str) and is_timestamp(value):
            return time_of(value).astimezone(UTC)
        if isinstance(value, str) and "-" in value.strip()[1:]:
            # Other forms of ISO 8601: without seconds, with an offset like +0000, a day alone, or one with a zone.
            found = datetime.fromisoformat(_DAY_IN_UTC.sub(r"\1", value.strip()))
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        seconds = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        if not seconds >= _SECONDS:
            return None
        return datetime.fromtimestamp(seconds / 1_000 if seconds >= _MILLISECONDS else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def event_of(name: str, kind: str, record: Any, resource: OrderShape | Customers) -> dict[str, Any]:
    """The event that a record becomes; it may break the contract.

    Args:
        name: of the API, as configured.
        kind: ``orders`` or ``customers``.
        record: as the API gave it.

    Returns:
        An event whose ``messageId`` follows from the rest of it, so that the same always has the same.
    """
    record = _writable(record)
    event = _order(name, record, resource) if isinstance(resource, OrderShape) else _identify(record, resource)
    if not isinstance(record, Mapping):
        event["record"] = record
    return identified(name, kind, event)


def identified(name: str, kind: str, event: dict[str, Any]) -> dict[str, Any]:
    """An event with where it comes from, and a ``messageId`` that follows from all else in it."""
    said = orjson.dumps(event, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    id_ = f"{name}:{kind}:{blake2b(said, digest_size=16).hexdigest()}"
    return {"messageId": id_, **event, "context": {**event.get("context", {}), "api": name, "resource": kind}}


def _writable(value: Any, depth: int = 0) -> Any:
    """A value of an answer as JSON can be written: Python reads halves of emojis, numbers of any length and any depth, too."""
    if depth > _DEEPEST and isinstance(value, dict | list):
        return as_json(value).decode()
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int) and not -_BEYOND <= value < _BEYOND:
        return str(value)
    if isinstance(value, dict):
        return {_writable(name): _writable(part, depth + 1) for name, part in value.items()}
    return [_writable(part, depth + 1) for part in value] if isinstance(value, list) else value


def _order(name: str, record: Any, resource: OrderShape) -> dict[str, Any]:
    fields = resource.fields
    order_id = as_text(at(record, fields.order_id))
    user_id, anonymous_id = as_text(at(record, fields.user_id)), as_text(at(record, fields.anonymous_id))
    if user_id is None and anonymous_id is None and order_id is not None:
        # Sold to somebody unknown: it counts for the products.
        anonymous_id = f"{name}-guest-{order_id}"[:200]
    lines = at(record, fields.products)
    products = [_product(line, resource) for line in lines] if isinstance(lines, list) else lines
    if isinstance(products, list):
        # Gift wrapping, tips and the like are lines without a product.
        products = [product for product in products if "product_id" in product]
    properties = {
        "order_id": order_id,
        "revenue": as_number(at(record, fields.revenue)),
        "total": as_number(at(record, fields.total)),
        "currency": as_text(at(record, fields.currency)),
        "products": fitted(products),
    }
    country = as_text(at(record, fields.country))
    return _filled(
        {
            "type": "track",
            "event": ORDERED,
            "userId": user_id,
            "anonymousId": anonymous_id,
            "timestamp": _time(at(record, fields.timestamp)),
            "properties": _filled(properties),
            "context": {"country": country} if country is not None else None,
        }
    )


def _product(line: Any, resource: OrderShape) -> dict[str, Any]:
    numbers: dict[str, Callable[[Any], Any]] = {"price": as_number, "quantity": as_whole}
    paths: Iterable[tuple[str, Where]] = resource.product
    return _filled({name: numbers.get(name, as_text)(at(line, where)) for name, where in paths})


def _identify(record: Any, resource: Customers) -> dict[str, Any]:
    fields = resource.fields
    return _filled(
        {
            "type": "identify",
            "userId": as_text(at(record, fields.user_id)),
            "anonymousId": as_text(at(record, fields.anonymous_id)),
            "timestamp": _time(at(record, fields.timestamp)),
            "traits": _filled({trait: at(record, where) for trait, where in resource.traits.items()}),
        }
    )


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def as_text(value: Any) -> Any:
    """Ids and names are text, also where an API gives numbers."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def as_number(value: Any) -> Any:
    """Amounts often come as text; what is no number is left for the contract to refuse."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value


def as_whole(value: Any) -> Any:
    """As :func:`as_number`, and a whole number without a fraction."""
    number = as_number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _time(value: Any) -> Any:
    found = moment(value)
    return iso(found) if found else as_text(value)
