"""Choosing products by what they are."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from small_shelf import shelf

from feature_repo.filters import Filters


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        ({}, [0, 1, 2, 3]),
        ({"category": "Kitchen"}, [0, 1]),
        ({"category": "Kitchen/"}, [0, 1]),
        ({"category": "Kitchen/Pans"}, [1]),
        ({"category": "Kit"}, []),
        ({"brand": "Alba"}, [0, 2]),
        ({"brand": "alba"}, []),
        ({"min_price": 20.0}, [1, 2]),
        ({"max_price": 20.0}, [0, 1]),
        ({"category": "Garden", "brand": "Alba", "max_price": 30.0}, []),
    ],
)
def test_filters(filters: dict[str, object], meant: list[int]) -> None:
    assert np.flatnonzero(Filters.model_validate(filters).on(shelf())).tolist() == meant


def test_prices_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_price is greater"):
        Filters(min_price=3.0, max_price=2.0)
