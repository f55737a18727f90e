"""What a model gets to see of a few events."""

from __future__ import annotations

import numpy as np
import pytest
from small_log import log

from feature_repo.aggregates import Action
from training.evaluation.log import SHOWN, Lines
from training.evaluation.stream import LeakError, Query, Stream, Variant
from training.evaluation.tasks import Task, queries_of

CLICKED, VIEWED, ADDED, ORDERED = Action.CLICKED, Action.VIEWED, Action.ADDED, Action.ORDERED

CUT = 10.0
SHOP = log(
    (1, 0, VIEWED, 1),
    (2, 0, VIEWED, 2),
    (11, 1, VIEWED, 3),
    (12, 2, SHOWN, [6, 7]),
    (12, 1, VIEWED, 4),
    (12, 2, VIEWED, 6),
    (13, 2, VIEWED, 5),
    (14, 1, VIEWED, 3),
    customers={0: 0, 1: 0, 2: 1},
)
QUERIES = queries_of(Task.NEXT, SHOP, CUT)


def walk(variant: Variant) -> list[tuple[Lines, Query]]:
    return list(Stream(SHOP, variant, CUT).walk(QUERIES))


def test_a_streaming_model_is_told_everything_strictly_before_each_query() -> None:
    assert QUERIES.moments.tolist() == [11.001, 12.001, 12.001]
    told = [news.items.tolist() for news, _ in walk(Variant.STREAMING)]
    assert told == [[1, 2, 3], [6, 7, 4, 6], []]
    assert [query.until for _, query in walk(Variant.STREAMING)] == [11.001, 12.001, 12.001]


def test_a_static_model_is_told_nothing_after_the_cut_but_who_asks_and_what_he_did() -> None:
    steps = walk(Variant.STATIC)
    assert [news.items.tolist() for news, _ in steps] == [[1, 2], [], []]
    assert [query.until for _, query in steps] == [CUT] * 3
    assert [query.own.items.tolist() for _, query in steps] == [[1, 2, 3], [1, 2, 3, 4], [6]]
    assert [query.prefix.tolist() for _, query in steps] == [[3], [3, 4], [6]]


def test_what_is_learnt_in_bulk_lies_before_all_the_queries_it_is_for() -> None:
    static, streaming = (Stream(SHOP, variant, CUT) for variant in (Variant.STATIC, Variant.STREAMING))
    assert static.learn(QUERIES).items.tolist() == [1, 2]
    assert streaming.learn(QUERIES).items.tolist() == [1, 2, 3]
    assert streaming.learn(QUERIES.take([2])).items.tolist() == [1, 2, 3, 6, 7, 4, 6]


def test_a_stream_does_not_flow_back() -> None:
    stream = Stream(SHOP, Variant.STREAMING, CUT)
    list(stream.walk(QUERIES.take([2])))
    with pytest.raises(LeakError, match="after later events"):
        list(stream.walk(QUERIES.take([0])))


def test_candidates_are_known_by_then_and_not_the_last_product() -> None:
    shop = log((1, 0, VIEWED, 1), (2, 0, VIEWED, 2), products=4, since={0: 1.0, 3: 2.0})
    (_, query), *_ = Stream(shop, Variant.STREAMING, 0.0).walk(queries_of(Task.NEXT, shop, 0.0))
    assert np.flatnonzero(query.allowed).tolist() == [0, 2]
    bought = log((1, 0, VIEWED, 1), (2, 0, ORDERED, 1), products=2)
    (_, query), *_ = Stream(bought, Variant.STREAMING, 0.0).walk(queries_of(Task.PURCHASE, bought, 0.0))
    assert np.flatnonzero(query.allowed).tolist() == [0, 1], "what one looks at can be bought"


def test_recent_products_are_of_this_session_first_and_then_of_older_ones() -> None:
    _, (_, query), _ = walk(Variant.STREAMING)
    assert query.recent.tolist() == [4, 3, 2, 1]
    shop = log((1, 0, VIEWED, 1), (2, 0, VIEWED, 2), (9, 1, ORDERED, 5), customers={1: 0})
    (_, query), *_ = Stream(shop, Variant.STREAMING, 5.0).walk(queries_of(Task.PURCHASE, shop, 5.0))
    assert query.prefix.tolist() == []
    assert query.recent.tolist() == [2, 1]
