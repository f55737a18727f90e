"""What comes out of the topic for checked events is taken once, whatever Spark's tasks repeat."""

from __future__ import annotations

import pyarrow as pa

from ingestion.offsets import Offsets
from ingestion.streaming.live import unread

Place = tuple[int, int]


def taken(places: list[Place], begin: Offsets) -> tuple[list[Place], Offsets]:
    """The places that are taken of those that come, and where they end."""
    partitions, at = zip(*places, strict=True)
    columns = {"partition": pa.array(partitions, pa.int32()), "offset": pa.array(at, pa.int64())}
    rows, reached = unread(pa.table(columns), begin)
    return list(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True)), reached


def test_what_follows_is_taken_in_its_order() -> None:
    assert taken([(0, 3), (1, 7), (0, 4)], {0: 3, 1: 7, 2: 5}) == ([(0, 3), (1, 7), (0, 4)], {0: 5, 1: 8, 2: 5})


def test_what_a_task_repeats_from_its_beginning_is_left_out() -> None:
    assert taken([(0, 1), (0, 2), (0, 3), (1, 0)], {0: 3, 1: 0}) == ([(0, 3), (1, 0)], {0: 4, 1: 1})
    assert taken([(0, 1), (0, 2)], {0: 3}) == ([], {0: 3})


def test_two_tasks_that_pass_on_the_same_are_taken_once() -> None:
    came = [(0, 5), (0, 6), (0, 3), (0, 4), (0, 5), (0, 6), (0, 7)]
    assert taken(came, {0: 5}) == ([(0, 5), (0, 6), (0, 7)], {0: 8})
