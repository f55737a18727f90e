"""Connectors' files hold no secrets, and what Connect says is put in a line with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feature_repo.errors import InputError, UnavailableError
from feature_repo.settings import variable_names
from ingestion.changes.config import Mapping
from ingestion.connectors import rest
from ingestion.connectors.causes import explained, root_cause
from ingestion.connectors.files import HERE, read
from ingestion.connectors.rest import Status

MAPPING = Mapping.model_validate(
    {"name": "shop", "products": {"table": "public.products", "product_id": "id", "price": "price"}}
)


def test_the_file_for_postgres_says_what_is_read_and_names_secrets_only() -> None:
    connector = read(HERE / "postgres.json", MAPPING)
    assert connector.name == "shelfwise-shop"
    assert connector.config["table.include.list"] == "public.products"
    assert connector.config["column.include.list"] == "public.products.id,public.products.price"
    assert connector.config["topic.prefix"] == connector.config["transforms.one.replacement"] == "shelfwise.cdc.shop"
    assert connector.config["transforms.one.regex"] == "shelfwise.cdc.shop[.].*"
    provided = {value[6:-1] for value in connector.config.values() if value.startswith("${env:")}
    assert "SHELFWISE_CDC__PASSWORD" in provided
    assert provided <= variable_names().keys()


def test_a_secret_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"name": "own", "config": {"database.password": "hunter2"}}))
    with pytest.raises(InputError, match=r"database\.password is written out") as refusal:
        read(path, MAPPING)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[]", '{"name": "own"}', '{"name": "own", "config": []}'])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(InputError, match="needs a name and a config"):
        read(path, MAPPING)


TRACE = """org.apache.kafka.connect.errors.ConnectException: An exception occurred in the change event producer.
\tat io.debezium.pipeline.ErrorHandler.setProducerThrowable(ErrorHandler.java:53)
Caused by: io.debezium.DebeziumException: java.util.concurrent.ExecutionException
\tat io.debezium.util.Threads.run(Threads.java:1)
Caused by: org.postgresql.util.PSQLException: FATAL: password authentication failed for user "shelfwise"
\tat org.postgresql.core.v3.ConnectionFactoryImpl.doAuthentication(ConnectionFactoryImpl.java:704)
\t... 3 more
"""


def test_the_innermost_cause_is_told() -> None:
    assert root_cause(TRACE) == 'FATAL: password authentication failed for user "shelfwise"'
    assert root_cause("java.lang.RuntimeException: org.foo.BarException: baz\n\tat a.b(c.java:1)") == "baz"
    assert root_cause("") == "Connect does not say why"


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        ('FATAL: password authentication failed for user "x"', "SHELFWISE_CDC__PASSWORD"),
        ("Connection to 127.0.0.1:1 refused. Check that the hostname", "SHELFWISE_CDC__PORT"),
        ('FATAL: database "x" does not exist', "SHELFWISE_CDC__DATABASE"),
        ("Postgres server wal_level property must be 'logical' but is: 'replica'", "ALTER SYSTEM SET wal_level"),
        ("ERROR: permission denied for table orders", "ingestion cdc --check"),
        ('ERROR: publication "shelfwise_shop" does not exist', "ingestion cdc --check"),
        ("The connection attempt failed: ${env:SHELFWISE_CDC__HOST}", "config.providers=env"),
        ('ERROR: replication slot "x" is active for PID 7', "another name"),
        ("Failed to find any class that implements Connector", "make up WITH=cdc"),
    ],
)
def test_what_is_known_to_help_is_said(cause: str, advice: str) -> None:
    assert advice in explained(cause)


RUNS, FAILS = Status("RUNNING", ("RUNNING",), ""), Status("RUNNING", ("FAILED",), TRACE)


class Told(rest.Connect):
    """One that tells a state after the other, and the last for good."""

    def __init__(self, *states: Status) -> None:
        super().__init__("http://nowhere", 5)
        self._states = list(states)

    def status(self, name: str) -> Status:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


def test_what_runs_for_a_moment_only_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_STEADY_SECONDS", 0.2)
    monkeypatch.setattr(rest, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(rest, "_OLD_NEWS_SECONDS", 0.0)
    Told(RUNS).wait_until_it_runs("own")
    with pytest.raises(UnavailableError, match="password authentication failed"):
        Told(RUNS, RUNS, FAILS).wait_until_it_runs("own")


def test_what_was_stopped_rests() -> None:
    assert Status("STOPPED", (), "").rests
    assert not RUNS.rests


def test_other_causes_are_told_as_they_are() -> None:
    assert explained("something else") == "something else"
