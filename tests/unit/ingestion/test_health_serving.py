"""Whether collector, service and model are judged rightly, and measured as they are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from own_stack import OwnStack

from feature_repo.models.promotions import promote
from feature_repo.models.record import ABOUT, stored_models
from feature_repo.sections.watching import HealthSettings
from feature_repo.settings import get_settings
from ingestion.health import services as health_services
from ingestion.health.serving import Answer, Model, Quality, Service, model_checks, service_checks
from ingestion.health.status import Status

OK, ALARM, NOT_JUDGED = Status.OK, Status.ALARM, Status.NOT_JUDGED
LIMITS = HealthSettings()
DAY = 86_400.0


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnStack]:
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    stack = OwnStack.at(tmp_path)
    with stack.exported():
        yield stack


def store(version: str, trained_at: str = "2026-01-02T00:00:00+00:00", metrics: Any = None) -> None:
    folder = stored_models() / version
    folder.mkdir(parents=True)
    card = {"trained_at": trained_at, "until": "2026-01-01T00:00:00+00:00", "metrics": metrics or {}}
    (folder / ABOUT).write_text(json.dumps({"card": card}))


def evaluation(model: float, popularity: float, high: float | None) -> dict[str, Any]:
    def mean(value: float, high: float | None = None) -> dict[str, float | None]:
        return {"mean": value, "low": None, "high": high, "count": 5}

    hit_rates = {"model_hr": mean(model), "popularity_hr": mean(popularity), "gain_hr": mean(0.0, high)}
    lists = {"model": mean(0.7), "popularity": mean(0.6), "gain": mean(0.1, 0.2)}
    return {"next_product_at_20": {"all": hit_rates}, "rerank_ndcg_at_10": lists}


@pytest.mark.parametrize(
    ("answer", "started", "status"),
    [
        (Answer.READY, True, OK),
        (Answer.READY, False, OK),
        (Answer.DEGRADED, True, ALARM),
        (Answer.DEGRADED, False, ALARM),
        (Answer.NONE, True, ALARM),
        (Answer.NONE, False, NOT_JUDGED),  # stopped, or somebody else's
    ],
)
def test_services_that_were_started_must_answer(answer: Answer, started: bool, status: Status) -> None:
    (check,) = service_checks([Service("collector", "http://127.0.0.1:1", answer, started)])
    assert (check.status, check.subject, bool(check.advice)) == (status, "collector", status is ALARM)


@pytest.mark.parametrize(("days", "status"), [(13.9, OK), (14.1, ALARM)])
def test_a_model_grows_old(days: float, status: Status) -> None:
    (check,) = model_checks(Model("v", trained_at=0.0), days * DAY, LIMITS)
    assert (check.status, check.value, check.limit) == (status, pytest.approx(days), 14.0)
    assert ("retrain" in check.advice) == (status is ALARM)


@pytest.mark.parametrize(("high", "status"), [(0.01, OK), (-0.001, ALARM), (None, NOT_JUDGED)])
def test_a_model_must_not_certainly_be_worse_than_popularity(high: float | None, status: Status) -> None:
    model = Model("v", trained_at=0.0, quality=[Quality("HR", 0.1, 0.2, high)])
    _, check = model_checks(model, 0.0, LIMITS)
    assert (check.status, check.value, check.limit) == (status, 0.1, 0.2)


def test_no_model_is_no_alarm_and_one_without_record_is() -> None:
    assert list(model_checks(None, 0.0, LIMITS)) == []
    (check,) = model_checks(Model("v", problem="it is gone"), 0.0, LIMITS)
    assert check.status is ALARM
    assert "it is gone" in check.advice


@pytest.mark.usefixtures("stack")
def test_the_promoted_model_is_measured_and_those_before_it() -> None:
    assert health_services.model() is None
    store("a", metrics=evaluation(0.3, 0.2, 0.15))
    store("b", metrics=evaluation(0.4, 0.2, 0.25))
    store("c")  # stored, but never promoted
    promote("a", "first", None)
    promote("b", "better", "a")
    found = health_services.model()
    assert found
    assert (found.version, found.why, found.problem, found.past) == ("b", "better", "", [0.3, 0.4])
    assert found.trained_at
    assert found.learnt_until
    assert found.trained_at - found.learnt_until == DAY
    assert found.quality == [
        Quality("next product, HR@20", 0.4, 0.2, 0.25),
        Quality("order of lists, NDCG@10", 0.7, 0.6, 0.2),
    ]


@pytest.mark.parametrize(
    ("tag", "version"),
    [("shelfwise:a", "a"), ("shelfwise:latest", "b"), ("shelfwise", "b"), ("shelfwise:promoted", "a")],
)
def test_the_model_is_the_one_that_the_settings_name(
    stack: OwnStack, tag: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store("a")
    store("b")
    promote("a", "", None)
    monkeypatch.setenv("SHELFWISE_SERVING__MODEL", tag)
    get_settings.cache_clear()
    found = health_services.model()
    assert found
    assert found.version == version


@pytest.mark.usefixtures("stack")
def test_a_model_that_is_gone_or_broken_is_told() -> None:
    promote("a", "first", None)
    found = health_services.model()
    assert found
    assert (found.version, found.trained_at) == ("a", None)
    assert found.problem
    store("a")
    (stored_models() / "a" / ABOUT).write_text("{")
    broken = health_services.model()
    assert broken
    assert "a: " in broken.problem


def test_servers_are_asked(stack: OwnStack) -> None:
    statuses = {"/health": 200, "/readyz": 503}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.get(self.path, 404))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    (stack.home / "run").mkdir()
    (stack.home / "run" / "serving.json").touch()
    assert [(one.answer, one.started) for one in health_services.services()] == [
        (Answer.NONE, False),
        (Answer.NONE, True),
    ]
    servers = [HTTPServer(("127.0.0.1", stack.port(name)), Handler) for name in ("COLLECTOR__PORT", "SERVING__PORT")]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert [one.answer for one in health_services.services()] == [Answer.READY, Answer.DEGRADED]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
