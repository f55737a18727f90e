"""What to pull, from where and as what: the file given to ``python -m ingestion pull``, over a preset if it names one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from feature_repo.errors import InputError
from feature_repo.sections.section import Section
from feature_repo.toml_files import declared, read_toml

PRESETS = Path(__file__).parent / "presets"
START_VALUE = "{incremental.start_value}"
ORDERS, CUSTOMERS = "orders", "customers"

Where = str | tuple[str, ...]
"""A dotted path in a record; of several, the first that leads to something."""


class Auth(Section):
    """How the API knows who asks; the secret itself is in the environment."""

    type: Literal["bearer", "header", "basic"] = Field("bearer", description="how the secret is shown")
    secret_env: Annotated[str, Field(min_length=1)] = Field(description="environment variable that holds the secret")
    header: str = Field("", description="for type header: its name")
    user: str = Field("", description="for type basic: the user name")

    @model_validator(mode="after")
    def _complete(self) -> Auth:
        if self.type == "header" and not self.header:
            raise ValueError('type = "header" needs the name of the header')
        return self

    def secret(self) -> str:
        """The secret.

        Raises:
            InputError: the environment does not have it, or it cannot be sent.
        """
        secret = os.environ.get(self.secret_env, "").strip()
        if not secret:
            raise InputError(f"the environment variable {self.secret_env} is empty; it must hold the API's secret")
        if not re.fullmatch(r"[\x21-\x7e]+", secret):
            raise InputError(f"{self.secret_env} holds characters that no secret of an API has")
        return secret


class Incremental(Section):
    """By which time of a record only what is new is asked for."""

    cursor_path: Annotated[str, Field(min_length=1)] = Field(description="where a record says when it last changed")
    format: Literal["iso", "epoch", "epoch_ms"] = Field("iso", description="how the API wants to be told a time")
    initial_value: datetime = Field(datetime(2000, 1, 1, tzinfo=UTC), description="from when on the first pull asks")
    lag_seconds: float = Field(
        600.0, ge=0, description="each pull asks from so long before where the last one got to: changes show late"
    )
    ascending: bool = Field(
        False, description="records come in order of that time; then a pull that is killed goes on where it was"
    )

    @field_validator("initial_value")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    def told(self, moment: datetime) -> str:
        """A time as the API wants it; never later than ``moment``."""
        if self.format == "iso":
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return str(int(moment.timestamp() * (1_000 if self.format == "epoch_ms" else 1)))


class Resource(Section):
    """A list of records that the API gives, in the words of dlt's REST API source."""

    path: str = Field(description="below base_url")
    method: Literal["GET", "POST"] = "GET"
    params: dict[str, Any] = Field(
        default_factory=dict, description=f"of the URL; {START_VALUE} stands for the time asked from"
    )
    body: dict[str, Any] = Field({}, alias="json", description="of a POST, likewise")
    data_selector: str = Field("$", description="where in the answer the records are")
    paginator: dict[str, Any] = Field(description="how to get the next page: dlt's `type` and what that type needs")
    most_results: int | None = Field(None, ge=1, description="results after which the API wants a new query")
    incremental: Incremental
    skip_if: list[str] = Field([], description="a record with a value at one of these is left out")
    only_if: list[str] = Field([], description="a record without a value at one of these is left out")

    @model_validator(mode="after")
    def _asks_for_news(self) -> Resource:
        if START_VALUE not in repr((self.params, self.body)):
            raise ValueError(f"neither params nor json says {START_VALUE}, so that everything would be read each time")
        if self.most_results and not self.incremental.ascending:
            raise ValueError("most_results needs ascending records, to know where to go on")
        return self


class OrderHead(Section):
    """Where an order says what ``Order Completed`` wants to know, but for its products."""

    order_id: Where
    user_id: Where = ()
    anonymous_id: Where = ()
    timestamp: Where
    revenue: Where = ()
    total: Where = ()
    currency: Where = ()
    country: Where = ()


class OrderFields(OrderHead):
    """Where an order says all that ``Order Completed`` wants to know."""

    products: str


class ProductFields(Section):
    """Where a line of an order says what the contract wants to know of a product."""

    product_id: Where
    sku: Where = ()
    name: Where = ()
    category: Where = ()
    brand: Where = ()
    variant: Where = ()
    price: Where = ()
    quantity: Where = ()
    coupon: Where = ()
    url: Where = ()
    image_url: Where = ()


class CustomerFields(Section):
    """Where a customer says what ``identify`` wants to know."""

    user_id: Where
    anonymous_id: Where = ()
    timestamp: Where


class OrderShape(Section):
    """Where records say what becomes ``Order Completed``."""

    fields: OrderFields
    product: ProductFields


class Orders(Resource, OrderShape):
    """Records that become ``Order Completed``."""


class Customers(Resource):
    """Records that become ``identify``; of a record nothing but the named ``traits`` is taken."""

    fields: CustomerFields
    traits: dict[str, Where] = Field(default_factory=dict)


class Retrying(Section):
    """What to do when the API is slow, throttles or fails."""

    timeout_seconds: float = Field(60.0, gt=0, description="how long to wait for an answer")
    attempts: int = Field(8, ge=1, description="how often to ask before giving up; 429, 5xx and broken connections")
    backoff_seconds: float = Field(1.0, gt=0, description="first pause; it doubles each time")
    longest_pause_seconds: float = Field(
        300.0, gt=0, description="longest pause, also if the API asks for a longer one"
    )


class PullConfig(Section):
    """The whole file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")] = Field(
        description="tells one API from another: in message ids, and where it is remembered how far it was pulled"
    )
    base_url: str
    headers: dict[str, str] = Field({}, description="sent with each request; no secrets")
    requests_per_second: float = Field(5.0, gt=0, description="pages are not asked for more often")
    auth: Auth
    retry: Retrying = Retrying()
    orders: Orders | None = None
    customers: Customers | None = None

    @field_validator("base_url")
    @classmethod
    def _safe(cls, value: str) -> str:
        url = urlsplit(value)
        local = url.hostname in ("127.0.0.1", "localhost", "::1")
        if not url.hostname or not (url.scheme == "https" or (url.scheme == "http" and local)):
            raise ValueError("must begin with https://, or the secret could be read on the way")
        if url.username or url.password or url.query:
            raise ValueError("must hold no user, password or query; secrets belong in the environment")
        return value

    @property
    def resources(self) -> dict[str, Orders | Customers]:
        """What is pulled: customers first, so that ties are known when their orders arrive."""
        found: dict[str, Orders | Customers | None] = {CUSTOMERS: self.customers, ORDERS: self.orders}
        return {name: resource for name, resource in found.items() if resource}


def load(path: Path) -> PullConfig:
    """Read a file.

    Raises:
        InputError: it is missing, or not what it should be.
    """
    given = read_toml(path)
    preset = given.pop("preset", None)
    if preset is not None:
        if preset not in presets():
            raise InputError(f"{path}: preset is none of {', '.join(presets())}")
        given = _over(read_toml(PRESETS / f"{preset}.toml"), given)
    given.setdefault("name", path.stem)
    # A table of a preset is left out by saying false in its place.
    given = {key: value for key, value in given.items() if value is not False}
    config = declared(path, given, PullConfig)
    if not config.resources:
        raise InputError(f"{path} names neither [{ORDERS}] nor [{CUSTOMERS}], so that there is nothing to pull")
    return config


def presets() -> list[str]:
    """The APIs whose shape is known."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above``, and what only ``below`` has; tables are put together, all else is replaced."""
    both = {
        key: _over(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **both}
