"""The monitoring page: that it says what the command and the metrics say, harms nobody, and what it shows beside that."""

from __future__ import annotations

import argparse
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from own_stack import free_ports
from prometheus_client.parser import text_string_to_metric_families

from feature_repo.sections.watching import HealthSettings
from feature_repo.settings import get_settings
from feature_repo.tables import QUARANTINE
from ingestion.commands import health
from ingestion.health import metrics
from ingestion.health import page as health_page
from ingestion.health.checks import (
    Delay,
    Lag,
    Measures,
    PartitionTraffic,
    Rate,
    StreamState,
    View,
    Violations,
    all_checks,
)
from ingestion.health.metrics import Trace, serve_metrics
from ingestion.health.page import SECTIONS, History, render
from ingestion.health.serving import Answer, Model, Quality, Service
from ingestion.health.sparkline import sparkline
from ingestion.health.status import Check, Status

EVIL = '<script>alert("x")</script>'
NOW = 1_700_000_000.0
MEASURES = Measures(
    at=NOW,
    stream=StreamState.RUNNING,
    unreachable={"redis": "start it"},
    lags=[Lag("events", 0, 5_000, 300.0)],
    partitions=[PartitionTraffic(0, 4)],
    views=[View("item_activity", True, 2.0, 0.0)],
    rates=[Rate("topic", EVIL, 10.0, 12.0, "")],
    violations=[
        Violations("too_long", EVIL, 1, 9),
        Violations("too_long", "name", 2, 3),
        Violations("empty", "", 0, 4),
    ],
    accepted=150,
    services=[Service("collector", "http://127.0.0.1:8080", Answer.NONE, started=True)],
    model=Model("v2", NOW - 86_400, NOW - 90_000, "2023-11-13T22:13:20", "as good", (), (0.2, 0.3)),
)


class Tags(HTMLParser):
    """What a document consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def checks(self) -> set[tuple[str | None, str | None, str | None]]:
        shown = [given for tag, given in self.tags if tag == "li" and "data-check" in given]
        found = {(given["data-check"], given["data-subject"], given["data-status"]) for given in shown}
        assert len(found) == len(shown), "something is shown twice"
        return found


def page(measures: Measures = MEASURES, history: History | None = None) -> str:
    checks = all_checks(measures, HealthSettings())
    return render(measures, checks, history or History(), [Trace(1.0, 0.0), Trace(3.0, 0.0)])


@pytest.fixture
def served(warehouse: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Page and metrics of an installation whose servers do not run; nothing listens at the lowest ports."""
    for place, section in enumerate(("KAFKA", "REDIS", "COLLECTOR", "SERVING"), start=1):
        monkeypatch.setenv(f"SHELFWISE_{section}__PORT", str(place))
    monkeypatch.setattr(metrics, "LONGEST_WAIT_SECONDS", 60.0)
    get_settings.cache_clear()
    port = free_ports(1)[0]
    close = serve_metrics("127.0.0.1", port)
    yield f"http://127.0.0.1:{port}"
    close()


def test_command_page_and_metrics_say_the_same(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"reason": "too_long", "field": EVIL, "source": "topic", "partition": 0, "offset": 1}
    refused = [{**row, "received_at": datetime.now(UTC), "payload": ""}] * 20
    write_deltalake(QUARANTINE.uri, pa.Table.from_pylist(refused, schema=QUARANTINE.schema), mode="append")
    shown = Tags(urllib.request.urlopen(served, timeout=90).read().decode()).checks
    scraped = urllib.request.urlopen(f"{served}/metrics", timeout=90).read().decode()
    assert health.run(argparse.Namespace(json=True, serve=False, watch=None)) == 1
    told = json.loads(capsys.readouterr().out)["checks"]

    assert shown == {(check["name"], check["subject"], check["status"]) for check in told}
    assert {subject for _, subject, status in shown if status == "alarm"} == {
        "process", "kafka", "redis", f"too_long {EVIL}",
    }  # fmt: skip
    exported = {
        (sample.labels["check"], sample.labels["subject"]): sample.value
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
        if sample.name == "shelfwise_alarm"
    }
    judged = {(check["name"], check["subject"]): check["status"] for check in told if check["status"] != "not judged"}
    assert exported == {check: float(status == "alarm") for check, status in judged.items()}


def test_what_others_send_is_text_and_nothing_is_loaded(served: str) -> None:
    found = Tags(page(history=History({("topic", EVIL): [1, 2]}, {EVIL: [1, 2]})))
    assert not {tag for tag, _ in found.tags} & {"script", "link", "img", "iframe", "form", "a", "object"}
    assert EVIL in found.text
    assert "url(" not in page()
    assert "://" not in re.sub(r"http://127\.0\.0\.1\S*", "", page())
    with urllib.request.urlopen(served, timeout=90) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_it_fits_a_phone_and_reloads_itself() -> None:
    metas = [given for tag, given in Tags(page()).tags if tag == "meta"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert {"http-equiv": "refresh", "content": "15"} in metas


def test_what_stands_beside_the_checks() -> None:
    text = Tags(page()).text
    assert "3 alarms" in text  # redis, lag, collector
    assert "make up" in text
    assert re.search(r"too_long12.*3 of them lately.*empty4", text)  # by reason, the most frequent first
    for part in ("kafka up", "redis down", "stream up", "collector down"):
        assert part.replace(" ", "") in text
    assert "v2" in text
    assert "1.0 days ago" in text


def test_curves_where_there_is_history() -> None:
    assert page().count("<polyline") == 2  # what was seen at earlier looks, and the promoted models
    beside = History({("topic", EVIL): [0, 3, 1]}, {"too_long": [0, 0, 5], "empty": [0, 0, 0]})
    assert page(history=beside).count("<polyline") == 4
    assert 'points="0.0,26.0 100.0,2.0 200.0,18.0"' in sparkline([0, 3, 1], "events")
    assert sparkline([1.0], "one") == sparkline([0, 0], "none") == sparkline([], "none") == ""


def test_a_check_that_the_page_does_not_know_is_shown_all_the_same() -> None:
    new = Check("new", "x", Status.ALARM, advice="do something")
    text = render(MEASURES, [new], History(), [])
    assert ("new", "x", "alarm") in Tags(text).checks
    assert "<h2>More</h2>" in text


def test_every_check_has_its_section() -> None:
    ill = Measures(
        at=NOW,
        stream=StreamState.DOWN,
        lags=[Lag("events", 0, 0, 0.0)],
        partitions=[PartitionTraffic(0, 5)],
        delays=[Delay("topic", 100, 0.1, 0.2)],
        views=[View("item_activity", True, 1.0, 0.0)],
        services=[Service("serving", "", Answer.DEGRADED, started=False)],
        model=Model("v", NOW, NOW, quality=[Quality("HR", 0.1, 0.2, -0.01)]),
        rates=[Rate("topic", "all", 10.0, 10.0, "")],
        violations=[Violations("too_long", "name", 1, 1)],
    )
    known = {name for names in SECTIONS.values() for name in names}
    assert {check.name for check in all_checks(ill, HealthSettings())} <= known


@pytest.mark.parametrize("path", ["/other", "/metrics/x", "/.env"])
def test_there_is_nothing_else(served: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(served + path, timeout=10)
    assert refused.value.code == 404


def test_a_page_that_cannot_be_made_takes_nothing_down(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("broken")

    monkeypatch.setattr(health_page, "render", broken)
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(served, timeout=90)
    assert failed.value.code == 500
    assert b"shelfwise_alarm{" in urllib.request.urlopen(f"{served}/metrics", timeout=90).read()
