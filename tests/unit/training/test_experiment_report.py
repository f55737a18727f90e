"""From stored outcomes to a verdict."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import offline_data
import pytest
from deltalake import write_deltalake

from feature_repo import tables
from feature_repo.errors import InputError
from feature_repo.experiments import Experiment
from ingestion.simulator.shop import Shop, ShopParameters
from ingestion.simulator.shoppers import react
from training.experiments.exposures import Exposures, read_exposures
from training.experiments.off_policy import AS_SERVED, read_draws
from training.experiments.report import judged, report

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
LATER = BEGIN + timedelta(days=30)
TWO = Experiment.model_validate({"planned": 4_000, "variants": {"control": {}, "bold": {}}})


def shown(hours: float, person: str, variant: str, *clicked: str, ordered: str = "", **more: Any) -> dict[str, Any]:
    """A list of the products x and y."""
    at = BEGIN + timedelta(hours=hours)
    items = [
        {
            "product_id": product,
            "place": place,
            "clicked_at": at + timedelta(minutes=1) if product in clicked else None,
            "ordered_at": at + timedelta(hours=2) if product in ordered else None,
        }
        for place, product in enumerate("xy", start=1)
    ]
    return {
        **{"message_id": f"{person}{hours}", "request_id": f"{person}{hours}", "shown_at": at, "dt": at.date()},
        **{"person": person, "answered": True, "experiment": "e", "variant": variant, "items": items, **more},
    }


def store(*rows: dict[str, Any]) -> None:
    write_deltalake(tables.OUTCOMES.uri, offline_data.arrow(tables.OUTCOMES, list(rows)), mode="append")


@pytest.mark.usefixtures("warehouse")
def test_a_customer_counts_once_for_what_he_saw_first_and_for_a_day() -> None:
    store(
        shown(0, "ada", "control", "x"),
        shown(1, "ada", "control"),
        shown(2, "ada", "bold", "x", "y"),
        shown(30, "ada", "control", "x", "y", ordered="x"),
        shown(0, "bob", "bold", "y", ordered="y"),
        shown(23, "eve", "bold", "x", "y", ordered="x"),
        shown(0, "ian", "bold", experiment="another"),
        shown(0, "tia", "bold", answered=False),
    )
    found = read_exposures("e", TWO, BEGIN + timedelta(hours=46))
    assert dict(zip(found.variants, zip(found.click_rates, found.converted, strict=True), strict=True)) == {
        "control": (3 / 6, 0.0),
        "bold": (1 / 2, 1.0),
    }
    assert (found.pending, found.crossed) == (1, 1)
    early = read_exposures("e", TWO, BEGIN + timedelta(hours=1))
    assert (len(early.variants), early.pending) == (0, 2)
    late = read_exposures("e", TWO, LATER)
    assert sorted(late.variants) == ["bold", "bold", "control"]
    assert late.converted.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.usefixtures("warehouse")
def test_what_is_wrong_is_told() -> None:
    with pytest.raises(InputError, match="no customer"):
        read_exposures("e", TWO, LATER)
    store(shown(0, "ada", "gone"))
    with pytest.raises(InputError, match="'gone'"):
        report("e", TWO, LATER)


@pytest.mark.usefixtures("warehouse")
def test_draws_are_read_with_what_each_policy_wanted() -> None:
    store(shown(0, "ada", "control", "x"), shown(1, "ada", "control", "y"), shown(2, "bob", "bold"))
    items = [{"product_id": product, "source": "new", "score": score} for product, score in (("x", 0.1), ("y", 0.9))]
    rows = [
        {
            **{
                "request_id": request_id,
                "answered_at": BEGIN,
                "dt": BEGIN.date(),
                "experiment": "e",
                "variant": variant,
            },
            **{"items": items, "explored": explored, "propensity": 0.5, "choices": [(variant, "y"), ("next", "x")]},
        }
        for request_id, variant, explored in (
            ("ada0", "control", True),
            ("ada0", "control", True),  # stored twice
            ("ada1", "control", True),
            ("bob2", "bold", False),
        )
    ]
    write_deltalake(tables.RECOMMENDATIONS.uri, offline_data.arrow(tables.RECOMMENDATIONS, rows), mode="append")
    later = BEGIN + timedelta(days=1)
    first, second = read_draws("e", later)
    assert read_draws("e", BEGIN) == [], "they may still be clicked"
    assert (first.person, first.clicked, second.clicked) == ("ada", True, False)
    assert first.wanted == {"control": 1, AS_SERVED: 1, "next": 0}
    assert list(first.ranks) == [1, 0]
    assert first.propensity == 0.5


def exposures(counts: tuple[int, int], lift: float, seed: int) -> Exposures:
    """Customers of a simulated shop, who click ``lift`` times as readily on what the second variant shows."""
    shop = Shop(ShopParameters(seed, 200, 5_000, 1, "2026-03-01T00:00:00+00:00"))
    rng = np.random.default_rng(seed)
    size = sum(counts)
    variants = np.array(["control"] * counts[0] + ["bold"] * counts[1], dtype=object)
    people, products = rng.integers(5_000, size=(size, 1)), rng.integers(200, size=(size, 8))
    reaction = react(shop.affinity(people, products), rng, np.where(variants == "bold", lift, 1.0)[:, None])
    return Exposures(variants, reaction.clicked.mean(axis=1), reaction.ordered.any(axis=1).astype(float), 0, 0)


def test_a_known_effect_is_found_and_none_is_invented() -> None:
    found = judged("e", TWO, exposures((2_000, 2_000), 1.5, 1))
    by_measure = {one.measure: one.difference for one in found.comparisons}
    assert by_measure["CTR"].low > 0
    assert any(line.startswith("CTR of bold: better than control") for line in found.verdicts)
    nothing = judged("e", TWO, exposures((2_000, 2_000), 1.0, 2))
    assert all(one.difference.low <= 0 <= one.difference.high for one in nothing.comparisons)
    assert all("no difference from control is shown" in line for line in nothing.verdicts)
    worse = judged("e", TWO, exposures((2_000, 2_000), 0.5, 3))
    assert any(line.startswith("CTR of bold: worse than control") for line in worse.verdicts)


def test_with_a_broken_assignment_there_is_no_verdict() -> None:
    found = judged("e", TWO, exposures((2_000, 1_700), 1.5, 1))
    assert found.mismatched
    assert found.comparisons == []
    assert [line.partition(":")[0] for line in found.verdicts] == ["No verdict"]


def test_too_little_is_said_to_be_too_little() -> None:
    found = judged("e", TWO, exposures((60, 55), 1.0, 1))
    assert all("too early" in line for line in found.verdicts)
