"""Orders of so many lines that they would not fit into an event in full; what features need of them does."""

from __future__ import annotations

from typing import Any

import orjson

from feature_repo.settings import get_settings

_NEEDED = ("product_id", "price", "quantity")
# The rest of the event has to fit, too.
_SHARE = 0.75


def fitted(products: Any) -> Any:
    """The products of one event: in full, or where that would be too large, with id, price and quantity only.

    Args:
        products: as JSON can hold them; what is no list of objects stays as it is.
    """
    if not isinstance(products, list) or not all(isinstance(product, dict) for product in products):
        return products
    if len(orjson.dumps(products)) <= _SHARE * get_settings().collector.max_event_bytes:
        return products
    return [{name: product[name] for name in _NEEDED if name in product} for product in products]
