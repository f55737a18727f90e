"""``python -m ingestion publish`` on a real Postgres: nothing is lost or written twice, whatever happens in between."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import warehouse_contract as contract
from deltalake import DeltaTable, write_deltalake
from offline_data import arrow
from own_postgres import OwnPostgres, own_postgres
from own_stack import OwnStack

from feature_repo import tables
from feature_repo.settings import PROJECT_ROOT, get_settings
from feature_repo.tables import CUSTOMER_ACTIVITY, ITEM_ACTIVITY
from ingestion.__main__ import main

WAIT_SECONDS = 60


class Published:
    """A Postgres that Shelfwise publishes to, seen by an analyst."""

    def __init__(self, server: OwnPostgres, schema: str) -> None:
        self.schema = schema
        self.connection = psycopg.connect(
            host="127.0.0.1",
            port=server.port,
            user=server.user,
            password=server.password,
            dbname=server.database,
            options=f"-c search_path={schema} -c timezone=UTC",
            autocommit=True,
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()  # type: ignore[call-overload]

    def counts(self) -> dict[str, int]:
        """Of each product, how many rows there are."""
        return dict(self.rows("SELECT product_id, count(*) FROM item_activity GROUP BY 1 ORDER BY 1"))

    def untouched(self) -> list[tuple[Any, ...]]:
        """Where each row is and which transaction wrote it."""
        return self.rows("SELECT xmin::text, ctid::text, product_id FROM item_activity ORDER BY 2")


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def warehouse(server: OwnPostgres, tmp_path: Path) -> Iterator[Published]:
    """An installation of the test's own, with the contract's rows, and a schema of its own."""
    schema = f"test_{tmp_path.name}"
    variables = {"SHELFWISE_HOME": str(tmp_path), "SHELFWISE_OFFLINE__POSTGRES__NAMESPACE": schema}
    with OwnStack({**variables, **server.variables}).exported():
        tables.create_missing_tables()
        write_deltalake(ITEM_ACTIVITY.uri, arrow(ITEM_ACTIVITY, contract.ITEMS), mode="append")
        write_deltalake(CUSTOMER_ACTIVITY.uri, arrow(CUSTOMER_ACTIVITY, contract.CUSTOMERS), mode="append")
        published = Published(server, schema)
        yield published
        published.connection.close()


def start(*options: str) -> subprocess.Popen[str]:
    """Start it as a process of its own."""
    command = [sys.executable, "-m", "ingestion", "publish", *options]
    return subprocess.Popen(
        command, cwd=PROJECT_ROOT, env=os.environ.copy(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def publish(*options: str, code: int = 0) -> str:
    """Run it to its end, in this process; its output."""
    output = io.StringIO()
    get_settings.cache_clear()
    with redirect_stdout(output), redirect_stderr(output):
        assert main(["publish", "--to", "postgres", *options]) == code, output.getvalue()
    return output.getvalue()


def add(product: str, hours: float, count: int = 1) -> None:
    row = contract._item(product, contract.at(hours), datetime.now(UTC), count)
    write_deltalake(ITEM_ACTIVITY.uri, arrow(ITEM_ACTIVITY, [row]), mode="append")


def wait_for(condition: Any) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.05)


def test_every_value_arrives_and_the_newest_rows_have_a_view(warehouse: Published) -> None:
    publish()
    names = ITEM_ACTIVITY.schema.names
    stored = set(warehouse.rows(f"SELECT {', '.join(names[:5])}, views_7d, clicks_7d FROM item_activity"))
    expected = {
        (*(row[name] for name in names[:5]), row.get("views_7d"), row.get("clicks_7d")) for row in contract.ITEMS
    }
    assert stored == expected
    recent = warehouse.rows("SELECT customer_id, event_timestamp, recent_items, recent_actions FROM customer_activity")
    assert sorted(recent, key=str) == sorted(
        ((r["customer_id"], r["event_timestamp"], r["recent_items"], r["recent_actions"]) for r in contract.CUSTOMERS),
        key=str,
    )
    newest = warehouse.rows("SELECT product_id, event_count, as_of FROM item_activity_latest ORDER BY 1")
    assert ("a", None, contract.at(6)) in newest
    assert ("b", 7, contract.at(2)) in newest
    assert len(newest) == len({row["product_id"] for row in contract.ITEMS})
    # As docs/warehouses.md says how to have a sum as of now.
    decayed = warehouse.rows(
        "SELECT customer_id, views_1d * power(0.5, extract(epoch FROM now() - as_of) / 86400) AS views, recent_items[1:5] "
        "FROM customer_activity_latest ORDER BY views DESC LIMIT 10"
    )
    days = (datetime.now(UTC) - contract.at(4)).total_seconds() / 86400
    assert {name: views for name, views, _ in decayed}["ada"] == pytest.approx(4 / 7 * 0.5**days, rel=0.01)


def test_only_what_the_stream_wrote_since_is_read_and_nothing_is_written_twice(warehouse: Published) -> None:
    assert f"all rows compared: {len(contract.ITEMS)} rows written" in publish()
    before = warehouse.untouched()
    assert "item_activity: version 1 of Delta, what changed: 0 rows written, 0 removed" in publish()
    assert "all rows compared: 0 rows written, 0 removed" in publish("--full")
    assert warehouse.untouched() == before

    add("late", 1)
    add("b", 2.5, count=70)
    DeltaTable(ITEM_ACTIVITY.uri).optimize.compact()
    add("c", 9)
    assert "item_activity: version 5 of Delta, what changed: 3 rows written, 0 removed" in publish()
    assert set(before) <= set(warehouse.untouched())
    assert warehouse.counts() == {
        **{product: len([r for r in contract.ITEMS if r["product_id"] == product]) for product in warehouse.counts()},
        "late": 1,
        "b": 2,
        "c": 1,
    }
    assert warehouse.rows("SELECT event_count FROM item_activity_latest WHERE product_id = 'b'") == [(70,)]


def test_a_run_killed_in_the_middle_changes_nothing(warehouse: Published) -> None:
    publish()
    before = warehouse.untouched()
    for number in range(3):
        add(f"more-{number}", 1)
    # The run gets as far as writing rows that it has sent already, and waits there.
    with warehouse.connection.transaction():
        warehouse.connection.execute("LOCK TABLE item_activity IN SHARE MODE")
        process = start("--to", "postgres")
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'item_activity'::regclass"
        wait_for(lambda: warehouse.rows(waiting))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    wait_for(lambda: not warehouse.rows("SELECT FROM pg_stat_activity WHERE application_name = 'shelfwise-publish'"))
    assert warehouse.untouched() == before
    assert warehouse.rows("SELECT version FROM published WHERE table_name = 'item_activity'") == [(1,)]

    assert "what changed: 3 rows written, 0 removed" in publish()
    assert sum(warehouse.counts().values()) == len(contract.ITEMS) + 3
    assert "agree" in publish("--compare")


def test_what_is_deleted_from_delta_goes(warehouse: Published) -> None:
    publish()
    add("kept", 1)
    DeltaTable(ITEM_ACTIVITY.uri).delete("product_id = 'b'")
    add("after", 1)
    output = publish()
    assert "what changed: " in output.split("item_activity:")[1].splitlines()[0]
    assert "b" not in warehouse.counts()
    assert {"kept", "after", "a"} <= warehouse.counts().keys()

    # Everything computed anew takes the place of what there was.
    rows = arrow(ITEM_ACTIVITY, [contract._item("a", contract.at(1), contract.at(20), 5)])
    write_deltalake(ITEM_ACTIVITY.uri, rows, mode="overwrite")
    publish()
    assert warehouse.counts() == {"a": 1}
    assert publish("--compare").count("agree") == len([table for table in tables.ALL_TABLES if table.view])


def test_a_log_that_no_longer_tells_is_made_up_for(warehouse: Published) -> None:
    publish()
    add("new", 1)
    DeltaTable(ITEM_ACTIVITY.uri).delete("product_id = 'b'")
    add("newer", 1)
    for entry in ITEM_ACTIVITY.path.glob("_delta_log/*2.json"):
        stored = DeltaTable(ITEM_ACTIVITY.uri)
        stored.create_checkpoint()
        entry.unlink()
    assert "all rows compared: 2 rows written, 1 removed" in publish()
    assert {"new", "newer"} <= warehouse.counts().keys()
    assert "b" not in warehouse.counts()


def test_a_table_made_anew_is_not_taken_for_the_old_one(warehouse: Published) -> None:
    publish()
    for file in sorted(ITEM_ACTIVITY.path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    ITEM_ACTIVITY.create_if_missing()
    add("only", 1)
    assert f"1 rows written, {len(contract.ITEMS)} removed" in publish()
    assert warehouse.counts() == {"only": 1}


def test_a_feature_declared_later_becomes_a_column(warehouse: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion.warehouse.postgres import PostgresWarehouse

    names = [name for name in ITEM_ACTIVITY.schema.names if name != "views_7d"]
    fewer = tables.Table(
        ITEM_ACTIVITY.name,
        pa.schema([ITEM_ACTIVITY.schema.field(name) for name in names]),
        ITEM_ACTIVITY.description,
        view=ITEM_ACTIVITY.view,
    )
    with PostgresWarehouse() as postgres:
        postgres.publish(fewer)
    assert "all rows compared" in publish()
    assert warehouse.rows("SELECT views_7d FROM item_activity_latest WHERE product_id = 'b'") == [(1e300,)]


def test_differences_are_found(warehouse: Published) -> None:
    assert "item_activity: not published yet" in publish("--compare", code=1)
    publish()
    add("since", 1)  # not published, and so not compared
    publish("--compare")
    warehouse.connection.execute("UPDATE item_activity SET event_count = event_count + 1 WHERE product_id = 'b'")
    assert "sum of event_count: 55 in Delta, 56 there" in publish("--compare", code=1)
    publish("--full")
    publish("--compare")


def test_it_stays_and_survives_a_lost_connection(warehouse: Published) -> None:
    process = start("--to", "postgres", "--every", "0.2")
    try:
        wait_for(lambda: warehouse.rows("SELECT to_regclass('item_activity')") != [(None,)] and warehouse.counts())
        warehouse.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'shelfwise-publish'"
        )
        add("while-staying", 1)
        wait_for(lambda: "while-staying" in warehouse.counts())
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, output


def test_a_server_that_does_not_answer_is_named(warehouse: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_OFFLINE__POSTGRES__PORT", "1")
    output = publish(code=1)
    assert output.startswith("error: Postgres at 127.0.0.1:1/shelfwise:")
    assert len(output.splitlines()) == 1
    monkeypatch.setenv("SHELFWISE_OFFLINE__POSTGRES__PORT", "5432")
    assert get_settings().offline.postgres.password.get_secret_value() not in output


def test_delta_needs_no_publishing(warehouse: Published, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish"]) == 1
    assert "there is nothing to publish" in capsys.readouterr().err
