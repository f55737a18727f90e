"""``python -m training run`` on a real offline store, through Feast and into BentoML's model store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from offline_data import CATEGORIES
from own_stack import OwnStack
from shop_stack import ShopStack, shop_stack

from feature_repo.aggregates import ACTION_OF_EVENT
from feature_repo.ranking.features import LIST_FEATURES
from feature_repo.ranking.shelf import Vocabularies
from feature_repo.ranking.visitors import Visitors
from feature_repo.settings import PROJECT_ROOT


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopStack]:
    # So many that drift is judged.
    with shop_stack(tmp_path_factory.mktemp("training"), customers=420) as shop:
        yield shop


@pytest.fixture(scope="module")
def reports(shop: ShopStack, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two runs on the same history report."""
    folder = tmp_path_factory.mktemp("reports")
    reports = []
    for number in range(2):
        path = folder / f"{number}.json"
        done = shop.run("training", "run", "--report", str(path))
        assert done.returncode == 0, done.stdout
        reports.append(json.loads(path.read_text()))
    return reports


def test_the_same_history_and_seed_give_the_same_model(reports: list[dict[str, Any]]) -> None:
    first, second = reports
    assert first["content"] == second["content"]
    assert first["metrics"] == second["metrics"]
    assert first["counts"] == second["counts"]
    assert first["model"] != second["model"], "each run is a version of its own"


def test_the_model_beats_popularity_where_customers_have_tastes(reports: list[dict[str, Any]]) -> None:
    metrics = reports[0]["metrics"]
    ranking = metrics["rerank_ndcg_at_10"]
    assert ranking["model"]["mean"] > ranking["popularity"]["mean"]
    returning = metrics["next_product_at_20"]["returning"]
    assert returning["gain_hr"]["low"] > 0, "better beyond chance"
    assert returning["model_hr"]["low"] <= returning["model_hr"]["mean"] <= returning["model_hr"]["high"]


def test_the_report_tells_of_new_visitors(reports: list[dict[str, Any]]) -> None:
    new = reports[0]["metrics"]["next_product_at_20"]["new"]
    assert new["model_hr"]["count"] > 0
    assert new["gain_hr"]["mean"] >= 0


def test_scores_are_probabilities_that_hold(reports: list[dict[str, Any]]) -> None:
    calibration = reports[0]["metrics"]["calibration"]
    assert {"turn", "list"} <= set(calibration)
    for of in calibration.values():
        assert of["expected"] == pytest.approx(of["chosen"], rel=0.5)
    turns = calibration["turn"]
    assert turns["error"] < turns["error_before"], "the trees know a sample of what was not chosen only"


def test_the_report_says_what_was_learnt_from(shop: ShopStack, reports: list[dict[str, Any]]) -> None:
    report = reports[0]
    assert report["features"] == list(LIST_FEATURES)
    assert report["counts"]["products"] == shop.shop.products
    assert report["since"][:19] == shop.events[0]["timestamp"].isoformat()[:19]
    assert report["until"][:19] == shop.events[-1]["timestamp"].isoformat()[:19]
    assert report["metrics"]["cut"] < report["metrics"]["split"] < report["until"]


def test_bentoml_lists_the_versions(shop: ShopStack, reports: list[dict[str, Any]]) -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "bentoml", "models", "list", "-o", "json"],
        env={**shop.stack.environment(), "BENTOML_HOME": str(shop.stack.home / "bentoml")},
        capture_output=True,
        text=True,
        check=True,
    )
    tags = {model["tag"] for model in json.loads(listing.stdout)}
    assert tags == {report["model"] for report in reports}


def test_a_stored_model_recommends_by_taste(shop: ShopStack, reports: list[dict[str, Any]]) -> None:
    from feature_repo.store import open_store
    from training.data.history import History
    from training.model import Recommender

    models = shop.stack.home / "bentoml" / "models"
    versions = [models.joinpath(*report["model"].split(":")) for report in reports]
    (first, card), (second, _) = (Recommender.load(version) for version in versions)
    assert card.content == reports[0]["content"]

    history = History(open_store(), first.space.factors.ids, Vocabularies())
    now = np.array([shop.events[-1]["timestamp"].timestamp() + 1])
    (shelf,) = history.shelves(now)
    liked, total = 0, 0
    for number in range(60):
        columns = history.customers(np.array([f"c{number}"], dtype=object), now)
        visitor = Visitors.from_columns(columns, now, shelf)
        if (visitor.actions > 0).sum() < 6:
            continue
        answers = [model.on(shelf).recommend(visitor, shelf.items.available, 5, 200) for model in (first, second)]
        assert np.array_equal(answers[0].rows, answers[1].rows)
        assert np.array_equal(answers[0].scores, answers[1].scores)
        liked += sum(int(shelf.ids[row][1:]) % len(CATEGORIES) == number % len(CATEGORIES) for row in answers[0].rows)
        total += 5
    assert total >= 100
    assert liked / total > 0.6, "by chance it would be one in six"


def test_features_are_as_of_just_before_the_moment(shop: ShopStack) -> None:
    from feature_repo.store import open_store
    from training.data.history import History

    interactions = [event for event in shop.events if event["event"] in ACTION_OF_EVENT]
    asked = interactions[:: len(interactions) // 50]
    history = History(open_store(), ("p0",), Vocabularies())
    customers = np.array([event["customer_id"] for event in asked], dtype=object)
    columns = history.customers(customers, np.array([event["timestamp"].timestamp() for event in asked]))
    for place, event in enumerate(asked):
        before = [
            other
            for other in interactions
            if other["customer_id"] == event["customer_id"] and other["timestamp"] < event["timestamp"]
        ]
        count = columns["event_count"][place]
        assert (0 if np.isnan(count) else count) == len(before)
        if before:
            assert columns["recent_items"][place][0] == before[-1]["products"][-1]["product_id"]


def test_too_short_a_window_says_how_much_is_needed(shop: ShopStack) -> None:
    since = shop.events[-200]["timestamp"].isoformat()
    done = shop.run("training", "run", "--from", since)
    assert done.returncode == 1
    assert "training needs 100" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_window_without_events_says_so(shop: ShopStack) -> None:
    done = shop.run("training", "run", "--until", "2001-01-01")
    assert done.returncode == 1
    assert "no events lie within the window" in done.stdout


@pytest.mark.parametrize("arguments", [["--from", "yesterday"], ["--until", "2026-13-01"]])
def test_a_moment_that_is_none_is_refused(shop: ShopStack, arguments: list[str]) -> None:
    done = shop.run("training", "run", *arguments)
    assert done.returncode == 2
    assert "is not an ISO 8601 date or time" in done.stdout


def test_without_any_history_it_says_which_command_to_run(tmp_path: Path) -> None:
    stack = OwnStack.at(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "training", "run"],
        cwd=PROJECT_ROOT,
        env={**os.environ, **stack.environment()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "python -m ingestion backfill" in done.stderr
    assert "Traceback" not in done.stderr


def test_tune_tries_the_present_trees_first_and_says_what_it_found(shop: ShopStack) -> None:
    done = shop.run("training", "tune", "--minutes", "0", "--purposes", "list,order")
    assert done.returncode == 0, done.stdout
    assert "`list`: 1 settings" in done.stdout
    assert "`order`: 1 settings" in done.stdout
    assert "`turn`" not in done.stdout
    assert done.stdout.count("Nothing better than the present settings was found") == 2
    refused = shop.run("training", "tune", "--purposes", "clicks")
    assert refused.returncode == 1
    assert "there is no clicks; there are turn, order, list" in refused.stdout


def findings(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Of a command with ``--json``; other lines are warnings of libraries."""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return list(json.loads(line)["findings"])


def test_a_loaded_shop_is_valid_and_right_after_training_nothing_has_drifted(
    shop: ShopStack, reports: list[dict[str, Any]], tmp_path: Path
) -> None:
    shop.materialise()
    valid = shop.run("ingestion", "validate")
    assert valid.returncode == 0, valid.stdout
    assert "All is as expected." in valid.stdout
    page = tmp_path / "drift.html"
    done = shop.run("training", "drift", "--json", "--report", str(page))
    assert done.returncode == 0, done.stdout
    found = {one["subject"]: one for one in findings(done)}
    assert {"log_price", "popularity", "score: turn", "score: order", "score: list"} <= found.keys()
    assert {one["status"] for one in found.values()} == {"ok"}
    assert page.read_text().count("<svg") == len(found)


def test_prices_that_only_serving_sees_are_drift(shop: ShopStack, reports: list[dict[str, Any]]) -> None:
    shop.push_prices(10.0)
    done = shop.run("training", "drift")
    assert done.returncode == 1, done.stdout
    assert "VIOLATED features of the model, drift, log_price" in done.stdout
    unknown = shop.run("training", "drift", "--model", "none")
    assert unknown.returncode == 2
    assert "error: there is no model none" in unknown.stdout
