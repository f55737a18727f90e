"""The schedule on real parts: Airflow, in its own environment, runs the commands on a small shop."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import offline_data
import psutil
import pytest
from airflow_client import Airflow, running_airflow
from crm_server import SECRET, CrmServer, crm_server
from redis import Redis
from shop_stack import ShopStack, shop_stack
from waiting import until

from deploy.airflow import variables
from deploy.processes import marked
from deploy.setup_airflow import ENVIRONMENT, is_set_up
from feature_repo.models import promotions
from feature_repo.settings import PROJECT_ROOT, get_settings

pytestmark = pytest.mark.skipif(not is_set_up(), reason="Airflow is not installed: `make airflow-setup` does that")

RANKERS = ("TURN", "ORDER", "LIST")
SETTINGS = {
    "SHELFWISE_TRAINING__ITEM_SPACES": "1",
    "SHELFWISE_TRAINING__FACTORS": "16",
    "SHELFWISE_TRAINING__TEST_TURNS": "400",
    "SHELFWISE_AUTOMATION__RETRIES": "2",
    "SHELFWISE_AUTOMATION__RETRY_SECONDS": "1",
    "SHELFWISE_AUTOMATION__FRESH_DATA_CHECK_MINUTES": "0.02",
}
SCHEDULES = ("CATALOG", "PULL", "MATERIALIZE", "NIGHTLY", "RETRAIN", "WATCH")
BY_HAND = {f"SHELFWISE_AUTOMATION__{name}_SCHEDULE": "" for name in SCHEDULES}
GOOD_TREES = {f"SHELFWISE_TRAINING__{ranker}_RANKER__TREES": "40" for ranker in RANKERS}
# Trees that cannot split, and so learn nothing.
BROKEN_TREES = {
    f"SHELFWISE_TRAINING__{ranker}_RANKER__{name}": value
    for ranker in RANKERS
    for name, value in (("TREES", "1"), ("ROWS_PER_LEAF", "1000000000"))
}
# Run by Airflow's Python: what it makes of the files.
PARSE = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
dags = {
    name: {
        "schedule": getattr(dag.timetable, "expression", None),
        "catchup": dag.catchup,
        "runs": dag.max_active_runs,
        "tasks": {task.task_id: task.command[1:] for task in dag.tasks},
        "retries": min(task.retries for task in dag.tasks),
        "seconds": max(task.execution_timeout.total_seconds() for task in dag.tasks),
        "edges": [[task.task_id, after] for task in dag.tasks for after in task.downstream_task_ids],
    }
    for name, dag in bag.dags.items()
}
print(json.dumps({"errors": bag.import_errors, "dags": dags}))
"""
# The same: what becomes of exit codes.
ENDINGS = """
import json
from automation.commands import Command, CommandSensor
def ending(code, what=Command, **options):
    step = what(task_id="a", command=["sh", "-c", f"echo told; exit {code}"], skip={5: "five"}, final={6: "six"}, **options)
    try:
        return repr(step.execute({}) if what is Command else step.poke({}))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
print(json.dumps([ending(code) for code in (0, 1, 2, 5, 6)]))
print(json.dumps([ending(code, CommandSensor, not_yet=3) for code in (0, 1, 3, 5)]))
"""


def in_airflow(script: str, **more: str) -> list[Any]:
    """The lines of JSON that a script prints in Airflow's environment."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("SHELFWISE_")}
    environment = {**others, **variables(get_settings()), **more}
    python = ENVIRONMENT / "bin" / "python"
    done = subprocess.run([python, "-c", script], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line[:1] in "[{" and line[-1:] in "]}"]


def test_the_dags_have_the_steps_that_are_configured(tmp_path: Path) -> None:
    (parsed,) = in_airflow(PARSE, AIRFLOW_HOME=str(tmp_path))
    assert parsed["errors"] == {}
    dags = parsed["dags"]
    assert set(dags) == {f"shelfwise_{name}" for name in ("materialize", "nightly", "retrain", "watch")}
    assert {(dag["catchup"], dag["runs"]) for dag in dags.values()} == {(False, 1)}
    assert {dag["retries"] for dag in dags.values()} == {3}
    assert dags["shelfwise_retrain"]["tasks"] == {
        "fresh_data": ["-m", "training", "retrain", "--check"],
        "retrain": ["-m", "training", "retrain", "--promote"],
    }
    assert dags["shelfwise_retrain"]["edges"] == [["fresh_data", "retrain"]]
    assert dags["shelfwise_nightly"]["edges"] == []
    assert set(dags["shelfwise_nightly"]["tasks"]) == {"erase", "parity", "validate", "drift", "compact"}
    (parsed,) = in_airflow(
        PARSE,
        AIRFLOW_HOME=str(tmp_path),
        SHELFWISE_AUTOMATION__CATALOG="/data/catalog",
        SHELFWISE_AUTOMATION__CATALOG_SNAPSHOT="true",
        SHELFWISE_AUTOMATION__PULLS='["shop.toml", "a crm.toml"]',
        SHELFWISE_AUTOMATION__WATCH_SCHEDULE="1 2 * * *",
        SHELFWISE_AUTOMATION__TIMEOUT_MINUTES="7",
        SHELFWISE_OFFLINE__STORE="postgres",
    )
    more = parsed["dags"]
    assert parsed["errors"] == {}
    assert set(more) - set(dags) == {"shelfwise_catalog", "shelfwise_pull", "shelfwise_publish"}
    assert more["shelfwise_catalog"]["tasks"] == {
        "catalog": ["-m", "ingestion", "catalog", "/data/catalog", "--snapshot"]
    }
    assert more["shelfwise_pull"]["tasks"] == {
        "shop": ["-m", "ingestion", "pull", "shop.toml"],
        "a_crm": ["-m", "ingestion", "pull", "a crm.toml"],
    }
    assert (more["shelfwise_watch"]["schedule"], more["shelfwise_watch"]["seconds"]) == ("1 2 * * *", 420)


def test_exit_codes_mean_what_the_step_says(tmp_path: Path) -> None:
    command, sensor = in_airflow(ENDINGS, AIRFLOW_HOME=str(tmp_path))
    assert command == [
        "'told'",
        "AirflowException: exit code 1: told",
        "AirflowFailException: the command is called with a wrong argument; see the lines above",
        "AirflowSkipException: five",
        "AirflowFailException: six",
    ]
    assert sensor == ["True", "AirflowException: exit code 1: told", "False", "AirflowSkipException: five"]


@pytest.fixture(scope="module")
def crm() -> Iterator[CrmServer]:
    with crm_server() as server:
        at = offline_data.now().isoformat()
        server.records["orders"] = [
            {
                "id": number,
                "created_at": at,
                "processed_at": at,
                "updated_at": at,
                "cancelled_at": None,
                "test": False,
                "currency": "EUR",
                "subtotal_price": "19.00",
                "total_price": "23.90",
                "customer": {"id": number},
                "line_items": [{"product_id": "p7", "title": "Mug", "price": "9.50", "quantity": 2}],
            }
            for number in range(5)
        ]
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shop's own files are: configuration, catalogue, what to pull."""
    return tmp_path_factory.mktemp("automation")


@pytest.fixture(scope="module")
def shop(folder: Path, crm: CrmServer) -> Iterator[ShopStack]:
    """A shop with a history and without a model."""
    (folder / "shop.toml").write_text(
        f'preset = "shopify"\nbase_url = "{crm.url}/admin/api/2025-10"\nrequests_per_second = 1000\ncustomers = false\n'
    )
    (folder / "shelfwise.toml").touch()
    own = {
        **SETTINGS,
        **BY_HAND,
        **BROKEN_TREES,
        "SHELFWISE_CONFIG": str(folder / "shelfwise.toml"),
        "SHELFWISE_AUTOMATION__CATALOG": str(folder / "catalog.csv"),
        "SHELFWISE_AUTOMATION__PULLS": json.dumps([str(folder / "shop.toml")]),
    }
    with pytest.MonkeyPatch.context() as patch, shop_stack(folder / "home") as shop:
        for name, value in own.items():
            patch.setitem(shop.stack.variables, name, value)
            patch.setenv(name, value)
        patch.setenv("SHOPIFY_ACCESS_TOKEN", SECRET)
        get_settings.cache_clear()
        shop.deploy("up", "kafka")
        yield shop


def test_a_dag_can_be_tried_without_the_scheduler(shop: ShopStack) -> None:
    shop.deploy("airflow", "db", "migrate")
    tried = shop.stack.deploy("airflow", "dags", "test", "shelfwise_watch")
    assert tried.returncode == 0, tried.stdout
    assert "Skipped: nothing is promoted yet" in tried.stdout
    # The catalogue's file is not there yet.
    failed = shop.stack.deploy("airflow", "dags", "test", "shelfwise_catalog")
    assert failed.returncode != 0
    assert "catalog.csv" in failed.stdout


@pytest.fixture(scope="module")
def airflow(shop: ShopStack) -> Iterator[Airflow]:
    with running_airflow(shop.stack) as airflow:
        until(lambda: len(airflow.dags()) == len(SCHEDULES), seconds=120)
        yield airflow
    assert marked(shop.stack.home, lambda name: name.startswith("airflow")) == []


@pytest.fixture(scope="module")
def champion(shop: ShopStack) -> str:
    """A model of all but the last days, promoted as the first, that learnt more than a challenger can."""
    with pytest.MonkeyPatch.context() as patch:
        for name in BROKEN_TREES:
            patch.delitem(shop.stack.variables, name)
        for name, value in GOOD_TREES.items():
            patch.setitem(shop.stack.variables, name, value)
        done = shop.run("training", "run", "--until", (offline_data.now() - timedelta(days=4)).isoformat())
    assert done.returncode == 0, done.stdout
    version = promotions.in_force()
    assert version
    return version


def test_it_listens_on_loopback_only(shop: ShopStack, airflow: Airflow) -> None:
    processes = marked(shop.stack.home, lambda name: name.startswith("airflow"))
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    assert airflow.client.get("/api/v2/dags", headers={"Authorization": "Bearer x"}).status_code in (401, 403)


def test_a_step_that_failed_is_tried_again_and_can_be_repeated(airflow: Airflow, folder: Path) -> None:
    run = airflow.trigger("catalog")
    until(lambda: run.tasks["catalog"][0] == "up_for_retry" or run.tasks["catalog"][1] > 1, 120)
    (folder / "catalog.csv").write_text("product_id,name,price\np1,Cup,3.5\nnew-1,Pan,20\n")
    assert run.finished() == "success"
    state, tries = run.tasks["catalog"]
    assert (state, tries > 1) == ("success", True)
    assert "error: " in run.logs("catalog")
    assert "rows: 2 read, 2 of them new or changed" in run.log("catalog", tries)
    again = airflow.trigger("catalog")
    assert again.finished() == "success"
    assert "0 of them new or changed" in again.logs("catalog")


def test_what_is_new_is_pulled_once(airflow: Airflow) -> None:
    first = airflow.trigger("pull")
    assert first.finished() == "success", first.log("shop")
    assert "5 sent" in first.logs("shop")
    second = airflow.trigger("pull")
    assert second.finished() == "success"
    assert "0 sent, 5 known already" in second.logs("shop")


def test_an_emptied_online_store_is_filled(shop: ShopStack, airflow: Airflow) -> None:
    with Redis(port=shop.stack.port("REDIS__PORT")) as redis:
        redis.flushall()
        run = airflow.trigger("materialize")
        assert run.finished() == "success", run.log("materialize")
        assert redis.dbsize() > 250


def test_a_nightly_check_that_fails_does_not_hinder_the_others(airflow: Airflow) -> None:
    # The features of this shop are the tests' own, and go by fewer events than there are.
    run = airflow.trigger("nightly")
    assert run.finished() == "failed"
    assert (run.tasks["parity"], run.tasks["compact"]) == (("failed", 3), ("success", 1))
    assert run.tasks["drift"] == ("skipped", 1), "nothing is promoted yet"
    assert "Stored features differ from what the events say" in run.log("parity")
    assert "events: 0 files merged" in run.logs("compact")
    seeds = {line for attempt in (1, 3) for line in run.log("parity", attempt).splitlines() if "--seed" in line}
    assert len([line for line in seeds if "Running command" in line]) == 1


def test_without_a_promoted_model_there_is_nothing_to_watch(airflow: Airflow) -> None:
    run = airflow.trigger("watch")
    assert (run.finished(), run.tasks) == ("success", {"watch": ("skipped", 1)})


def test_a_challenger_that_learnt_nothing_is_refused(shop: ShopStack, airflow: Airflow, champion: str) -> None:
    run = airflow.trigger("retrain")
    assert (run.finished(), run.tasks) == ("success", {"fresh_data": ("success", 1), "retrain": ("skipped", 1)})
    assert "held back list NDCG@10: -0." in run.logs("retrain")
    assert "refused by the gate: the champion stays in force, nothing was promoted" in run.logs("retrain")
    assert promotions.in_force() == champion


def test_retraining_waits_for_fresh_data_and_for_news(airflow: Airflow, champion: str, folder: Path) -> None:
    (folder / "shelfwise.toml").write_text("[retrain]\nmax_event_age_hours = 0.01\n")
    run = airflow.trigger("retrain")
    until(lambda: run.tasks["fresh_data"] == ("up_for_reschedule", 1), 120)
    assert "stale: newest event" in run.log("fresh_data")
    (folder / "shelfwise.toml").write_text("[retrain]\nmin_new_lists = 1_000_000\n")
    assert run.finished() == "success"
    assert {state for state, _ in run.tasks.values()} == {"skipped"}
    assert "too little happened since the champion was trained" in run.logs("fresh_data")
