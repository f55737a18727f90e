"""A shop's Postgres followed by Debezium in a real Kafka Connect: what counts is what the database says, whoever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from deltalake import DeltaTable
from ingestion_processes import run
from own_postgres import OwnPostgres, own_postgres
from own_stack import OwnStack
from waiting import until

from deploy.records import Records
from feature_repo import tables
from feature_repo.settings import PROJECT_ROOT, get_settings
from ingestion.__main__ import main
from ingestion.catalog.store import current_rows
from ingestion.changes.config import load
from ingestion.reconciliation.comparison import reconcile

NAMES = ("kafka", "redis", "connect", "cdc")
CONNECTOR = "shelfwise-shop"
SECONDS = 150.0  # for what takes a few on an idle machine
USER, PASSWORD = "follower", "very: secret"
MAPPING = """
name = "shop"

[orders]
table = "public.orders"
only_if = { status = ["paid", "sent"] }
settle_seconds = 0
order_id = "id"
user_id = "customer"
timestamp = "placed_at"
revenue = "net"

[lines]
table = "public.order_lines"
order = "order_id"
product_id = "product_id"
price = "price"
quantity = "quantity"

[products]
table = "public.products"
product_id = "id"
name = "name"
price = "price"
stock = "stock"
"""
SCHEMA = """
CREATE TABLE products (id text PRIMARY KEY, name text, price numeric(10, 2), stock int, secret text DEFAULT 'cost price')
    PARTITION BY HASH (id);
CREATE TABLE products_0 PARTITION OF products FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE products_1 PARTITION OF products FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE orders (id serial PRIMARY KEY, customer int, placed_at timestamptz DEFAULT now(), net numeric, status text,
    email text DEFAULT 'ada@example.com');
CREATE TABLE order_lines (id serial PRIMARY KEY, order_id int REFERENCES orders ON DELETE CASCADE,
    product_id text REFERENCES products ON DELETE SET NULL, price numeric(10, 2), quantity int);
"""
# The command, which kills itself when Kafka and the catalogue have what is news, and it is not noted yet.
DYING = """
import os, signal
from ingestion.__main__ import main
from ingestion.changes.follower import Follower
note = Follower._note
def dying(self, reached):
    if reached is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    note(self, reached)
Follower._note = dying
main(["cdc", "--once"])
"""


@dataclass
class Shop:
    """The shop's database and what happens in it.

    Attributes:
        paid: orders that were paid at some time, by id.
    """

    postgres: OwnPostgres
    stack: OwnStack
    paid: set[str] = field(default_factory=set)
    _random: random.Random = field(default_factory=lambda: random.Random(5))

    def connection(self) -> psycopg.Connection[Any]:
        own = self.postgres
        return psycopg.connect(
            host="127.0.0.1", port=own.port, user=own.user, password=own.password, dbname=own.database, autocommit=True
        )

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self.connection() as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    def order(self, connection: psycopg.Connection[Any], status: str = "paid") -> int:
        """An order and its lines in one transaction."""
        with connection.transaction():
            row = connection.execute(
                "INSERT INTO orders (customer, net, status) VALUES (%s, 10, %s) RETURNING id",
                (self._random.randrange(5), status),
            ).fetchone()
            assert row is not None
            for _ in range(self._random.randint(1, 4)):
                connection.execute(
                    "INSERT INTO order_lines (order_id, product_id, price, quantity) VALUES (%s, %s, 9.5, %s)",
                    (row[0], f"p{self._random.randrange(8)}", self._random.randint(1, 3)),
                )
        if status == "paid":
            self.paid.add(str(row[0]))
        return int(row[0])

    def a_day(self, stop: threading.Event, most: int) -> None:
        """Orders, payments, deletions, prices and stock, until told to stop."""
        with self.connection() as connection:
            for _ in range(most):
                self.order(connection)
                later, never = self.order(connection, "open"), self.order(connection, "open")
                product = f"p{self._random.randrange(8)}"
                connection.execute("UPDATE products SET stock = stock - 1 WHERE id = %s", (product,))
                connection.execute("UPDATE products SET price = price + 0.25 WHERE id = %s", (product,))
                connection.execute("UPDATE orders SET status = 'paid' WHERE id = %s", (later,))
                self.paid.add(str(later))
                connection.execute("DELETE FROM orders WHERE id = %s", (never,))
                if stop.wait(0.2):
                    return

    def pid(self, service: str) -> int:
        record = Records(self.stack.home / "run").load(service)
        assert record is not None
        return record.pid

    def kill(self, service: str) -> None:
        os.kill(self.pid(service), signal.SIGKILL)

    def up(self, *names: str) -> None:
        done = self.stack.deploy("up", *names)
        assert done.returncode == 0, done.stdout

    def command(self, *words: str, code: int = 0) -> str:
        done = run(self.stack.environment(), *words, timeout=240)
        assert done.returncode == code, done.stdout
        return done.stdout

    def follow(self, condition: Callable[[], bool]) -> str:
        """Take what Connect has sent until it is so; gives what was said."""
        said = StringIO()

        def done() -> bool:
            with redirect_stdout(said):
                assert main(["cdc", "--once"]) == 0
            return condition()

        until(done, SECONDS)
        return said.getvalue()

    def sent(self) -> list[dict[str, Any]]:
        """What is in the events topic."""
        from ingestion import offsets
        from ingestion.quarantine.known_events import _messages

        return [json.loads(value) for value, _ in _messages(*offsets.in_kafka())]

    def says_of_products(self) -> bool:
        """Whether a product was refused."""
        return any(event["event"] == "Product Changed" for event in self.sent())

    def counted(self) -> list[str]:
        """Ids of the orders in the events topic, each as often as it was sent."""
        return sorted(event["properties"]["order_id"] for event in self.sent() if event["event"] == "Order Completed")

    def catalogue(self) -> dict[str, tuple[float, int]]:
        if not tables.CATALOG.exists():
            return {}
        return {row["product_id"]: (row["price"], row["stock"]) for row in current_rows().to_pylist()}

    def products(self) -> dict[str, tuple[float, int]]:
        return {id_: (float(price), stock) for id_, price, stock in self.ask("SELECT id, price, stock FROM products")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with a history, and everything that follows its database."""
    home = tmp_path_factory.mktemp("cdc")
    fetched = subprocess.run(
        [sys.executable, "-m", "deploy.setup_jars", "--with", "cdc"], cwd=PROJECT_ROOT, capture_output=True, text=True
    )
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    (home / "shop.toml").write_text(MAPPING)
    with own_postgres("wal_level=logical") as postgres:
        prefix = "SHELFWISE_CDC__"
        own = {
            f"{prefix}MAPPING": str(home / "shop.toml"),
            f"{prefix}PORT": str(postgres.port),
            f"{prefix}DATABASE": postgres.database,
            f"{prefix}USER": USER,
            f"{prefix}PASSWORD": PASSWORD,
        }
        stack = OwnStack({**OwnStack.at(home / "home").variables, **own})
        shop = Shop(postgres, stack)
        with shop.connection() as connection:
            connection.execute(SCHEMA)  # type: ignore[arg-type]
            connection.execute(f"CREATE USER {USER} PASSWORD '{PASSWORD}'")  # type: ignore[arg-type]
            for statement in load(home / "shop.toml").grants(USER):
                connection.execute(statement)  # type: ignore[arg-type]
            for number in range(8):
                connection.execute(
                    "INSERT INTO products VALUES (%s, %s, %s, 100)", (f"p{number}", f"Mug {number}", 5 + number)
                )
            for _ in range(20):
                shop.order(connection)
        with stack.exported():
            try:
                shop.up(*NAMES)
                yield shop
            finally:
                stack.deploy("down")


def test_what_was_there_is_taken_over(shop: Shop) -> None:
    until(lambda: shop.counted() == sorted(shop.paid) and shop.catalogue() == shop.products(), SECONDS)


def test_killed_in_the_middle_everything_counts_once(shop: Shop) -> None:
    stop = threading.Event()
    day = threading.Thread(target=shop.a_day, args=(stop, 2_000))
    day.start()
    try:
        before = len(shop.paid)
        until(lambda: len(shop.counted()) > before, SECONDS)
        shop.kill("connect")
        shop.kill("cdc")
        before = len(shop.paid)
        until(lambda: len(shop.paid) > before + 10, SECONDS)
        shop.up("kafka", "connect", "cdc")
        before = len(shop.counted())
        until(lambda: len(shop.counted()) > before, SECONDS)
        shop.kill("cdc")
        before = len(shop.paid)
        until(lambda: len(shop.paid) > before + 4, SECONDS)
    finally:
        stop.set()
        day.join()
    killed = subprocess.run([sys.executable, "-c", DYING], cwd=PROJECT_ROOT, env=shop.stack.environment(), timeout=300)
    assert killed.returncode == -signal.SIGKILL
    shop.follow(lambda: set(shop.counted()) == shop.paid and shop.catalogue() == shop.products())
    assert shop.counted() == sorted(shop.paid), "an order was sent twice"


def test_deleted_products_are_not_sold_and_deleted_orders_go_on_counting(shop: Shop) -> None:
    with shop.connection() as connection:
        connection.execute("INSERT INTO products VALUES ('short', 'Lived', 3, 5)")
        connection.execute("DELETE FROM products WHERE id = 'short'")
        connection.execute("DELETE FROM orders WHERE id = %s", (min(map(int, shop.paid)),))
        later = shop.order(connection)
    said = shop.follow(lambda: str(later) in shop.counted())
    assert "1 orders that count were deleted" in said
    assert shop.catalogue() == {**shop.products(), "short": (3.0, 0)}
    assert shop.counted() == sorted(shop.paid)


def test_reading_the_tables_again_counts_nothing_twice(shop: Shop) -> None:
    assert "reads its tables again, runs" in shop.command("connect", "snapshot")
    with shop.connection() as connection:
        later = shop.order(connection)
    said = shop.follow(lambda: str(later) in shop.counted())
    assert " 1 orders sent, 0 known already" in said
    # Also for one who has forgotten everything.
    for path in (shop.stack.home / "cdc").iterdir():
        path.unlink()
    assert " 0 orders sent" in shop.follow(lambda: True)
    assert shop.counted() == sorted(shop.paid)
    assert shop.catalogue() == {**shop.products(), "short": (3.0, 0)}


def test_secrets_and_what_is_not_needed_stay_where_they_are(shop: Shop) -> None:
    assert "unchanged, runs" in shop.command("connect", "apply")
    assert f"{CONNECTOR}: connector RUNNING, tasks RUNNING" in shop.command("connect", "status")
    config = requests.get(f"{get_settings().connect.address}/connectors/{CONNECTOR}/config", timeout=10).json()
    assert config["database.password"] == "${env:SHELFWISE_CDC__PASSWORD}"
    kept = b"".join(path.read_bytes() for path in (shop.stack.home / "kafka").rglob("*.log"))
    assert b"Mug 1" in kept
    for secret in (PASSWORD, "cost price", "ada@example.com"):
        assert secret.encode() not in kept
    log = (shop.stack.home / "logs" / "connect.log").read_text()
    assert PASSWORD not in log


def test_a_connector_that_cannot_run_is_explained(shop: Shop, tmp_path: Path) -> None:
    given = json.loads((PROJECT_ROOT / "ingestion" / "connectors" / "postgres.json").read_text())
    given["name"], given["config"]["database.dbname"] = "wrong", "nowhere"
    (tmp_path / "wrong.json").write_text(json.dumps(given))
    said = shop.command("connect", "apply", str(tmp_path / "wrong.json"), code=1)
    assert said.count("\n") == 1
    assert 'database "nowhere" does not exist' in said
    assert "SHELFWISE_CDC__DATABASE" in said


def test_a_connector_that_fails_after_it_was_changed_is_not_said_to_run(shop: Shop, tmp_path: Path) -> None:
    given = json.loads((PROJECT_ROOT / "ingestion" / "connectors" / "postgres.json").read_text())
    given["config"]["publication.name"] = "nowhere"
    (tmp_path / "broken.json").write_text(json.dumps(given))
    assert "cdc --check" in shop.command("connect", "apply", str(tmp_path / "broken.json"), code=1)
    assert "changed, runs" in shop.command("connect", "apply")
    requests.put(f"{get_settings().connect.address}/connectors/{CONNECTOR}/stop", timeout=10).raise_for_status()
    assert "unchanged, runs" in shop.command("connect", "apply")


def test_in_the_end_the_stream_has_what_the_database_says(shop: Shop) -> None:
    """And what could not be used is in the quarantine, once."""
    with shop.connection() as connection:
        connection.execute("UPDATE products SET price = -1 WHERE id = 'p0'")
        broken = shop.order(connection, "open")
        connection.execute("UPDATE order_lines SET quantity = 99999 WHERE order_id = %s", (broken,))
        connection.execute("UPDATE orders SET status = 'paid' WHERE id = %s", (broken,))
    shop.follow(lambda: str(broken) in shop.counted() and shop.says_of_products())
    shop.command("stream", "--once")

    orders = [row for row in DeltaTable(tables.EVENTS.uri).to_pyarrow_table().to_pylist() if row["order_id"]]
    assert sorted(row["order_id"] for row in orders) == sorted(shop.paid)
    deleted = min(shop.paid, key=int)
    pieces: dict[str, int] = {}
    for row in orders:
        if row["order_id"] != deleted:
            for product in row["products"]:
                pieces[product["product_id"]] = pieces.get(product["product_id"], 0) + product["quantity"]
    assert pieces == dict(
        shop.ask(
            f"SELECT product_id, sum(quantity)::int FROM order_lines WHERE order_id <> {broken} AND order_id IN "
            "(SELECT id FROM orders WHERE status = 'paid') GROUP BY product_id"
        )
    )
    refused = {
        (row["reason"], row["field"], row["events"]) for row in json.loads(shop.command("quarantine", "list", "--json"))
    }
    assert refused == {("absurd_value", "properties.price", 1), ("absurd_value", "properties.products.quantity", 1)}
    assert not reconcile().problems()
