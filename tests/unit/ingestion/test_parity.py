"""The parity command on small Delta tables, whose rows are computed in plain Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import write_deltalake
from offline_data import Shop, arrow, customer_rows, item_rows, shop_events

from feature_repo.aggregates import RECENT, Entity, decayed_sums
from feature_repo.errors import DefinitionError, InputError, UnavailableError
from feature_repo.tables import ACTIVITY, CUSTOMER_ACTIVITY, CUSTOMER_EXPOSURE, EVENTS, ITEM_ACTIVITY
from ingestion import offsets
from ingestion.commands.parity import add_arguments, run
from ingestion.locks import stream_paused
from ingestion.parity.comparison import compare, sample
from ingestion.parity.report import ParityReport

pytestmark = pytest.mark.usefixtures("warehouse")

UNTIL = datetime(2026, 6, 10, tzinfo=UTC)
Rows = list[dict[str, Any]]


def parity(*words: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words))


def kafka_events() -> Rows:
    """Events in order of time, as if each had arrived at once, in one partition."""
    events = shop_events(Shop(products=30, seed=3), customers=12, until=UNTIL, days=3)
    for offset, event in enumerate(events):
        moment = event["timestamp"]
        event |= {
            "timestamp": moment.replace(microsecond=moment.microsecond // 1000 * 1000),
            "source": "shelfwise.events",
            "partition": 0,
            "offset": offset,
            # The plain computation reverses the lines of an event; in order of id, they end as the definition has it.
            "products": sorted(event["products"], key=lambda product: product["product_id"]),
        }
    return events


def store(
    customers: Callable[[Rows], None] = lambda rows: None, archived: int | None = None, events: Rows | None = None
) -> dict[Entity, Rows]:
    """Write the events, of which the archive holds the first ``archived``, and the rows that follow from all of them.

    Args:
        customers: changes the rows of customers before they are written.
        archived: by default all.
        events: by default :func:`kafka_events`.
    """
    events = kafka_events() if events is None else events
    held = events[:archived]
    write_deltalake(
        EVENTS.uri,
        arrow(EVENTS, held),
        mode="append",
        partition_by=["dt"],
        commit_properties=offsets.commit({0: len(held)}),
    )
    of_customers, of_items = customer_rows(events), item_rows(events)
    of_exposures = customer_rows(events, Entity.EXPOSURE)
    for row in (*of_customers, *of_exposures, *of_items):
        row["place"] = [sum(event["timestamp"] <= row["event_timestamp"] for event in events)]
        row["recomputed"] = False
    customers(of_customers)
    write_deltalake(CUSTOMER_ACTIVITY.uri, arrow(CUSTOMER_ACTIVITY, of_customers), mode="append")
    write_deltalake(CUSTOMER_EXPOSURE.uri, arrow(CUSTOMER_EXPOSURE, of_exposures), mode="append")
    write_deltalake(ITEM_ACTIVITY.uri, arrow(ITEM_ACTIVITY, of_items), mode="append")
    return {Entity.CUSTOMER: of_customers, Entity.EXPOSURE: of_exposures, Entity.ITEM: of_items}


def differing(report: ParityReport) -> dict[tuple[str, str], int]:
    return {(of.entity.value, of.feature): of.differing for of in report.features if of.differing}


def test_rows_that_follow_from_the_events_agree(capsys: pytest.CaptureFixture[str]) -> None:
    store()
    report = compare(seed=1)
    assert differing(report) == {}
    assert report.agrees
    assert report.rows[Entity.CUSTOMER] > 12
    assert report.rows[Entity.ITEM] > 30
    assert not any(report.left_out.values())
    assert parity("--require") == 0
    assert "agree with the events" in capsys.readouterr().out


def test_rows_of_history_agree_too() -> None:
    """All events lie before the place, yet each row reflects only what had happened."""

    def of_history(rows: Rows) -> None:
        for row in rows:
            row |= {"place": [rows[-1]["place"][0]], "recomputed": True}

    store(customers=of_history)
    assert differing(compare(seed=2)) == {}


def test_a_wrong_value_is_reported_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoilt = []

    def spoil(rows: Rows) -> None:
        newest = max(rows, key=lambda row: row["event_timestamp"])
        for row in rows:
            if row["customer_id"] == newest["customer_id"]:
                row["clicks_30d"] += 0.25
                row["recent_items"][-1] = "other"
        spoilt.append(newest["customer_id"])

    store(customers=spoil)
    file = tmp_path / "parity.json"
    assert parity("--json", str(file), "--seed", "4") == 1
    shown = capsys.readouterr().out
    assert "backfill --recompute" in shown
    assert f"clicks_30d of customer {spoilt[0]} at 2026-" in shown
    result = json.loads(file.read_text())
    assert (result["agrees"], result["seed"]) == (False, 4)
    wrong = {feature["feature"]: feature for feature in result["features"] if feature["differing"]}
    assert set(wrong) == {"clicks_30d", "recent_items"}
    clicks, items = wrong["clicks_30d"], wrong["recent_items"]
    assert clicks["largest"] == pytest.approx(0.25)
    assert items["largest"] == 1
    assert clicks["share"] == clicks["differing"] / clicks["rows"] > 0.001
    example = clicks["examples"][0]
    assert example["key"] == spoilt[0]
    assert example["stored"] == pytest.approx(example["recomputed"] + 0.25)


def test_the_threshold_allows_for_a_share_of_differences() -> None:
    def spoil(rows: Rows) -> None:
        for row in rows:
            if row["customer_id"] == "c0":
                row["event_count"] += 1

    store(customers=spoil)
    assert parity("--threshold", "0.5") == 0
    assert parity("--threshold", "0.001") == 1


def test_a_missing_value_and_a_time_off_by_milliseconds_differ() -> None:
    def spoil(rows: Rows) -> None:
        for row in rows:
            row["last_event_at"] += 0.002
            row["views_1d"] = None

    store(customers=spoil)
    report = compare(items=0, seed=5)
    found = {of.feature: of for of in report.beyond}
    assert set(found) == {"last_event_at", "views_1d"}
    assert found["last_event_at"].largest == pytest.approx(0.002, abs=1e-6)
    assert found["views_1d"].share == 1
    assert json.loads(report.to_json())["features"][0]["entity"] == "customer"


@pytest.mark.parametrize(("sums", "agrees"), [(0.0, True), (2.0, False)])
def test_somebody_of_whom_nothing_is_left(sums: float, agrees: bool) -> None:
    """As after a tie by which all that he had done turned out to be another customer's."""

    def add(rows: Rows) -> None:
        emptied = {**rows[-1], "customer_id": "emptied", "event_count": 0}
        emptied["last_event_at"] = emptied["event_timestamp"].timestamp()
        emptied |= {name: [] for name in RECENT.columns}
        rows.append(emptied | {aggregate.name: sums for aggregate in decayed_sums(Entity.CUSTOMER)})

    store(customers=add)
    report = compare(customers=1_000, items=0, seed=5)
    assert report.agrees is agrees
    assert set(differing(report)) == (
        set() if agrees else {("customer", aggregate.name) for aggregate in decayed_sums(Entity.CUSTOMER)}
    )


def test_rows_ahead_of_the_archive_are_left_out() -> None:
    events = kafka_events()
    held = len(events) // 2
    stored = store(archived=held, events=events)
    report = compare(seed=6)
    assert differing(report) == {}
    assert report.left_out == {entity: sum(row["place"][0] > held for row in rows) for entity, rows in stored.items()}


@pytest.mark.parametrize("entity", Entity)
def test_a_sample_has_the_latest_row_of_half_the_keys(entity: Entity) -> None:
    stored = store()[entity]
    newest = {row[entity.key]: row["event_timestamp"] for row in stored}
    rows, _ = sample(entity, 10, {0: 10**6}, seed=7)
    keys = set(rows[entity.key].to_pylist())
    assert len(keys) == 10
    latest = sum(row["event_timestamp"] == newest[row[entity.key]] for row in rows.to_pylist())
    assert latest >= 5
    assert 10 <= rows.num_rows <= 15
    assert rows.equals(sample(entity, 10, {0: 10**6}, seed=7)[0])
    assert not rows.equals(sample(entity, 10, {0: 10**6}, seed=8)[0])


def test_all_keys_can_be_asked_for() -> None:
    stored = store()
    everybody = {row["customer_id"] for row in stored[Entity.CUSTOMER]}
    rows, _ = sample(Entity.CUSTOMER, 10_000_000, {0: 10**6}, seed=1)
    assert set(rows["customer_id"].to_pylist()) == everybody


def test_since_takes_later_rows_only() -> None:
    store()
    since = UNTIL - timedelta(days=1)
    rows, _ = sample(Entity.CUSTOMER, 50, {0: 10**6}, seed=9, since=since)
    assert rows.num_rows
    assert min(rows["event_timestamp"].to_pylist()) >= since
    assert parity("--since", "2026-06-09T00:00:00Z") == 0
    assert compare(since=UNTIL + timedelta(days=1)).empty == tuple(Entity)


def test_nothing_to_compare_fails_only_if_rows_are_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert parity() == 0
    assert "no rows of customers to compare" in capsys.readouterr().out
    assert parity("--since", "6h", "--require") == 1


def test_a_table_of_older_definitions_says_what_to_do() -> None:
    table = ACTIVITY[Entity.ITEM]
    older = table.schema.empty_table().drop_columns(["clicks_6h"])
    write_deltalake(table.uri, older, mode="overwrite", schema_mode="overwrite")
    with pytest.raises(DefinitionError, match=r"no column clicks_6h.*--recompute"):
        compare()


def test_it_does_not_judge_while_a_backfill_is_at_work() -> None:
    with stream_paused(), pytest.raises(UnavailableError, match="try again"):
        parity()


def test_a_file_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        parity("--json", str(tmp_path / "missing" / "parity.json"))


@pytest.mark.parametrize("words", [["--customers", "-1"], ["--threshold", "2"], ["--since", "soon"]])
def test_useless_arguments_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parity(*words)
