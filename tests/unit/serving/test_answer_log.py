"""Answers wait for Kafka without anybody waiting for them, and what is given up is counted."""

from __future__ import annotations

import time

import pytest
from kafka.future import Future

from feature_repo.answered import of_message, to_message
from feature_repo.sections.servers import KafkaSettings
from ingestion.outcomes.answers import rows_of
from serving import metrics
from serving.answering import answer_log
from serving.answering.answer_log import AnswerLog, record_of
from serving.answering.answers import Item

BODY = {
    "items": [Item("cup", 0.5, "taste", "because")],
    "model_version": None,
    "fallback": "popular",
    "request_id": "r1",
}
NOTED = {"experiment": "e", "variant": "bold", "explored": True, "propensity": 0.5, "choices": {"bold": "cup"}}


def test_an_answer_comes_out_as_it_went_in() -> None:
    record = record_of(BODY, "home", "ada", NOTED)
    [found] = of_message(to_message([record]))
    assert found.answered_at.timestamp() == pytest.approx(record["answered_at"], abs=1e-6)  # microseconds
    assert found.model_dump() | {"answered_at": record["answered_at"]} == record
    [row] = rows_of(to_message([record]), 2, 17, time.time())
    assert (row["partition"], row["offset"], row["choices"]) == (2, 17, [("bold", "cup")])
    assert row["dt"] == found.answered_at.date()


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'[{"request_id": "r1"}]', b'[{"request_id": 1, "odd": 2}]'])
def test_what_is_no_answer_is_kept_as_it_is(value: bytes) -> None:
    [row] = rows_of(value, 0, 3, 1.8e9)
    assert row["unreadable"] == value.decode(errors="replace")
    assert (row["offset"], "request_id" in row) == (3, False)


def test_without_kafka_the_oldest_are_given_up_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_log, "_MOST_WAITING", 10)
    monkeypatch.setattr(answer_log, "_EVERY_SECONDS", 0.01)
    before = metrics.answers_lost._value.get()
    log = AnswerLog(KafkaSettings(bootstrap="127.0.0.1:9"))
    log.start()
    begun = time.monotonic()
    for _ in range(1_000):
        log.add(record_of(BODY, "home", None, {}))
    assert time.monotonic() - begun < 1.0
    assert metrics.answers_lost._value.get() - before == 990
    log.stop()
    assert metrics.answers_lost._value.get() - before == 1_000


class Outage:
    """A producer that takes messages while Kafka is away, and fails them later, as Kafka's does."""

    def __init__(self) -> None:
        self.sent: list[tuple[list[str], Future]] = []

    def send(self, _: str, value: bytes) -> Future:
        self.sent.append(([one.request_id for one in of_message(value)], Future()))
        return self.sent[-1][1]


def test_what_kafka_did_not_take_waits_in_its_order_and_only_what_falls_out_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer_log, "_MOST_WAITING", 4)
    log, outage = AnswerLog(KafkaSettings(bootstrap="127.0.0.1:9")), Outage()
    monkeypatch.setattr(log, "_producer", outage)
    lost, logged = metrics.answers_lost._value.get(), metrics.answers_logged._value.get()
    for number in range(3):
        log.add(record_of({**BODY, "request_id": f"r{number}"}, "home", None, {}))
    log._send()
    outage.sent[0][1].failure(TimeoutError("away"))
    assert metrics.answers_lost._value.get() == lost
    log._send()
    for number in range(3, 5):
        log.add(record_of({**BODY, "request_id": f"r{number}"}, "home", None, {}))
    outage.sent[1][1].failure(TimeoutError("away"))
    assert metrics.answers_lost._value.get() == lost + 1
    log._send()
    assert [ids for ids, _ in outage.sent] == [["r0", "r1", "r2"], ["r0", "r1", "r2"], ["r1", "r2", "r3", "r4"]]
    outage.sent[2][1].success(None)
    assert metrics.answers_logged._value.get() == logged + 4
    assert not log._told, "a second outage is told, too"
