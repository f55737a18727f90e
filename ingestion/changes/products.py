"""From rows of the shop's product table to rows of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, ValidationError

from feature_repo.contract import Product, String
from feature_repo.tables import TIMESTAMP
from ingestion.changes.config import ProductsTable
from ingestion.crm.mapping import as_number, as_text, as_whole, moment

# From when on the catalogue takes a product for known that was there before anybody looked.
_ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)
_KEPT = {"name", "category", "brand", "price", "currency", "stock"}
_MOST_STOCK = 2**31
_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("event_timestamp", TIMESTAMP),
        ("name", pa.string()),
        ("category", pa.string()),
        ("brand", pa.string()),
        ("price", pa.float64()),
        ("currency", pa.string()),
        ("stock", pa.int64()),
        ("first_seen_at", pa.float64()),
        ("origin", pa.string()),
    ]
)


class _Sellable(Product):
    """What the catalogue takes of a product."""

    currency: Annotated[String, Field(max_length=3)] | None = None
    stock: Annotated[int, Field(ge=-_MOST_STOCK, le=_MOST_STOCK)] | None = None


@dataclass(frozen=True)
class ProductRow:
    """A product as of a moment.

    Attributes:
        fields: what the catalogue keeps, as the contract names it; it may break the contract.
        at: since when it is so.
        created_at: since when the shop has the product, if that is known.
    """

    fields: dict[str, Any]
    at: datetime
    created_at: datetime | None

    def objection(self) -> str | None:
        """What speaks against it; None if the catalogue can take it."""
        try:
            _Sellable.model_validate(self.fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        return None


def product_row(table: ProductsTable, row: dict[str, Any], at: datetime, found: bool, sold: bool) -> ProductRow:
    """What a row of the table says.

    Args:
        found: by a snapshot, so that nobody knows since when it is there.
        sold: whether it may be recommended.
    """

    def says(column: str) -> Any:
        return row[column] if column else None

    fields = {
        "product_id": as_text(says(table.product_id)),
        "name": as_text(says(table.name)),
        "category": as_text(says(table.category)),
        "brand": as_text(says(table.brand)),
        "price": as_number(says(table.price)),
        "currency": as_text(says(table.currency)),
        "stock": as_whole(says(table.stock)) if sold else 0,
    }
    created_at = moment(says(table.created_at)) or (None if found else at)
    return ProductRow({name: value for name, value in fields.items() if value is not None}, at, created_at)


def catalogue_rows(products: Iterable[ProductRow], known: dict[str, dict[str, Any]], says: set[str]) -> pa.Table:
    """Rows for :func:`ingestion.catalog.store.upsert`.

    Args:
        products: in the order of their changes.
        known: the products that the catalogue has, as they are there now, by id.
        says: which columns the table says; the others stay as they are known.
    """
    rows: dict[tuple[str, datetime], dict[str, Any]] = {}
    for product in products:
        id_ = product.fields["product_id"]
        seen = product.created_at and product.created_at.timestamp()
        kept = {name: value for name, value in known.get(id_, {}).items() if name in _KEPT - says}
        row = {**kept, **product.fields, "first_seen_at": seen, "origin": "catalog"}
        if product.created_at is None and id_ not in known:
            # Nothing older is known, and training has to know something of the past.
            rows.setdefault((id_, _ALWAYS), row)
        rows[(id_, product.at)] = row
    table = [{**row, "event_timestamp": at} for (_, at), row in rows.items()]
    return pa.Table.from_pylist(table, schema=_SCHEMA)
