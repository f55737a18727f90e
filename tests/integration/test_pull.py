"""A CRM's API pulled into a real broker: everything once, whatever the API does, and whenever the puller is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from crm_server import SECRET, CrmServer, crm_server
from deltalake import DeltaTable
from ingestion_processes import EventsTopic, run, start
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from own_stack import OwnStack

from feature_repo import tables
from feature_repo.contract import check
from feature_repo.settings import ENV_PREFIX, HOME_VARIABLE, PROJECT_ROOT, Settings, get_settings
from ingestion.features.latest import latest_rows

TOPIC_VARIABLE = f"{ENV_PREFIX}KAFKA__EVENTS_TOPIC"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
# The command, which kills itself when Kafka has acknowledged a page and it is not noted yet; says what it did otherwise.
DYING = """
import os, signal, sys
from ingestion.__main__ import main
from ingestion.crm.state import PullState
saves = 0
save = PullState.save
def dying(self, name):
    global saves
    saves += 1
    if saves == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, name)
PullState.save = dying
main(["pull", sys.argv[1]])
"""
# The command, which reports where it connects to and what it writes.
WATCHED = """
import os, sys
home = os.environ["SHELFWISE_HOME"]
def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple) and not args[1][0] in ("127.0.0.1", "::1"):
        print("CONNECTED", args[1])
    if event == "socket.getaddrinfo" and args[0] not in ("127.0.0.1", "localhost", "::1"):
        print("ASKED FOR", args[0])
    if event == "open" and isinstance(args[0], (str, bytes)) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        path = os.path.abspath(os.fsdecode(args[0]))
        if not path.startswith((home, "/dev/")) and "__pycache__" not in path:
            print("WROTE", path)
    if event == "os.mkdir" and not os.path.abspath(args[0]).startswith(home):
        print("MADE", args[0])
sys.addaudithook(watch)
from ingestion.__main__ import main
sys.exit(main(["pull", sys.argv[1]]))
"""


@pytest.fixture
def shop(
    kafka_and_redis: Settings, stack_env: OwnStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """An installation of the test's own, on the shared broker; gives the environment for its processes."""
    topic = f"test.{uuid.uuid4()}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_and_redis.kafka.servers)
    admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    admin.close()
    own = {HOME_VARIABLE: str(tmp_path / "home"), TOPIC_VARIABLE: topic}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    tables.create_missing_tables()
    yield stack_env.environment() | own | {"SHOPIFY_ACCESS_TOKEN": SECRET, "HUBSPOT_ACCESS_TOKEN": SECRET}
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def topic(shop: dict[str, str]) -> Iterator[EventsTopic]:
    with EventsTopic(get_settings().kafka) as topic:
        yield topic


@pytest.fixture
def crm() -> Iterator[CrmServer]:
    with crm_server() as server:
        yield server


def order(number: int, **changes: Any) -> dict[str, Any]:
    """An order in Shopify's shape, changed ``number`` minutes after the start."""
    at = (START + timedelta(minutes=number)).isoformat()
    return {
        "id": 1000 + number,
        "created_at": at,
        "processed_at": at,
        "updated_at": at,
        "cancelled_at": None,
        "test": False,
        "currency": "EUR",
        "subtotal_price": "19.00",
        "total_price": "23.90",
        "customer": {"id": number % 4, "email": "ada@example.com"},
        "shipping_address": {"country_code": "DE"},
        "line_items": [{"product_id": 7, "title": "Mug", "price": "9.50", "quantity": 2, "vendor": "Alba"}],
        **changes,
    }


def configured(folder: Path, crm: CrmServer, more: str = "customers = false", preset: str = "shopify") -> Path:
    path = folder / "shop.toml"
    path.write_text(
        f'preset = "{preset}"\nbase_url = "{crm.url}/admin/api/2025-10"\nrequests_per_second = 1000\n{more}\n'
        "[retry]\nbackoff_seconds = 0.05\nattempts = 4\n"
    )
    return path


def pull(environment: dict[str, str], config: Path) -> subprocess.CompletedProcess[str]:
    """The command; without what it says of its progress on a slow machine."""
    done = run(environment, "pull", str(config))
    told = [line for line in done.stdout.splitlines(keepends=True) if " records so far" not in line]
    return subprocess.CompletedProcess(done.args, done.returncode, "".join(told))


def message_ids(topic: EventsTopic) -> list[str]:
    return sorted(record.event["messageId"] for record in topic.read())


def test_orders_become_events_of_the_contract_once(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    crm.records["orders"] = [order(number) for number in range(7)]
    config = configured(tmp_path, crm)
    done = pull(shop, config)
    assert done.stdout == "orders: 7 records; 7 sent, 0 known already, 0 left out, 0 sent to the quarantine\n"
    assert done.returncode == 0
    events = {record.event["properties"]["order_id"]: record for record in topic.read()}
    assert len(events) == 7
    first = events["1001"].event
    assert check(first) is None
    assert events["1001"].key == b"1"
    assert (first["event"], first["userId"], first["timestamp"]) == ("Order Completed", "1", "2026-03-01T12:01:00.000Z")
    assert first["properties"] == {
        "order_id": "1001",
        "revenue": 19.0,
        "total": 23.9,
        "currency": "EUR",
        "products": [{"product_id": "7", "name": "Mug", "brand": "Alba", "price": 9.5, "quantity": 2}],
    }
    assert b"ada@example.com" not in events["1001"].value
    # Again: what lies within the overlap is read and known; an order that was changed is counted once, too.
    crm.records["orders"][0] |= {"updated_at": (START + timedelta(hours=1)).isoformat(), "subtotal_price": "0.00"}
    crm.records["orders"].append(order(8))
    before = len(crm.requests)
    done = pull(shop, config)
    assert done.stdout == "orders: 8 records; 1 sent, 7 known already, 0 left out, 0 sent to the quarantine\n"
    assert "updated_at_min=2026-03-01T11%3A56%3A00Z" in crm.requests[before]
    assert len(topic.read()) == 8


def test_throttled_failing_and_repeating(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    crm.records["orders"] = [order(number) for number in range(9)]
    crm.repeat = 1
    crm.faults = {1: (429, {"Retry-After": "2.0"}), 3: (500, {}), 4: (503, {})}
    done = pull(shop, configured(tmp_path, crm))
    assert done.stdout == "orders: 11 records; 9 sent, 2 known already, 0 left out, 0 sent to the quarantine\n"
    assert done.returncode == 0
    assert crm.times[2] - crm.times[1] >= 2
    assert crm.times[4] - crm.times[3] < 1
    assert len(topic.read()) == 9


def test_an_api_that_gives_up_is_gone_on_with(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    crm.records["orders"] = [order(60 * number) for number in range(9)]
    crm.faults = {number: (500, {}) for number in range(1, 5)}
    config = configured(tmp_path, crm)
    done = pull(shop, config)
    assert done.returncode == 1
    assert (
        'answers 500: the next pull goes on where this one ended (it says: {"errors": "I do not like ***"})'
        in done.stdout
    )
    assert SECRET not in done.stdout
    assert len(topic.read()) == 3
    done = pull(shop, config)
    assert done.stdout == "orders: 7 records; 6 sent, 1 known already, 0 left out, 0 sent to the quarantine\n"


def test_killed_in_mid_page_and_before_its_note(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    crm.records["orders"] = [order(number, **({"id": None} if number in (1, 4) else {})) for number in range(12)]
    config = configured(tmp_path, crm)
    for save in (1, 2):
        killed = subprocess.run(
            [sys.executable, "-c", DYING, str(config), str(save)], cwd=PROJECT_ROOT, env=shop, timeout=60
        )
        assert killed.returncode == -signal.SIGKILL
    assert len(topic.read()) == 6
    crm.stall_at = len(crm.requests) + 2
    process = start(shop, "pull", str(config))
    assert crm.stalled.wait(60)
    process.kill()
    process.communicate()
    assert len(topic.read()) < 12
    crm.stall_at = None
    assert pull(shop, config).returncode == 0
    ids = message_ids(topic)
    assert len(set(ids)) == len(ids) == 12
    assert pull(shop, config).stdout.startswith("orders: 11 records; 0 sent, 11 known already")


def test_what_cannot_be_mapped_is_sent_with_its_reason_once(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    line = order(0)["line_items"][0]
    crm.records["orders"] = [
        order(0),
        order(1, line_items=[line | {"price": "cheap"}]),
        order(2, line_items=[{"title": "Tip"}]),
        order(3, line_items=[line, {"title": "Gift wrapping"}], customer=None),
        order(4, test=True),
        order(5, cancelled_at=START.isoformat()),
        order(6, currency="x" * 600_000),
    ]
    config = configured(tmp_path, crm)
    done = pull(shop, config)
    assert done.stdout == "orders: 7 records; 2 sent, 0 known already, 2 left out, 3 sent to the quarantine\n"
    assert done.returncode == 3
    values = [record.value for record in topic.read()]
    assert [len(value) for value in values if len(value) > 10_000] == [500_000]
    events = [json.loads(value) for value in values if len(value) < 10_000]
    reasons = {event["properties"]["order_id"]: check(event) for event in events}
    assert {id_: (why.reason, why.field) for id_, why in reasons.items() if why} == {
        "1001": ("wrong_type", "properties.products.price"),
        "1002": ("missing_field", "properties.products"),
    }
    (guest,) = (event for event in events if event["properties"]["order_id"] == "1003")
    assert (guest["anonymousId"], len(guest["properties"]["products"])) == ("shop-guest-1003", 1)
    done = pull(shop, config)
    assert done.stdout == "orders: 7 records; 0 sent, 5 known already, 2 left out, 0 sent to the quarantine\n"
    assert done.returncode == 0


def test_contacts_by_search_and_more_than_it_gives(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    def contact(number: int, **properties: Any) -> dict[str, Any]:
        at = (START + timedelta(seconds=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"id": str(number), "updated_at": at, "properties": {"shop_id": f"c{number}", **properties}}

    crm.records["contacts"] = [contact(number, lifecyclestage="customer", email="a@b.c") for number in range(23)]
    crm.records["contacts"][5]["properties"]["shop_id"] = None
    crm.page = 5
    more = (
        "[customers]\nmost_results = 10\nonly_if = ['properties.shop_id']\n"
        "[customers.fields]\nuser_id = 'properties.shop_id'\n"
    )
    config = configured(tmp_path, crm, more, "hubspot")
    done = pull(shop, config)
    # Each of the six searches after the first begins with the last record of the one before.
    assert done.stdout == "customers: 29 records; 22 sent, 6 known already, 1 left out, 0 sent to the quarantine\n"
    events = {record.event["userId"]: record.event for record in topic.read()}
    assert len(events) == 22
    assert check(events["c7"]) is None
    assert (events["c7"]["type"], events["c7"]["traits"]) == ("identify", {"lifecycleStage": "customer"})
    # A contact that changed is news, also when it is as it was before.
    crm.records["contacts"][7] = contact(700, lifecyclestage="lead") | {"id": "7"}
    crm.records["contacts"][7]["properties"]["shop_id"] = "c7"
    assert pull(shop, config).stdout.startswith("customers: 29 records; 1 sent, 27 known already, 1 left out")
    assert [record.event["traits"] for record in topic.read() if record.event["userId"] == "c7"] == [
        {"lifecycleStage": "customer"},
        {"lifecycleStage": "lead"},
    ]


def test_a_record_that_changes_meanwhile_hides_no_other(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    days = [START + timedelta(days=number) for number in range(8)]
    crm.records["contacts"] = [
        {"id": str(number), "updated_at": at.isoformat(), "properties": {}} for number, at in enumerate(days)
    ]
    crm.page = 3

    def change() -> None:
        crm.records["contacts"][1]["updated_at"] = (days[-1] + timedelta(days=1)).isoformat()

    crm.before[1] = change  # all that follows moves up by one place
    assert pull(shop, configured(tmp_path, crm, "", "hubspot")).returncode == 0
    assert {record.event["userId"] for record in topic.read()} == {str(number) for number in range(8)}


def test_a_cursor_that_is_no_time_is_told(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    crm.records["orders"] = [order(number) for number in range(2)]
    done = pull(shop, configured(tmp_path, crm, "[orders.incremental]\ncursor_path = 'changed_at'\n"))
    assert done.returncode == 1
    assert "orders: no record says at changed_at when it changed" in done.stdout + (done.stderr or "")
    assert len(topic.read()) == 2, "what was read has been sent all the same"


def test_fields_that_change_are_reported_once(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    crm.records["orders"] = [order(number) for number in range(4)]
    config = configured(tmp_path, crm)
    assert pull(shop, config).returncode == 0
    changed = order(90, line_items=[{"product_id": 7, "price": 9.5, "quantity": "2", "name": "Mug", "vendor": "Alba"}])
    del changed["currency"]
    crm.records["orders"] += [changed | {"loyalty": {"points": 3}}]
    done = pull(shop, config)
    assert done.returncode == 3
    assert [line for line in done.stdout.splitlines() if line.startswith("drift")] == [
        "drift: orders: line_items[].name appeared (text), and the mapping uses it",
        "drift: orders: loyalty appeared (object)",
        "drift: orders: loyalty.points appeared (number)",
        "drift: orders: line_items[].price changed type (was text, now also number), and the mapping uses it",
        "drift: orders: line_items[].quantity changed type (was number, now also text), and the mapping uses it",
        "drift: orders: currency vanished, and the mapping uses it",
        "drift: orders: line_items[].title vanished, and the mapping uses it",
    ]
    assert len(topic.read()) == 5
    assert pull(shop, config).returncode == 0


def test_the_secret_goes_nowhere_else(shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path) -> None:
    crm.records["orders"] = [order(number) for number in range(7)]
    config = configured(tmp_path, crm)
    with crm_server() as other:
        crm.next_host = other.url
        done = pull(shop, config)
        assert (done.returncode, other.requests) == (1, [])
        assert f"the next page is said to be at {other.url}" in done.stdout
        crm.next_host, crm.faults = "", {len(crm.requests): (302, {"Location": other.url})}
        done = pull(shop, config)
        assert (done.returncode, other.requests) == (1, [])
        assert "answers 302: see that base_url and path are right" in done.stdout
    wrong = pull(shop | {"SHOPIFY_ACCESS_TOKEN": "shpat_wrong"}, config)
    assert "answers 401: see that SHOPIFY_ACCESS_TOKEN holds a valid secret" in wrong.stdout
    assert "shpat_wrong" not in wrong.stdout
    without = pull({**shop, "SHOPIFY_ACCESS_TOKEN": ""}, config)
    assert (
        without.stdout
        == "error: the environment variable SHOPIFY_ACCESS_TOKEN is empty; it must hold the API's secret\n"
    )
    written = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert written
    assert not any(SECRET.encode() in path.read_bytes() for path in written)


def test_nobody_is_called_and_nothing_written_elsewhere(
    shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path
) -> None:
    crm.records["orders"] = [order(number) for number in range(4)]
    config = configured(tmp_path, crm)
    home = tmp_path / "user"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(config)],
        cwd=PROJECT_ROOT,
        env={**shop, "HOME": str(home), "RUNTIME__DLTHUB_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "orders: 4 records; 4 sent, 0 known already, 0 left out, 0 sent to the quarantine\n"
    assert (done.returncode, list(home.rglob("*"))) == (0, [])


def test_staying(shop: dict[str, str], topic: EventsTopic, crm: CrmServer, tmp_path: Path) -> None:
    crm.records["orders"] = [order(0)]
    crm.faults = {number: (500, {}) for number in range(4, 8)}
    with start(shop, "pull", str(configured(tmp_path, crm)), "--every", "0.3") as process:
        assert process.stdout is not None
        try:
            assert "1 sent" in process.stdout.readline()
            assert "answers 500" in process.stdout.readline()
            crm.records["orders"].append(order(1))
            assert "1 sent, 1 known" in process.stdout.readline()
            assert "another `pull` of shop is running" in run(shop, "pull", str(tmp_path / "shop.toml")).stdout
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert len(topic.read()) == 2


def test_killed_pulls_end_in_the_same_features_as_one(
    kafka_and_redis: Settings, tmp_path_factory: pytest.TempPathFactory, crm: CrmServer
) -> None:
    """Orders that the tracker reported before, a broken one, and a tie, through the stream into both stores."""
    home = tmp_path_factory.mktemp("pulled")
    own = OwnStack.at(home)
    stack = OwnStack(
        {**own.variables, "SHELFWISE_KAFKA__BOOTSTRAP": kafka_and_redis.kafka.servers, TOPIC_VARIABLE: "pulled"}
    )
    admin = KafkaAdminClient(bootstrap_servers=kafka_and_redis.kafka.servers)
    admin.create_topics([NewTopic("pulled", num_partitions=1, replication_factor=1)])
    admin.close()
    environment = stack.environment() | {"SHOPIFY_ACCESS_TOKEN": SECRET}
    crm.records["orders"] = [order(number) for number in range(11)] + [order(11, processed_at="yesterday")]
    crm.records["customers"] = [
        {"id": number, "updated_at": START.isoformat(), "note": f"visitor-{number}", "orders_count": 3}
        for number in range(4)
    ]
    config = configured(home, crm, '[customers.fields]\nanonymous_id = "note"\n')

    def events() -> list[dict[str, Any]]:
        return DeltaTable(tables.EVENTS.uri).to_pyarrow_table().to_pylist()

    up = stack.deploy("up", "redis")
    assert up.returncode == 0, up.stdout
    try:
        with stack.exported():
            tables.create_missing_tables()
            command(environment, "feast.cli.cli", "-c", "feature_repo", "apply")
            web = {"order_id": "1003", "products": [{"product_id": "7", "quantity": 1}]}
            send(reported(web, "2026-03-01T12:03:05Z"))
            for save in (1, 3):
                killed = subprocess.run(
                    [sys.executable, "-c", DYING, str(config), str(save)], cwd=PROJECT_ROOT, env=environment, timeout=60
                )
                assert killed.returncode == -signal.SIGKILL
            assert pull(environment, config).returncode == 3
            send(reported({"order_id": "1004", "products": [{"product_id": "7"}]}, "2026-03-01T12:04:05Z"))
            command(environment, "ingestion", "stream", "--once")
            assert pull(environment, config).stdout.count("records; 0 sent") == 2

            found = events()
            orders = [row for row in found if row["event"] == "Order Completed"]
            assert sorted(row["order_id"] for row in orders) == sorted(str(1000 + number) for number in range(11))
            assert [row["message_id"] for row in orders if row["order_id"] == "1003"] == ["web-1003"]
            assert len([row for row in orders if row["message_id"].startswith("shop:orders:")]) == 10
            ties = {(row["anonymous_id"], row["user_id"]) for row in found if row["type"] == "identify"}
            assert ties == {(f"visitor-{number}", str(number)) for number in range(4)}
            assert len(found) == 11 + 4
            assert {json.loads(row["traits"])["orders"] for row in found if row["type"] == "identify"} == {3}
            (broken,) = DeltaTable(tables.QUARANTINE.uri).to_pyarrow_table().to_pylist()
            assert (broken["reason"], broken["field"]) == ("bad_timestamp", "timestamp")
            rows = latest_rows(tables.CUSTOMER_ACTIVITY).to_pylist()
            counts = {row["customer_id"]: row["event_count"] for row in rows if row["event_count"]}
            assert counts == {"0": 3, "1": 3, "2": 3, "3": 2, "visitor-3": 1}
            (item,) = latest_rows(tables.ITEM_ACTIVITY).to_pylist()
            assert (item["product_id"], item["event_count"]) == ("7", 11)
            command(environment, "ingestion", "reconcile")
            command(environment, "ingestion", "parity", "--customers", "100", "--items", "100", "--threshold", "0")
    finally:
        stack.deploy("down")


def reported(properties: dict[str, Any], at: str) -> dict[str, Any]:
    """An order as the tracker reports it."""
    id_ = f"web-{properties['order_id']}"
    return {
        "type": "track",
        "event": "Order Completed",
        "messageId": id_,
        "anonymousId": "visitor-3",
        "timestamp": at,
        "properties": properties,
    }


def send(event: dict[str, Any]) -> None:
    kafka = get_settings().kafka
    producer = KafkaProducer(bootstrap_servers=kafka.servers)
    producer.send(kafka.events_topic, json.dumps(event).encode(), key=b"visitor-3").get(10)
    producer.close()


def command(environment: dict[str, str], *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
