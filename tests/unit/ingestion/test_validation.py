"""Each check of tables and sources catches its planted fault, and passes what is clean."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import offline_data
import orjson
import pytest
from deltalake import DeltaTable, write_deltalake
from offline_data import Shop

from feature_repo import tables
from feature_repo.checks.findings import Finding, Status, violated
from feature_repo.contract import ORDERED
from feature_repo.sections.watching import ValidationSettings
from feature_repo.settings import HOME_VARIABLE, get_settings
from ingestion.__main__ import main
from ingestion.commands.validate import check_tables
from ingestion.validation.sets import judge_volumes, volumes

SHOP = Shop(12, seed=5)
NOW = offline_data.now()
EVENTS = offline_data.shop_events(SHOP, 120, NOW, days=12, sessions_per_customer=3)
ORDER = next(event for event in reversed(EVENTS) if event["event"] == ORDERED)

Change = Callable[[], None]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a clean shop's tables."""
    home = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        get_settings.cache_clear()
        offline_data.write_history(SHOP, EVENTS)
        yield get_settings().warehouse
    get_settings.cache_clear()


@pytest.fixture
def shop(stored: Path, warehouse: None) -> None:
    shutil.copytree(stored, get_settings().warehouse, dirs_exist_ok=True)


def append(table: tables.Table, *rows: dict[str, Any]) -> None:
    write_deltalake(table.uri, offline_data.arrow(table, list(rows)), mode="append")


def event(**changes: Any) -> None:
    append(tables.EVENTS, {**ORDER, "message_id": "planted", "order_id": "planted", **changes})


def line(**changes: Any) -> None:
    event(products=[{**SHOP.product(0), **changes}])


def product(**changes: Any) -> None:
    row = offline_data.catalog_rows(SHOP, NOW)[0]
    append(tables.CATALOG, {**row, **changes})


def activity(table: tables.Table, key: str, **changes: Any) -> None:
    row = {key: "p0" if key == "product_id" else "c0", "event_timestamp": NOW, "last_event_at": NOW.timestamp()}
    append(table, {**row, "event_count": 1, **changes})


def wrong() -> dict[tuple[str, str, str], Finding]:
    findings, _, _ = check_tables(datetime.now(UTC))
    return {(one.table, one.check, one.subject): one for one in violated(findings)}


@pytest.mark.usefixtures("shop")
def test_a_clean_shop_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    assert main(["validate", "--json", "--report", str(report)]) == 0
    said = orjson.loads(capsys.readouterr().out)
    assert said["status"] == "ok"
    looked_at = {(one["table"], one["check"]): one for one in said["findings"] if one["status"] == "ok"}
    for check in (("events", "missing"), ("lines of events", "range"), ("orders", "refers to"), ("events", "unique")):
        assert looked_at[check]["rows"] > 0
    assert any(one["check"] == "rows per day" and one["status"] == "ok" for one in said["findings"])
    page = report.read_text()
    assert page.count("<svg") > 3
    assert "http" not in page.replace("http-equiv", ""), "it needs nothing else"


FAULTS: list[tuple[Change, tuple[str, str, str], str]] = [
    (lambda: event(message_id=None), ("events", "missing", "message_id"), "None"),
    (lambda: event(timestamp=datetime(1970, 1, 1, tzinfo=UTC)), ("events", "range", "timestamp"), "message_id=planted"),
    (lambda: event(timestamp=NOW + timedelta(days=40)), ("events", "range", "timestamp"), "message_id=planted"),
    (lambda: event(event="Product Admired"), ("events", "range", "event"), "'Product Admired'"),
    (lambda: event(customer_id=""), ("events", "range", "customer_id"), "planted"),
    (lambda: event(revenue=-3.0), ("events", "range", "revenue"), "-3.0"),
    (lambda: line(price=-1.0), ("lines of events", "range", "price"), "-1.0"),
    (lambda: line(quantity=20_000), ("lines of events", "range", "quantity"), "20000"),
    (lambda: line(product_id=None), ("lines of events", "missing", "product_id"), "planted"),
    (lambda: event(order_id=None), ("orders", "missing", "order_id"), "planted"),
    (lambda: event(products=[]), ("orders", "range", "lines"), "0"),
    (lambda: event(message_id=ORDER["message_id"]), ("events", "unique", "message_id"), ORDER["message_id"]),
    (lambda: event(order_id=ORDER["order_id"]), ("events", "unique", "order_id"), ORDER["order_id"]),
    (lambda: line(product_id="nobody-knows"), ("orders", "refers to", "product in the catalogue"), "nobody-knows"),
    (lambda: event(customer_id="stranger"), ("orders", "refers to", "customer has features"), "stranger"),
    (lambda: product(price=-5.0), ("catalog", "range", "price"), "product_id=p0: -5.0"),
    (lambda: product(stock=-1), ("catalog", "range", "stock"), "-1"),
    (lambda: product(origin="elsewhere"), ("catalog", "range", "origin"), "elsewhere"),
    (lambda: product(product_id="unlisted"), ("catalog", "refers to", "product in the index"), "unlisted"),
    (lambda: [product(product_id=f"p{number}", price=None) for number in range(3)],
        ("catalog", "missing", "price"), ""),
    (lambda: activity(tables.CUSTOMER_ACTIVITY, "customer_id", views_30d=-0.5),
        ("customer_activity", "range", "views_30d"), "customer_id=c0: -0.5"),
    (lambda: activity(tables.ITEM_ACTIVITY, "product_id", event_count=0), ("item_activity", "range", "event_count"), "0"),
    (lambda: activity(tables.ITEM_ACTIVITY, "product_id", product_id="ghost"),
        ("item_activity", "refers to", "product in the catalogue"), "ghost"),
]  # fmt: skip


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("plant", "where", "example"), FAULTS, ids=lambda value: ", ".join(value) if isinstance(value, tuple) else ""
)
def test_a_planted_fault_is_found(plant: Change, where: tuple[str, str, str], example: str) -> None:
    plant()
    finding = wrong()[where]
    assert finding.failing > 0
    assert finding.rows >= finding.failing
    assert finding.advice
    assert example in ", ".join(finding.examples)


@pytest.mark.usefixtures("shop")
def test_a_day_without_events_is_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    day = NOW.date() - timedelta(days=2)
    DeltaTable(tables.EVENTS.uri).delete(f"dt = '{day}'")
    assert main(["validate", "--report", str(tmp_path / "r.html")]) == 1
    out = capsys.readouterr().out
    assert "VIOLATED events, rows per day, all: 0 of" in out
    assert f"{day}: 0 instead of" in out
    assert "c62828" in (tmp_path / "r.html").read_text()


class TestVolumes:
    LIMITS = ValidationSettings()

    def judge(self, *counts: int) -> Finding:
        first = date(2026, 5, 1)
        by_day = {first + timedelta(days=number): count for number, count in enumerate(counts) if count}
        last = first + timedelta(days=len(counts) - 1)
        return judge_volumes("Product Viewed", volumes(by_day, last, last), self.LIMITS)

    @pytest.mark.parametrize(
        ("counts", "status"),
        [
            ((7, 100, 110, 90, 100), Status.OK),
            ((7, 100, 110, 90, 39), Status.VIOLATED),
            ((7, 100, 110, 90, 0), Status.VIOLATED),
            ((7, 100, 110, 90, 301), Status.VIOLATED),
            ((7, 10, 11, 9, 0), Status.NOT_JUDGED),
            ((100, 100, 100, 0), Status.NOT_JUDGED),
        ],
    )
    def test_days_are_judged_by_those_before(self, counts: tuple[int, ...], status: Status) -> None:
        assert self.judge(*counts).status is status

    def test_a_day_with_a_known_reason_is_left_alone(self) -> None:
        counts = {date(2026, 5, day): count for day, count in enumerate((7, 100, 110, 90, 39, 37), 1)}
        of_days = volumes(counts, date(2026, 5, 5), date(2026, 5, 6))
        both = judge_volumes("all", of_days, ValidationSettings())
        assert both.status is Status.VIOLATED
        assert """ACCEPTED_DAYS='["2026-05-05", "2026-05-06"]'""" in both.advice
        one = judge_volumes("all", of_days, ValidationSettings(accepted_days=[date(2026, 5, 5)]))
        assert [example[:10] for example in one.examples] == ["2026-05-06"]
        all_of_them = ValidationSettings(accepted_days=[date(2026, 5, 5), date(2026, 5, 6)])
        assert judge_volumes("all", of_days, all_of_them).status is not Status.VIOLATED

    @pytest.mark.parametrize(
        ("before", "last", "status"),
        [
            ([0, 0], 0, Status.OK),  # never on Sundays
            ([10, 12], 9, Status.OK),
            ([10, 12], 100, Status.OK),
            ([10, 12], 3, Status.VIOLATED),
            ([10, 12], 301, Status.VIOLATED),
            ([10], 9, Status.VIOLATED),  # one other Sunday is no habit
        ],
    )
    def test_a_weekday_may_be_other_than_most(self, before: list[int], last: int, status: Status) -> None:
        weeks = [count for sunday in before for count in (*[100] * 6, sunday)]
        assert self.judge(7, *weeks, *[100] * 6, last).status is status


@pytest.mark.usefixtures("warehouse")
class TestSources:
    def check(self, tmp_path: Path, text: str, *options: str) -> int:
        (tmp_path / "shop").mkdir(exist_ok=True)
        (tmp_path / "shop" / "a.csv").write_text(text)
        return main(["validate", "--catalog", str(tmp_path / "shop"), *options])

    def test_a_clean_one_passes(self, tmp_path: Path) -> None:
        text = "product_id,name,category,price,stock\nmug,Mug,Kitchen/Cups,9.5,3\ncup,Cup,Kitchen/Cups,4,0\n"
        assert self.check(tmp_path, text) == 0

    @pytest.mark.parametrize(
        ("row", "found"),
        [
            ("cup,Cup,Kitchen,-4,1", "shop, range, price: 1 of 2 rows; allowed: from 0 to 1,000,000"),
            ("cup,Cup,Kitchen,4,-1", "shop, range, stock: 1 of 2 rows"),
            (
                "mug,Cup,Kitchen,4,1",
                "shop, unique, product_id, updated_at: 1 of 2 rows; allowed: none; for example mug",
            ),
            ("cup,Cup,Kitchen,,1", "shop, missing, price: 1 of 2 rows; allowed: 10% missing"),
            ("cup,Cup,Kitchen,cheap,1", "shop, readable, files: 1 of 1 rows"),
        ],
    )
    def test_a_planted_fault_is_found(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, found: str
    ) -> None:
        assert self.check(tmp_path, f"product_id,name,category,price,stock\nmug,Mug,Kitchen,9.5,3\n{row}\n") == 1
        assert f"VIOLATED {found}" in capsys.readouterr().out

    def test_one_that_cannot_be_looked_at_is_an_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", "--catalog", str(tmp_path / "nowhere")]) == 2
        assert main(["validate", "--report", str(tmp_path)]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert [line.startswith("error: ") for line in errors] == [True, True]


def test_without_tables_it_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "empty"))
    get_settings.cache_clear()
    try:
        assert main(["validate"]) == 2
    finally:
        get_settings.cache_clear()
    assert "error: there is no table" in capsys.readouterr().err


def test_large_tables_are_read_in_batches(shop: None) -> None:
    from feature_repo.checks.expectations import expected_of_tables
    from ingestion.commands import validate

    expected = next(one for one in expected_of_tables(NOW) if one.name == "events")
    batches = validate._batches(expected, NOW - timedelta(days=5))
    sizes = [batch.num_rows for batch in batches]
    assert max(sizes) <= validate._BATCH_ROWS
    assert 0 < sum(sizes) < len(EVENTS), "only the last days"
