"""``python -m training evaluate`` on an invented shop: loaded by the backfill, without Kafka and Redis."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from own_stack import OwnStack

from feature_repo.settings import PROJECT_ROOT

END = datetime(2026, 3, 1, tzinfo=UTC)
CUT = END - timedelta(days=2)


def run(stack: OwnStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=PROJECT_ROOT,
        env=stack.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> OwnStack:
    """Settings of a stack of which nothing runs."""
    return OwnStack.at(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def history(stack: OwnStack) -> Path:
    folder = stack.home / "shop"
    sizes = ["--events", "15000", "--days", "10", "--products", "100", "--customers", "300"]
    done = run(stack, "ingestion", "simulate", "history", *sizes, "--end", END.isoformat(), "--out", str(folder))
    assert done.returncode == 0, done.stdout
    return folder / "history"


@pytest.fixture(scope="module")
def report(stack: OwnStack, history: Path) -> dict[str, Any]:
    """What an evaluation of all models on all tasks reports."""
    return evaluated(stack, history)


def evaluated(stack: OwnStack, history: Path, *more: str) -> dict[str, Any]:
    path = stack.home / "report.json"
    arguments = ["--data", str(history), "--train-until", CUT.isoformat(), "--report", str(path), *more]
    done = run(stack, "training", "evaluate", *arguments)
    assert done.returncode == 0, done.stdout
    report: dict[str, Any] = json.loads(path.read_text())
    return {**report, "printed": done.stdout}


def test_every_task_has_both_variants(report: dict[str, Any]) -> None:
    assert {task: set(variants) for task, variants in report["results"].items()} == {
        task: {"static", "streaming"} for task in ("next", "purchase", "rerank")
    }
    for variants in report["results"].values():
        for comparison in variants.values():
            assert comparison["queries"] >= 20
            assert {"all", "new", "returning"} <= set(comparison["results"])


def test_customers_with_tastes_are_better_served_than_by_popularity(report: dict[str, Any]) -> None:
    results = report["results"]["next"]["streaming"]["results"]["all"]["HR@20"]
    assert results["tfidf"]["estimate"]["low"] > results["popular"]["estimate"]["high"]
    assert results["shelfwise"]["estimate"]["low"] > results["popular"]["estimate"]["high"]


def test_the_second_run_loads_nothing_and_finds_the_same(
    stack: OwnStack, history: Path, report: dict[str, Any]
) -> None:
    some = ["--models", "popular,session-knn", "--tasks", "next", "--variants", "streaming", "--check-leaks"]
    again = evaluated(stack, history, *some)
    assert "Spark" in report["printed"]
    assert "Spark" not in again["printed"]
    first, second = (one["results"]["next"]["streaming"]["results"]["all"]["MRR@20"] for one in (report, again))
    for model in ("popular", "session-knn"):
        assert first[model]["estimate"] == second[model]["estimate"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "oracle"], "there is no oracle; there are popular"),
        (["--tasks", "guess"], "there is no guess; there are next"),
        (["--train-until", "2030-01-01"], "has anything to answer"),
        (["--report", "/nowhere/report.json"], "there is no folder"),
    ],
)
def test_what_cannot_be_done_is_said(
    stack: OwnStack, history: Path, report: dict[str, Any], arguments: list[str], message: str
) -> None:
    done = run(stack, "training", "evaluate", "--data", str(history), "--train-until", CUT.isoformat(), *arguments)
    assert done.returncode == 1
    assert message in done.stdout
    assert "Traceback" not in done.stdout


def test_features_that_know_the_future_end_the_run(stack: OwnStack, history: Path, report: dict[str, Any]) -> None:
    (home,) = (stack.home / "evaluation").iterdir()
    uri = str(home / "warehouse" / "customer_activity")
    stored = DeltaTable(uri).to_pyarrow_table()
    later = stored.to_pandas().query("event_timestamp >= @CUT")
    leaky = later.assign(created=datetime.now(UTC), last_event_at=END.timestamp())
    write_deltalake(uri, pa.Table.from_pandas(leaky, schema=stored.schema, preserve_index=False), mode="append")
    arguments = ["--models", "shelfwise", "--tasks", "purchase", "--variants", "streaming"]
    done = run(stack, "training", "evaluate", "--data", str(history), "--train-until", CUT.isoformat(), *arguments)
    assert done.returncode == 1
    assert "know of events after their query" in done.stdout
