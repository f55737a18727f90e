"""``python -m ingestion health`` without servers: its exit code, its output, and what it measures of files."""

from __future__ import annotations

import argparse
import json

import pytest

from feature_repo.settings import get_settings
from ingestion.commands import health
from ingestion.health import measures as health_measures
from ingestion.health.checks import Check, Lag, Measures, Status, StreamState
from ingestion.health.kafka import Backlog, Message, message
from ingestion.locks import stream_paused

WELL = Measures(at=1.5, stream=StreamState.RUNNING, lags=[Lag("events", 0, 3, 0.5)])
ILL = Measures(at=1.5, stream=StreamState.DOWN, lags=[Lag("events", 0, 5_000, 999.0), Lag("events", 1, 5_000, 999.0)])


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    health.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def closed_ports(warehouse: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation whose servers do not run; nothing listens at the lowest ports."""
    monkeypatch.setenv("SHELFWISE_KAFKA__PORT", "1")
    monkeypatch.setenv("SHELFWISE_REDIS__PORT", "2")
    get_settings.cache_clear()


def test_all_is_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(health_measures, "measure", lambda: WELL)
    assert health.run(arguments()) == 0
    output = capsys.readouterr().out
    assert "events/0" in output
    assert "All is well." in output


def test_alarms_say_what_to_do_once_per_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health_measures, "measure", lambda: ILL)
    assert health.run(arguments()) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ALARM")]
    assert [line.split(":")[0] for line in lines] == ["ALARM stream (process)", "ALARM lag (events/0, events/1)"]
    assert "make up" in lines[0]


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(health_measures, "measure", lambda: ILL)
    assert health.run(arguments("--json")) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], found["at"][:10]) == ("alarm", "1970-01-01")
    assert [check["status"] for check in found["checks"]] == ["alarm"] * 3
    assert set(found["checks"][0]) == set(Check("", "", Status.OK).__dataclass_fields__)


def test_watching_looks_again_until_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([WELL, ILL])

    def measure() -> Measures:
        try:
            return next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(health_measures, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        health.run(arguments("--json", "--watch", "0.01"))
    assert [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()] == ["ok", "alarm"]


@pytest.mark.usefixtures("closed_ports")
def test_servers_that_are_down_are_alarms_and_no_crash(capsys: pytest.CaptureFixture[str]) -> None:
    assert health.run(arguments("--json")) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {check["subject"] for check in checks if check["status"] == "alarm"} == {"process", "kafka", "redis"}


@pytest.mark.usefixtures("closed_ports")
def test_the_stream_is_known_by_its_file_and_steps_aside_for_batch_jobs() -> None:
    assert health_measures.measure().stream is StreamState.DOWN
    with stream_paused():
        assert health_measures.measure().stream is StreamState.PAUSED
    (get_settings().home / "run" / "stream.ready").touch()
    assert health_measures.measure().stream is StreamState.RUNNING


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"type": "track", "event": "A", "properties": {"product_id": "p"}}', Message(1.0, "A", True)),
        (b'{"type": "track", "event": "A", "properties": {"products": [{}]}}', Message(1.0, "A", True)),
        (b'{"type": "track", "event": "A", "properties": []}', Message(1.0, "A", False)),
        (b'{"type": "page", "event": "A"}', Message(1.0, "", False)),
        (b"[1]", Message(1.0, "", False)),
        (b"no json", Message(1.0, "", False)),
        (None, Message(1.0, "", False)),
    ],
)
def test_messages_may_be_anything(value: bytes | None, expected: Message) -> None:
    assert message(1.0, value) == expected


def test_what_is_still_on_its_way_to_the_archive_is_no_quiet_feed() -> None:
    backlogs = {"events": {0: Backlog(0, ()), 1: Backlog(5, (Message(700.0, "A", True),))}}
    assert health_measures._archived_until(backlogs, 1_000.0) == 700.0
    assert health_measures._archived_until({}, 1_000.0) == 1_000.0
