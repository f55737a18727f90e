"""A shop invented from a seed: the same parameters always give the same products, customers and tastes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.errors import InputError
from ingestion.simulator.catalog import Catalog, invent_catalog
from ingestion.simulator.customers import Customers, invent_customers

SHOP_FILE = "shop.json"


@dataclass(frozen=True)
class ShopParameters:
    """All that a shop follows from.

    Attributes:
        end: the last moment of its recorded history, ISO 8601 in UTC.
        days: length of that history; new products and customers arrive during it.
    """

    seed: int
    products: int
    customers: int
    days: int
    end: str

    def __post_init__(self) -> None:
        for name, least in (("products", 100), ("customers", 10), ("days", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}")

    @property
    def end_time(self) -> datetime:
        return datetime.fromisoformat(self.end).astimezone(UTC)

    @property
    def start_time(self) -> datetime:
        return self.end_time - timedelta(days=self.days)


class Shop:
    """Catalogue and customers, with the truth about what each customer likes."""

    def __init__(self, parameters: ShopParameters) -> None:
        self.parameters = parameters

    @cached_property
    def catalog(self) -> Catalog:
        return invent_catalog(
            np.random.default_rng([self.parameters.seed, 1]),
            self.parameters.products,
            self.parameters.start_time,
            self.parameters.end_time,
        )

    @cached_property
    def customers(self) -> Customers:
        return invent_customers(
            np.random.default_rng([self.parameters.seed, 2]), self.parameters.customers, self.catalog, self.history_span
        )

    @property
    def history_span(self) -> tuple[float, float]:
        """Start and end of the history in seconds since 1970."""
        return self.parameters.start_time.timestamp(), self.parameters.end_time.timestamp()

    def affinity(self, customers: npt.NDArray[np.int_], products: npt.NDArray[np.int_]) -> npt.NDArray[np.float32]:
        """How much each customer likes each product, elementwise over row numbers (broadcast); about 0 +- 1."""
        return self.customers.affinity(customers, products, self.catalog)

    def true_affinity(self, customer: str, product: str) -> float:
        """How much a customer (user id or anonymous id) likes a product (product id).

        Raises:
            KeyError: the shop has no such customer or product.
        """
        row = np.array([self.customers.row_of(customer)])
        return float(self.affinity(row, np.array([self.catalog.row_of[product]]))[0])

    def save(self, folder: Path) -> None:
        (folder / SHOP_FILE).write_text(json.dumps(asdict(self.parameters), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Shop:
        """The shop whose history was written to ``folder``.

        Raises:
            InputError: there is none, or its description cannot be read.
        """
        file = folder / SHOP_FILE
        if not file.is_file():
            raise InputError(f"no shop in {folder}; invent one with `python -m ingestion simulate history`")
        try:
            description = json.loads(file.read_text())
            return cls(ShopParameters(**{field.name: description[field.name] for field in fields(ShopParameters)}))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file} does not describe a shop ({error}); write the history again") from error
