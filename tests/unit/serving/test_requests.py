"""What the API says of itself."""

from __future__ import annotations

from typing import get_args

from serving.web.requests import RecommendedItem, RecommendRequest
from training.candidates.sources import Source
from training.scenarios import SCENARIOS


def test_every_source_can_be_answered() -> None:
    assert set(get_args(RecommendedItem.model_fields["source"].annotation)) == {
        source.name.lower() for source in Source
    }


def test_every_scenario_is_described() -> None:
    description = RecommendRequest.model_fields["scenario"].description
    assert description is not None
    assert all(f"`{name}`: {composition.summary}" in description for name, composition in SCENARIOS.items())
