"""Who is in which variant, and what an experiments file may say."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.errors import InputError
from feature_repo.experiments import Experiment, read_experiments

CUSTOMERS = [f"customer {number}" for number in range(20_000)]


def experiment(**more: object) -> Experiment:
    return Experiment.model_validate({"variants": {"control": {}, "bold": {}}, **more})


def assigned(one: Experiment, name: str = "e") -> list[str | None]:
    return [one.variant_of(name, customer) for customer in CUSTOMERS]


def test_customers_stay_where_they_are_and_are_spread_by_the_weights() -> None:
    one = experiment(
        variants={"control": {"weight": 3}, "bold": {"weight": 1.0}, "watched": {"weight": 0}}, explore=0.1
    )
    first = assigned(one)
    assert first == assigned(one)
    counts = Counter(first)
    assert set(counts) == {"control", "bold"}
    assert counts["bold"] / len(CUSTOMERS) == pytest.approx(0.25, abs=0.012)


def test_the_assignment_is_for_ever() -> None:
    """Written down once: if this changes, running experiments are ruined."""
    found = [experiment().variant_of("e", customer) for customer in CUSTOMERS[:12]]
    assert "".join((variant or "-")[0] for variant in found) == "bccbbbbcbccb"


def test_experiments_are_independent_of_each_other() -> None:
    pairs = Counter(zip(assigned(experiment(), "one"), assigned(experiment(), "other"), strict=True))
    assert len(pairs) == 4
    assert all(count / len(CUSTOMERS) == pytest.approx(0.25, abs=0.012) for count in pairs.values())
    assert assigned(experiment(salt="s"), "one") == assigned(experiment(salt="s"), "other")


def test_a_larger_share_adds_customers_and_moves_none() -> None:
    small, large = assigned(experiment(share=0.2)), assigned(experiment(share=0.5))
    assert all(before in (None, after) for before, after in zip(small, large, strict=True))
    for found, share in ((small, 0.2), (large, 0.5)):
        counts = Counter(found)
        assert 1 - counts[None] / len(CUSTOMERS) == pytest.approx(share, abs=0.015)
        assert counts["bold"] / (counts["bold"] + counts["control"]) == pytest.approx(0.5, abs=0.02)


def test_when_and_where(tmp_path: Path) -> None:
    file = tmp_path / "experiments.toml"
    file.write_text(
        """
        [experiments.bolder]
        scenarios = ["home"]
        from = 2026-05-01
        until = 2026-06-01T12:00:00+02:00
        [experiments.bolder.variants.control]
        [experiments.bolder.variants.bold]
        weight = 1
        scenarios.home = { diversity = 0.3 }
        """
    )
    one = read_experiments(file).experiments["bolder"]
    assert one.control == "control"
    assert one.under_way("home", datetime(2026, 5, 1, tzinfo=UTC))
    assert not one.under_way("cart", datetime(2026, 5, 1, tzinfo=UTC))
    assert not one.under_way("home", datetime(2026, 6, 1, 10, tzinfo=UTC))
    assert not one.under_way("home", datetime(2026, 4, 30, 23, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[experiments.e.variants.a]", "at least 2 items"),
        ("[experiments.e.variants]\na = {}\nb = {weight = -1}", "e.variants.b.weight"),
        ("[experiments.e.variants]\na = {weight = 0}\nb = {}", "the first variant, 'a'"),
        ("[experiments.e.variants]\na = {}\nb = {weight = 0}", "without `explore`"),
        ("[experiments.e]\nshare = 2\n[experiments.e.variants]\na = {}\nb = {}", "e.share"),
        ("[experiments.e]\nfrom = 2026-05-02\nuntil = 2026-05-01\n[experiments.e.variants]\na = {}\nb = {}", "`until`"),
        ("[experiments.e]\nsplit = 1\n[experiments.e.variants]\na = {}\nb = {}", "e.split"),
        ("[experiments", "cannot be read"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "experiments.toml"
    file.write_text(text)
    with pytest.raises(InputError, match="experiments file") as raised:
        read_experiments(file)
    assert told in str(raised.value)
