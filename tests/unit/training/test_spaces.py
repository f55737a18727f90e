"""Item spaces along time: which one is in use when."""

from __future__ import annotations

from typing import cast

import numpy as np

from training.candidates.space import PlacedSpace, Spaces


def _named(name: str) -> PlacedSpace:
    return cast(PlacedSpace, name)


def test_each_space_is_used_from_its_start_until_the_next() -> None:
    spaces = Spaces(np.array([10.0, 20.0, 30.0]), (_named("a"), _named("b"), _named("c")))
    moments = np.array([10.0, 19.9, 20.0, 20.0, 35.0])
    assert list(spaces.parts(moments)) == [("a", slice(0, 2)), ("b", slice(2, 4)), ("c", slice(4, 5))]


def test_a_space_without_moments_has_an_empty_part() -> None:
    spaces = Spaces(np.array([10.0, 20.0]), (_named("a"), _named("b")))
    assert list(spaces.parts(np.array([25.0]))) == [("a", slice(0, 0)), ("b", slice(0, 1))]


def test_the_only_space_is_used_at_all_times() -> None:
    moments = np.array([-5.0, 0.0, 1e12])
    assert list(Spaces.only(_named("a")).parts(moments)) == [("a", slice(0, 3))]
