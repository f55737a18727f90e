"""Compiled loops beside the same in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from feature_repo.kernel import kernel

_SUM = """
def divided_sum(values, by):
    total = 0.0
    for value in values:
        total += value
    return total / by
"""


@pytest.mark.parametrize("any_order", [False, True])
def test_what_is_in_no_file_is_compiled_without_being_kept(any_order: bool) -> None:
    namespace: dict[str, Any] = {}
    exec(_SUM, namespace)
    compiled = kernel(any_order=any_order)(namespace["divided_sum"])
    values = np.random.default_rng(0).random(1_001)
    assert compiled(values, 2) == pytest.approx(values.sum() / 2)
    assert compiled(values, 0) == np.inf, "as numpy divides"
    assert np.isnan(compiled(np.full(3, np.nan), 1)), "unknown values stay unknown"
