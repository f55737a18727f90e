"""Which tables and columns of a shop's database are orders, order lines and products: the file given to ``ingestion cdc``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from feature_repo.sections.section import Section
from feature_repo.settings import get_settings
from feature_repo.toml_files import declared, read_toml
from ingestion.crm.config import OrderFields, OrderHead, OrderShape, ProductFields, Where

LINES = "lines"
"""Where an order put together has its lines."""

TableName = Annotated[str, Field(pattern=r"^[^.\s]+\.[^.\s]+$")]
Value = str | int | bool


class OrdersTable(OrderHead):
    """A row of it becomes ``Order Completed``, with its lines."""

    table: TableName = Field(description="schema.table")
    key: list[str] = Field(["id"], description="its primary key")
    id: str = Field("id", description="the column that lines refer to")
    only_if: dict[str, list[Value]] = Field(
        {}, description="columns with the values that an order must have to count; until then it waits"
    )
    settle_seconds: float = Field(
        5.0, ge=0, description="how long no more lines must have come; 0 where an order is one transaction"
    )


class LinesTable(ProductFields):
    """A row of it is a product of an order."""

    table: TableName = Field(description="schema.table")
    key: list[str] = Field(["id"], description="its primary key")
    order: str = Field(description="the column that says which order it belongs to")


class ProductsTable(Section):
    """A row of it is a product of the catalogue, as `python -m ingestion catalog` knows them."""

    table: TableName = Field(description="schema.table")
    key: list[str] = Field(["id"], description="its primary key")
    only_if: dict[str, list[Value]] = Field(
        {}, description="columns with the values of a product on sale; otherwise it has a stock of 0"
    )
    product_id: str
    name: str = ""
    category: str = ""
    brand: str = ""
    price: str = ""
    currency: str = ""
    stock: str = ""
    created_at: str = ""

    @property
    def says(self) -> set[str]:
        """What the table says of a product; the rest is known from elsewhere, such as a catalogue in a file."""
        # What is not on sale gets a stock of 0, which has to be taken back when it is on sale again.
        return {name for name in PRODUCT_COLUMNS if getattr(self, name)} | ({"stock"} if self.only_if else set())


class Mapping(Section):
    """The whole file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,39}$")] = Field(
        description="tells one database from another: in message ids, and in the names of the connector and its slot"
    )
    orders: OrdersTable | None = None
    lines: LinesTable | None = None
    products: ProductsTable | None = None

    @model_validator(mode="after")
    def _complete(self) -> Mapping:
        if not self.orders and not self.products:
            raise ValueError("names neither [orders] nor [products], so that there is nothing to read")
        if bool(self.orders) != bool(self.lines):
            raise ValueError("[orders] and [lines] need each other")
        tables = [part.table for part in (self.orders, self.lines, self.products) if part]
        if len(set(tables)) < len(tables):
            raise ValueError("each of [orders], [lines] and [products] needs a table of its own")
        return self

    @property
    def topic(self) -> str:
        """Where its changes are: each database has its own, as transactions of two may have the same number."""
        return f"{get_settings().cdc.topic}.{self.name}"

    @property
    def columns(self) -> dict[str, set[str]]:
        """The columns that are read of each table; no others need to leave the database."""
        found: dict[str, set[str]] = {}
        # Without its primary key among them, Debezium's snapshot could not tell one row from another.
        if self.orders and self.lines:
            places = (getattr(self.orders, name) for name in OrderHead.model_fields)
            found[self.orders.table] = {*self.orders.key, self.orders.id, *self.orders.only_if, *_names(places)}
            places = (getattr(self.lines, name) for name in ProductFields.model_fields)
            found[self.lines.table] = {*self.lines.key, self.lines.order, *_names(places)}
        if self.products:
            places = (getattr(self.products, name) for name in PRODUCT_COLUMNS)
            found[self.products.table] = {*self.products.key, *self.products.only_if, *_names(places)}
        return found

    @property
    def keys(self) -> dict[str, list[str]]:
        """The primary key of each table."""
        return {part.table: part.key for part in (self.orders, self.lines, self.products) if part}

    def grants(self, user: str) -> list[str]:
        """SQL that gives a user of Postgres what following these tables needs, and no more."""
        tables = ", ".join(".".join(f'"{part}"' for part in table.split(".")) for table in self.keys)
        schemas = ", ".join(sorted({f'"{table.split(".")[0]}"' for table in self.keys}))
        return [
            f'ALTER ROLE "{user}" WITH REPLICATION;',
            f'GRANT USAGE ON SCHEMA {schemas} TO "{user}";',
            f'GRANT SELECT ON {tables} TO "{user}";',
            f"CREATE PUBLICATION shelfwise_{self.name} FOR TABLE {tables} WITH (publish_via_partition_root = true);",
        ]

    def order_shape(self) -> OrderShape:
        """Where an order says what, once its lines are put together with it."""
        assert self.orders is not None
        assert self.lines is not None
        order = {name: getattr(self.orders, name) for name in OrderHead.model_fields}
        line = {name: getattr(self.lines, name) for name in ProductFields.model_fields}
        return OrderShape(fields=OrderFields(**order, products=LINES), product=ProductFields(**line))


PRODUCT_COLUMNS = ("product_id", "name", "category", "brand", "price", "currency", "stock", "created_at")


def load(path: Path) -> Mapping:
    """Read a file.

    Raises:
        InputError: it is missing, or not what it should be.
    """
    given = read_toml(path)
    given.setdefault("name", path.stem)
    return declared(path, given, Mapping)


def _names(places: Iterable[Where]) -> set[str]:
    """The columns; where there are several for one thing, all of them."""
    return {name for where in places for name in ([where] if isinstance(where, str) else where) if name}
