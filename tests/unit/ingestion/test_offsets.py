"""What the tables say of how far in Kafka they reach."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from feature_repo.tables import LEDGER
from ingestion import offsets

pytestmark = pytest.mark.usefixtures("warehouse")


def noted(place: offsets.Offsets) -> CommitProperties:
    return CommitProperties(custom_metadata={offsets.METADATA_KEY: offsets.to_json(place)})


def write(place: offsets.Offsets | None, mode: str = "append") -> None:
    rows = pa.Table.from_pylist([{"source": "s"}], schema=LEDGER.schema)
    properties = noted(place) if place else None
    write_deltalake(LEDGER.uri, rows, mode=mode, commit_properties=properties)  # type: ignore[arg-type]


def test_a_table_without_a_place_says_so() -> None:
    write(None)
    assert offsets.newest(LEDGER) is None


def test_the_latest_place_counts_also_after_commits_without_one() -> None:
    write({0: 5, 1: 7})
    write({0: 9, 1: 7})
    write(None)
    assert offsets.newest(LEDGER) == {0: 9, 1: 7}
    assert [place for _, place in offsets.covered_by(LEDGER)] == [{0: 9, 1: 7}, {0: 5, 1: 7}]


def test_a_merge_of_files_that_repeats_an_old_place_changes_nothing() -> None:
    write({0: 5})
    write({0: 9})
    DeltaTable(LEDGER.uri).optimize.compact(commit_properties=noted({0: 5}))
    assert offsets.newest(LEDGER) == {0: 9}


def test_an_overwrite_may_go_back() -> None:
    write({0: 9})
    write({0: 5}, mode="overwrite")
    assert offsets.newest(LEDGER) == {0: 5}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({}, {0: 10, 1: 0}),
        ({0: 15, 1: 3}, {0: 15, 1: 3}),
        ({0: 4, 1: 3}, {0: 10, 1: 3}),  # Kafka has deleted what lies before
        ({0: 99, 1: 3}, {0: 10, 1: 3}),  # a new topic of the same name
    ],
)
def test_going_on_from_a_place_that_kafka_may_have_lost(
    monkeypatch: pytest.MonkeyPatch, place: offsets.Offsets, expected: offsets.Offsets
) -> None:
    monkeypatch.setattr(offsets, "in_kafka", lambda: ({0: 10, 1: 0}, {0: 20, 1: 5}))
    assert offsets.reachable(place) == expected
