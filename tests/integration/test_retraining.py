"""The retraining cycle on real parts: Delta, Feast, BentoML's store, the service over HTTP, MLflow's own store."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import offline_data
import pytest
from shop_stack import ShopStack, shop_stack
from waiting import until

from feature_repo.models import promotions
from feature_repo.sections.training import RetrainSettings
from feature_repo.settings import PROJECT_ROOT, get_settings
from training.__main__ import main
from training.promotion.artefact import stored_versions
from training.promotion.exit_codes import ExitCode

# Of a tiny shop, few cases are held back.
SETTINGS = {
    "SHELFWISE_SERVING__SNAPSHOT_SECONDS": "0.3",
    "SHELFWISE_SERVING__MODEL_POLL_SECONDS": "0.3",
    "SHELFWISE_RETRAIN__TOLERANCE": "0.1",
    "SHELFWISE_RETRAIN__MAX_LATENCY_RATIO": "3",
    "SHELFWISE_WATCH__MIN_REQUESTS": "40",
    "SHELFWISE_TRAINING__ITEM_SPACES": "1",
    "SHELFWISE_TRAINING__FACTORS": "16",
    "SHELFWISE_TRAINING__TEST_TURNS": "400",
    "SHELFWISE_TRAINING__LIST_RANKER__TREES": "50",
    "SHELFWISE_TRAINING__TURN_RANKER__TREES": "40",
    "SHELFWISE_TRAINING__ORDER_RANKER__TREES": "40",
}
QUESTIONS = ("turn HR@20", "turn MRR@20", "order HR@20", "order MRR@20", "list NDCG@10")
# Trees that cannot split, and so learn nothing.
BROKEN = {
    f"SHELFWISE_TRAINING__{ranker}_RANKER__{name}": value
    for ranker in ("TURN", "LIST")
    for name, value in (("TREES", "1"), ("ROWS_PER_LEAF", "1000000000"))
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopStack]:
    with pytest.MonkeyPatch.context() as patch, shop_stack(tmp_path_factory.mktemp("retraining")) as shop:
        for name, value in SETTINGS.items():
            patch.setitem(shop.stack.variables, name, value)
            patch.setenv(name, value)
        get_settings.cache_clear()
        # Features as the production code computes them: the gate asks for parity.
        done = shop.run("ingestion", "backfill", "--recompute", "--offline-only")
        assert done.returncode == 0, done.stdout
        yield shop


@pytest.fixture(scope="module")
def champion(shop: ShopStack) -> str:
    """A model of all but the last days, promoted as the first."""
    moment = (offline_data.now() - timedelta(days=4)).isoformat()
    done = shop.run("training", "run", "--until", moment)
    assert done.returncode == 0, done.stdout
    version = promotions.in_force()
    assert version
    return version


class Visitor:
    """Asks the running service."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def ask(self, times: int = 1) -> list[int]:
        """Status of some requests of known customers, each on its own connection: one on which a request failed is closed."""
        return [
            self.client.post(
                "/recommend", json={"user_id": f"c{number % 60}"}, headers={"Connection": "close"}
            ).status_code
            for number in range(times)
        ]

    def version(self) -> str | None:
        """What answers now."""
        answer = self.client.post("/recommend", json={"user_id": "nobody"})
        return str(answer.json()["model_version"]) if answer.status_code == 200 else None

    def uses(self, version: str) -> bool:
        """Whether a version is in use, even if it fails to answer."""
        return f'shelfwise_model_info{{version="{version}"}} 1' in self.client.get("/metrics").text


@pytest.fixture(scope="module")
def visitor(shop: ShopStack, champion: str) -> Iterator[Visitor]:
    """The service with the champion."""
    shop.materialise()
    shop.deploy("up", "serving")
    with httpx.Client(base_url=f"http://127.0.0.1:{shop.stack.port('SERVING__PORT')}", timeout=10) as client:
        visitor = Visitor(client)
        until(lambda: visitor.version() == champion)
        yield visitor


def retrain(shop: ShopStack, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``python -m training retrain --promote`` with further settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setitem(shop.stack.variables, name, value)
        return shop.run("training", "retrain", "--promote", *words)


def command(*words: str) -> tuple[int, str]:
    """``python -m training``, in this process, which has loaded everything: exit code and output, errors included."""
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        return main(list(words)), told.getvalue()


def models() -> dict[str, dict[str, Any]]:
    """What ``training models`` says, by version."""
    code, told = command("models", "--json")
    assert code == 0, told
    return {model["version"]: model for model in json.loads(told)}


def test_it_is_not_trained_on_stale_data_or_without_news(shop: ShopStack, champion: str) -> None:
    stale = retrain(shop, SHELFWISE_RETRAIN__MAX_EVENT_AGE_HOURS="0.01")
    assert stale.returncode == ExitCode.STALE, stale.stdout
    assert "python -m ingestion health" in stale.stdout
    nothing = retrain(shop, SHELFWISE_RETRAIN__MIN_NEW_LISTS="100000")
    assert nothing.returncode == ExitCode.NOTHING_NEW, nothing.stdout
    assert "100,000 are needed" in nothing.stdout
    assert stored_versions() == [champion]


def test_a_challenger_that_learnt_nothing_is_refused(shop: ShopStack, champion: str, visitor: Visitor) -> None:
    done = retrain(shop, **BROKEN)
    assert done.returncode == ExitCode.REFUSED, done.stdout
    assert "held back list NDCG@10: -0." in done.stdout
    stored = models()
    assert stored[champion]["state"] == "in force"
    (refused,) = set(stored) - {champion}
    assert (stored[refused]["state"], stored[refused]["decision"]) == ("stored", "refused")
    assert "beyond chance" in stored[refused]["why"]
    assert visitor.version() == champion


def test_killed_in_the_middle_it_changes_nothing(shop: ShopStack, champion: str, visitor: Visitor) -> None:
    known = set(stored_versions())
    words = [sys.executable, "-m", "training", "retrain", "--promote"]
    with subprocess.Popen(
        words,
        cwd=PROJECT_ROOT,
        env=shop.stack.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("model store"):
                break
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(set(stored_versions()) - known) == 1
    assert promotions.in_force() == champion
    assert visitor.version() == champion


def test_a_good_challenger_is_promoted_and_served(
    shop: ShopStack, champion: str, visitor: Visitor, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    done = retrain(shop, "--report", str(path))
    assert done.returncode == 0, done.stdout
    report = json.loads(path.read_text())
    version = report["challenger"]
    assert report["champion"] == champion
    assert {check["name"] for check in report["checks"]} == {
        *(f"{who} {question}" for who in ("held back", "as stored") for question in QUESTIONS),
        "latency",
        "parity",
    }
    until(lambda: visitor.version() == version, seconds=10)
    assert set(visitor.ask(20)) == {200}
    stored = models()
    assert (stored[version]["state"], stored[version]["decision"]) == ("in force", "promoted")
    assert stored[champion]["state"] == "before"
    _is_recorded(shop, version, report)


def _is_recorded(shop: ShopStack, version: str, report: dict[str, Any]) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{shop.stack.home}/mlflow/history.db")
    experiment = client.get_experiment_by_name("shelfwise")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    run = runs[version]
    assert run.info.status == "FINISHED"
    assert run.data.params["training.factors"] == "16"
    assert run.data.params["learnt_until"] == report["card"]["until"]
    assert int(run.data.params["delta.events"]) == report["delta_versions"]["events"]
    assert run.data.metrics["gate.held_back_turn_HR_20.difference.mean"] == pytest.approx(
        next(check for check in report["checks"] if check["name"] == "held back turn HR@20")["numbers"]["difference"][
            "mean"
        ]
    )
    kept = json.loads(Path(client.download_artifacts(run.info.run_id, "report.json")).read_text())
    assert kept["checks"] == report["checks"]
    # What the test before killed.
    assert "KILLED" in {run.info.status for run in runs.values()}


def sabotaged(shop: ShopStack, version: str, name: str) -> str:
    """A copy of a stored model, whose ranker of turns gets other features than it knows: it loads, and fails to answer."""
    folder = shop.stack.home / "bentoml" / "models" / "shelfwise"
    shutil.copytree(folder / version, folder / name)
    rankers = joblib.load(folder / name / "rankers.joblib")
    purposes = {purpose.value: purpose for purpose in rankers}
    joblib.dump({**rankers, purposes["turn"]: rankers[purposes["list"]]}, folder / name / "rankers.joblib")
    about = (folder / name / "model.yaml").read_text()
    (folder / name / "model.yaml").write_text(about.replace(version, name))
    return name


def test_a_model_that_fails_live_is_rolled_back(shop: ShopStack, visitor: Visitor) -> None:
    good = promotions.in_force()
    assert good
    visitor.ask(60)
    code, told = command("watch")
    assert (code, "failed requests 0.0%" in told) == (0, True), told
    bad = sabotaged(shop, good, "99990101000000-failing")
    assert command("promote", bad) == (0, f"promoted {bad}\n")
    until(lambda: visitor.uses(bad), seconds=10)
    assert set(visitor.ask(60)) == {200}, "customers get answers without the model"
    code, told = command("watch")
    assert (code, "failed requests" in told) == (ExitCode.ROLLED_BACK, True), told
    until(lambda: visitor.version() == good, seconds=10)
    assert set(visitor.ask(20)) == {200}
    stored = models()
    assert (stored[good]["state"], stored[bad]["state"], stored[bad]["decision"]) == (
        "in force",
        "stored",
        "rolled back",
    )
    assert "live metrics: failed requests" in stored[bad]["why"]


def test_a_broken_model_is_not_promoted_and_does_no_harm_if_it_is(shop: ShopStack, visitor: Visitor) -> None:
    good = promotions.in_force()
    assert good
    broken = sabotaged(shop, good, "99990202000000-broken")
    rankers = shop.stack.home / "bentoml" / "models" / "shelfwise" / broken / "rankers.joblib"
    os.truncate(rankers, rankers.stat().st_size // 2)
    code, told = command("promote", broken)
    assert (code, "is broken" in told) == (1, True), told
    promotions.promote(broken, "past all checks", good)
    log = shop.stack.home / "logs" / "serving.log"
    until(lambda: f"{broken} cannot be used" in log.read_text(), seconds=10)
    assert visitor.version() == good
    shop.deploy("down", "serving")
    shop.deploy("up", "serving")
    until(lambda: visitor.version() == good, seconds=20)
    assert command("rollback") == (0, f"rolled back to {good}\n")


def test_by_hand_it_goes_back_further_and_forth(shop: ShopStack, champion: str, visitor: Visitor) -> None:
    newest = promotions.in_force()
    assert newest
    assert command("rollback", "--why", "a test") == (0, f"rolled back to {champion}\n")
    until(lambda: visitor.version() == champion, seconds=10)
    code, told = command("rollback")
    assert (code, "no usable version before" in told) == (1, True), told
    assert command("promote", newest) == (0, f"promoted {newest}\n")
    until(lambda: visitor.version() == newest, seconds=10)


def test_an_artefact_of_noise_is_refused_though_it_was_fine_when_tried(shop: ShopStack) -> None:
    from feature_repo.store import open_store
    from training.data.events import Window
    from training.pipeline import read_archive, train
    from training.promotion.exam import Exam
    from training.promotion.gate import quality
    from training.ranking.rankers import Purpose, Rows, fit_ranker, ranker_settings
    from training.steps import Steps

    settings = get_settings().training
    trained = train(open_store(), read_archive(Window(), settings), settings, Steps(quiet=True))
    rng = np.random.default_rng(5)
    columns = {purpose: ranker.trees.n_features_in_ for purpose, ranker in trained.recommender.rankers.items()}
    shuffled = {
        purpose: fit_ranker(
            Rows(rng.normal(size=(2_000, columns[purpose])), np.arange(2_000), rng.random(2_000) < 0.3, np.ones(2_000)),
            ranker_settings(purpose, settings),
            seed=1,
        )
        for purpose in Purpose
    }
    noise = replace(trained.recommender, rankers=shuffled)
    rivals = {"held back": trained.candidate, "as stored": noise}
    limits = RetrainSettings(tolerance=0.1)
    checks = {check.name: check for check in quality(Exam.after_split(trained), trained.candidate, rivals, limits)}
    assert all(checks[f"held back {question}"].passed for question in QUESTIONS)
    assert checks["held back turn HR@20"].numbers["difference"]["mean"] == 0
    for question in ("turn HR@20", "turn MRR@20", "list NDCG@10"):
        assert not checks[f"as stored {question}"].passed
