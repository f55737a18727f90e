"""Choosing products by what they are: what a request, a scenario or a rule may say of the products it means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from feature_repo.contract import Price, Text
from feature_repo.ranking.shelf import UNKNOWN, Shelf

Mask = NDArray[np.bool_]


class Filters(BaseModel):
    """Products that have all of what is given. Unknown fields are refused: a misspelt filter must not be ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    category: Text | None = Field(None, description="category path or its beginning, for example `Apparel/Men's`")
    brand: Text | None = Field(None, description="exact brand")
    min_price: Price | None = Field(None, description="lowest price; products without price are left out")
    max_price: Price | None = Field(None, description="highest price; products without price are left out")

    @model_validator(mode="after")
    def _in_order(self) -> Filters:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("min_price is greater than max_price")
        return self

    def on(self, shelf: Shelf) -> Mask:
        """Which rows of a shelf are meant, shape (len(shelf),); a new array."""
        items = shelf.items
        meant = np.ones(len(shelf), dtype=bool)
        if self.category is not None:
            meant &= np.isin(items.category, shelf.words.categories.starting_with(self.category.strip("/")))
        if self.brand is not None:
            meant &= items.brand == shelf.words.brands.codes.get(self.brand, UNKNOWN - 1)
        if self.min_price is not None:
            meant &= items.price >= self.min_price
        if self.max_price is not None:
            meant &= items.price <= self.max_price
        return meant
