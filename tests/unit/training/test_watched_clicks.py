"""A promoted version that is clicked much less is a reason to go back; a little less, or perhaps less, is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import offline_data
import pytest
from deltalake import write_deltalake

from feature_repo import tables
from feature_repo.models.promotions import Promotion
from feature_repo.sections.training import WatchSettings
from training.promotion.watched_clicks import judge_clicks

pytestmark = pytest.mark.usefixtures("warehouse")


def shown(version: str, at: datetime, customers: int, click_rate: float) -> list[dict[str, Any]]:
    """A list of five products for each customer."""
    clicked = np.random.default_rng(1).random((customers, 5)) < click_rate
    return [
        {
            **{
                "person": f"{version}{number}",
                "model_version": version,
                "shown_at": at,
                "dt": at.date(),
                "answered": True,
            },
            "items": [{"product_id": f"p{place}", "clicked_at": at if one else None} for place, one in enumerate(row)],
        }
        for number, row in enumerate(clicked.tolist())
    ]


def judged(before: float, after: float, customers: int = 1_500) -> tuple[str, list[str]]:
    now = datetime.now(UTC)
    promoted = now - timedelta(days=1)
    rows = [
        *shown("v1", promoted - timedelta(days=2), customers, before),
        *shown("v2", promoted + timedelta(hours=2), customers, after),
        *shown("v1", promoted - timedelta(days=20), customers, 1.0),
        *shown("v2", now - timedelta(minutes=5), customers, 0.0),
    ]
    write_deltalake(tables.OUTCOMES.uri, offline_data.arrow(tables.OUTCOMES, rows), mode="overwrite")
    return judge_clicks(Promotion("v2", promoted.isoformat(), ""), "v1", WatchSettings())


def test_a_large_fall_is_a_reason_to_go_back() -> None:
    told, reasons = judged(0.12, 0.06)
    assert told.startswith("clicks on ")
    assert len(reasons) == 1
    assert "more than 20% below" in reasons[0]


@pytest.mark.parametrize(("before", "after"), [(0.12, 0.12), (0.12, 0.11), (0.06, 0.12)])
def test_otherwise_the_version_stays(before: float, after: float) -> None:
    told, reasons = judged(before, after)
    assert told
    assert reasons == []


def test_the_version_before_is_looked_at_in_the_same_hours_of_its_days() -> None:
    """Shoppers who look around at night click less, whatever they are shown."""
    promoted = datetime.now(UTC) - timedelta(hours=6)
    rows = [
        *shown("v1", promoted - timedelta(days=2) + timedelta(hours=3), 1_500, 0.06),
        *shown("v1", promoted - timedelta(days=2) + timedelta(hours=15), 1_500, 0.5),
        *shown("v2", promoted + timedelta(hours=3), 1_500, 0.06),
    ]
    write_deltalake(tables.OUTCOMES.uri, offline_data.arrow(tables.OUTCOMES, rows), mode="overwrite")
    told, reasons = judge_clicks(Promotion("v2", promoted.isoformat(), ""), "v1", WatchSettings())
    assert (told[:9], reasons) == ("clicks on", [])


def test_without_enough_outcomes_nothing_is_said() -> None:
    assert judged(0.12, 0.0, customers=50) == ("", [])
    assert judge_clicks(Promotion("v2", datetime.now(UTC).isoformat(), ""), None, WatchSettings()) == ("", [])
