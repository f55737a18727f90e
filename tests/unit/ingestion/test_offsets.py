"""What the tables say of how far in Kafka they reach, and how the stream goes on from there."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_repo.errors import DefinitionError
from feature_repo.tables import LEDGER
from ingestion import offsets

pytestmark = pytest.mark.usefixtures("warehouse")


def write(place: offsets.Offsets, mode: str = "append") -> None:
    rows = pa.Table.from_pylist([{"source": "s"}], schema=LEDGER.schema)
    write_deltalake(LEDGER.uri, rows, mode=mode, commit_properties=offsets.commit(place))  # type: ignore[call-overload]


def test_a_table_without_a_place_says_so() -> None:
    write({})
    assert offsets.covered(LEDGER) == {}


def test_the_latest_place_outlives_commits_without_one_and_merges_of_files() -> None:
    write({0: 5, 1: 7})
    write({0: 9, 1: 7})
    write({})
    DeltaTable(LEDGER.uri).optimize.compact()
    DeltaTable(LEDGER.uri).create_checkpoint()
    assert offsets.covered(LEDGER) == {0: 9, 1: 7}


def test_an_overwrite_may_go_back() -> None:
    write({0: 9})
    write({0: 5}, mode="overwrite")
    assert offsets.covered(LEDGER) == {0: 5}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({}, {0: 10, 1: 0}),
        ({0: 15, 1: 3}, {0: 15, 1: 3}),
        ({0: 15}, {0: 15, 1: 0}),  # the topic got another partition
    ],
)
def test_going_on_from_a_place(place: offsets.Offsets, expected: offsets.Offsets) -> None:
    assert offsets.reachable(place, {0: 10, 1: 0}, {0: 20, 1: 5}) == expected


def test_what_kafka_has_deleted_too_early_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert offsets.reachable({0: 4}, {0: 10}, {0: 20}) == {0: 10}
    assert "6 messages of partition 0" in caplog.text


def test_a_topic_that_was_made_anew_is_refused() -> None:
    with pytest.raises(DefinitionError, match="was made anew"):
        offsets.reachable({0: 99}, {0: 0}, {0: 20})


def test_steps_lead_from_the_start_to_the_end_side_by_side() -> None:
    steps = list(offsets.steps({0: 0, 1: 5}, {0: 100, 1: 8}, 40))
    assert [begin for begin, _ in steps] == [{0: 0, 1: 5}, *(end for _, end in steps[:-1])]
    assert steps[-1][1] == {0: 100, 1: 8}
    assert all(sum(end.values()) - sum(begin.values()) <= 42 for begin, end in steps)
    assert list(offsets.steps({0: 3}, {0: 3}, 10)) == []
