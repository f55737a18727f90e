"""The rules file: what it may say, and how it says what is wrong."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from small_shelf import IDS, shelf

from feature_repo.errors import InputError
from feature_repo.settings import PROJECT_ROOT
from serving.answering.answers import Item
from serving.rules.declared import Boost, Pin, Rulebook, read_rules
from serving.rules.placed import PlacedRules
from serving.rules.watch import RulesWatch
from training.scenarios import SCENARIOS, Ranking

EVERYTHING = """
[scenarios.gifts]
summary = "small things to give away"
sources = { bought_together = 0.5, trending = 0.5 }
ranking = "sources"
about = "cart"
needs = ["customer", "context"]
bought = "wait"
filters = { max_price = 20 }
diversity = 0.2
caps = [{ by = "brand", most = 2 }]

[[boosts]]
category = "Garden"
factor = 1.5
scenarios = ["home", "gifts"]
from = 2026-05-01
until = 2026-09-01T00:00:00+02:00

[[exclusions]]
products = ["knife"]

[[pins]]
product = "cup"
place = 2
reason = "our pick"
from = 2026-05-01T08:00:00

[[caps]]
by = "brand"
most = 3
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(text)
    return path


def test_a_file_may_say_all_of_this(tmp_path: Path) -> None:
    book = read_rules(write(tmp_path, EVERYTHING))
    assert set(book.compositions) == {*SCENARIOS, "gifts"}
    assert book.compositions["gifts"].ranking is Ranking.SOURCES
    assert book.compositions["gifts"].filters.max_price == 20
    (boost,) = book.boosts
    assert boost.since == datetime(2026, 5, 1, tzinfo=UTC), "a date is its first moment, in UTC"
    assert boost.until == datetime(2026, 8, 31, 22, tzinfo=UTC)
    assert book.pins[0].since == datetime(2026, 5, 1, 8, tzinfo=UTC)


def test_the_documented_file_can_be_used(tmp_path: Path) -> None:
    documented = (PROJECT_ROOT / "docs" / "serving.md").read_text().split("```toml")[1].split("```")[0]
    book = read_rules(write(tmp_path, documented))
    assert book.scenarios
    assert book.boosts
    assert book.exclusions
    assert book.pins
    assert book.caps


def test_an_empty_file_is_a_rulebook_too(tmp_path: Path) -> None:
    assert read_rules(write(tmp_path, "")) == Rulebook()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[boosts]]\ncategory = 'Garden'", "boosts.0.factor: Field required"),
        ("[[boosts]]\nfactor = 2", "either `products`, or some of category, brand and prices"),
        ("[[boosts]]\nfactor = 2\nbrand = 'Alba'\nproducts = ['cup']", "either `products`, or some"),
        ("[[boosts]]\nfactor = 0\nbrand = 'Alba'", "boosts.0.factor: Input should be greater"),
        ("[[boosts]]\nfactor = 2\nbrnad = 'Alba'", "boosts.0.brnad: Extra inputs"),
        ("[[pins]]\nproduct = 'cup'\nplace = 0", "pins.0.place"),
        ("[[pins]]\nproduct = 'cup'\nplace = 1\nfrom = 2026-02-01\nuntil = 2026-01-01", "`until` is not after `from`"),
        ("[[pins]]\nproduct = 'cup'\nplace = 1\nfrom = 'soon'", "pins.0.from"),
        ("[[exclusions]]\nbrand = 'Alba'\nscenarios = ['hom']", "names the scenario 'hom'; there are home, product"),
        ("[[caps]]\nby = 'colour'\nmost = 1", "caps.0.by"),
        ("[scenarios.gifts]\nranking = 'sources'\nsources = {magic = 1}", "there is no source 'magic'"),
        ("[scenarios.gifts]\nranking = 'sources'\nsources = {new = 1}", "scenarios.gifts.summary: Field required"),
        ("[scenarios.'Gift page']\nranking = 'sources'", "should match pattern"),
        ("[[boost]]\nfactor = 2", "boost: Extra inputs"),
        ("[[boosts]\n", "cannot be read"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        read_rules(write(tmp_path, text))
    assert fault in str(caught.value)
    assert "rules.toml" in str(caught.value)


def test_every_fault_is_told_and_a_missing_file_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pins\.0\.place.*caps\.0\.most"):
        read_rules(write(tmp_path, "[[pins]]\nproduct = 'cup'\nplace = 0\n[[caps]]\nby = 'brand'\nmost = 0"))
    with pytest.raises(InputError, match="nowhere"):
        read_rules(tmp_path / "nowhere.toml")


def test_rules_count_in_their_scenarios_and_their_time() -> None:
    boost = Boost.model_validate(
        {
            "brand": "Alba",
            "factor": 2,
            "scenarios": ["home"],
            "from": datetime(2026, 1, 2),
            "until": datetime(2026, 1, 4),
        }
    )
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)]
    assert [boost.counts("home", moment) for moment in moments] == [False, True, True, False, False]
    assert not boost.counts("cart", moments[1])


def placed(**rules: object) -> PlacedRules:
    return PlacedRules.of(Rulebook.model_validate(rules), shelf())


def test_boosts_multiply() -> None:
    rules = placed(
        boosts=[
            {"brand": "Alba", "factor": 2},
            {"category": "Kitchen", "factor": 0.5},
            {"products": ["ball", "never sold"], "factor": 3},
            {"brand": "Alba", "factor": 7, "until": datetime(2020, 1, 1)},
        ]
    )
    rows = np.array([3, 0, 1, 2], dtype=np.int32)
    assert rules.now_in("home", 1.7e9).boost(rows).tolist() == [3.0, 1.0, 0.5, 2.0]
    assert rules.now_in("home", 1.5e9).boost(rows).tolist() == [3.0, 7.0, 0.5, 14.0]


def test_exclusions_add_up() -> None:
    allowed = np.array([True, True, True, False])
    placed(exclusions=[{"min_price": 30}, {"products": ["cup"]}]).now_in("home", 0.0).exclude(allowed)
    assert allowed.tolist() == [False, True, False, False]


def test_pins_take_their_places_in_the_order_of_the_file() -> None:
    items = [Item(product, 1.0, "taste", "") for product in IDS]
    everything = np.ones(4, dtype=bool)

    def pinned(*pins: tuple[str, int], k: int = 4) -> list[str]:
        book = [Pin(product=product, place=place) for product, place in pins]
        rules = PlacedRules.of(Rulebook(pins=book), shelf()).now_in("home", 0.0)
        return [item.product_id for item in rules.pin(items, everything, k)]

    assert pinned() == list(IDS)
    assert pinned(("ball", 1)) == ["ball", "cup", "pan", "rake"]
    assert pinned(("ball", 2), k=2) == ["cup", "ball"]
    assert pinned(("ball", 1), ("rake", 1)) == ["ball", "rake", "cup", "pan"]
    assert pinned(("cup", 4), ("ball", 1)) == ["ball", "pan", "rake", "cup"]
    assert pinned(("cup", 100)) == ["pan", "rake", "ball", "cup"]


def test_a_changed_file_is_taken_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    path, taken = write(tmp_path, "[[exclusions]]\nbrand = 'Alba'"), []
    watch = RulesWatch(path, 3_600.0, taken.append)
    watch.start()
    assert len(taken[-1].exclusions) == 1
    watch.check()
    assert len(taken) == 1, "nothing has changed"
    write(tmp_path, "[[exclusions]]\nbrand = 'Alba'\n[[exclusions]]\nbrand = 'Borea'")
    watch.check()
    assert len(taken[-1].exclusions) == 2
    write(tmp_path, "[[exclusions]]")
    watch.check()
    path.unlink()
    watch.check()
    assert len(taken) == 2, "the rules before stay in force"
    write(tmp_path, "")
    os.utime(path, ns=(1, 1))
    watch.check()
    assert taken[-1] == Rulebook()
    watch.stop()


def test_the_service_does_not_start_without_the_rules_it_shall_keep(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        RulesWatch(tmp_path / "rules.toml", 1.0, lambda book: None).start()
