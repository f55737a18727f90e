"""Which queries a few hand-written sessions make."""

from __future__ import annotations

from small_log import log

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN
from training.evaluation.log import CHECKED_OUT, SHOWN
from training.evaluation.ragged import Ragged
from training.evaluation.tasks import Task, queries_of

CLICKED, VIEWED, ADDED, REMOVED, ORDERED = (
    Action.CLICKED,
    Action.VIEWED,
    Action.ADDED,
    Action.REMOVED,
    Action.ORDERED,
)


def lists(ragged: Ragged) -> list[list[int]]:
    return [ragged[number].tolist() for number in range(len(ragged))]


def test_each_prefix_asks_for_the_next_distinct_product() -> None:
    shop = log(
        (10, 0, CLICKED, 1),
        (11, 0, VIEWED, 1),
        (12, 1, VIEWED, 5),
        (13, 0, VIEWED, 2),
        (14, 0, REMOVED, 7),
        (15, 0, ADDED, 2),
        (16, 0, VIEWED, 1),
        (17, 0, ORDERED, [1, 2]),
    )
    queries = queries_of(Task.NEXT, shop, 10.0)
    assert lists(queries.prefixes) == [[1], [1, 2]]
    assert lists(queries.wanted) == [[2], [1]]
    assert queries.moments.tolist() == [11.001, 15.001], "right after the prefix's last event"
    assert queries.last.tolist() == [1, 2]
    assert queries.customers.tolist() == queries.sessions.tolist() == [0, 0]
    assert lists(queries.listed) == [[], []]


def test_sessions_that_began_before_the_cut_ask_nothing_next() -> None:
    shop = log((9, 0, SHOWN, [1, 2]), (11, 0, VIEWED, 1), (12, 0, VIEWED, 2), (13, 1, VIEWED, 3), (14, 1, VIEWED, 4))
    assert queries_of(Task.NEXT, shop, 10.0).sessions.tolist() == [1]
    assert queries_of(Task.NEXT, shop, 9.0).sessions.tolist() == [0, 1]


def test_queries_are_in_order_of_time_across_sessions() -> None:
    shop = log((1, 1, VIEWED, 1), (2, 0, VIEWED, 2), (3, 0, VIEWED, 3), (4, 1, VIEWED, 4), (5, 0, VIEWED, 5))
    queries = queries_of(Task.NEXT, shop, 0.0)
    assert queries.moments.tolist() == [1.001, 2.001, 3.001]
    assert lists(queries.prefixes) == [[1], [2], [2, 3]]


def test_a_purchase_is_asked_for_before_anything_is_in_the_cart() -> None:
    shop = log(
        (10, 0, VIEWED, 1),
        (11, 0, ADDED, 1),
        (12, 0, ADDED, 2),
        (13, 0, CHECKED_OUT, []),
        (14, 0, ORDERED, [1, 2, 2]),
        (15, 0, ORDERED, [2, 3]),
    )
    queries = queries_of(Task.PURCHASE, shop, 10.0)
    assert queries.moments.tolist() == [11.0]
    assert lists(queries.prefixes) == [[1]]
    assert lists(queries.wanted) == [[1, 2, 3]], "the set of products ordered in the session"


def test_without_an_addition_the_checkout_or_the_order_is_the_moment() -> None:
    shop = log(
        (10, 0, VIEWED, 1),
        (11, 0, CHECKED_OUT, []),
        (12, 0, ORDERED, 1),
        (13, 1, ORDERED, 2),
        (14, 2, VIEWED, 3),
        (15, 2, ORDERED, 3),
        (16, 2, ADDED, 4),
        (17, 3, ADDED, 4),
    )
    queries = queries_of(Task.PURCHASE, shop, 10.0)
    assert queries.sessions.tolist() == [0, 1, 2], "no order, no query"
    assert queries.moments.tolist() == [11.0, 13.0, 15.0], "an addition after the order comes too late to ask at"
    assert lists(queries.prefixes) == [[1], [], [3]]


def test_a_session_that_began_before_the_cut_is_no_purchase() -> None:
    assert not len(queries_of(Task.PURCHASE, log((9, 0, VIEWED, 1), (12, 0, ORDERED, 1)), 10.0))


def test_a_list_is_asked_about_if_a_click_follows_before_the_next_list() -> None:
    shop = log(
        (10, 0, SHOWN, [1, 2, 3, 4, 5, 2]),
        (11, 0, CLICKED, 3),
        (12, 0, CLICKED, 2),
        (13, 0, SHOWN, [1, 2, 3, 4, 5]),
        (14, 0, SHOWN, [6, 7]),
        (15, 0, CLICKED, 1),
        (16, 0, SHOWN, [5, 6, 7, 8, 9]),
        (17, 0, CLICKED, 1),
        (18, 0, VIEWED, 5),
        (19, 1, CLICKED, 5),
    )
    queries = queries_of(Task.RERANK, shop, 10.0)
    assert queries.moments.tolist() == [10.0], "the second list's click came after another list, the third has none"
    assert lists(queries.listed) == [[1, 2, 3, 4, 5]]
    assert lists(queries.wanted) == [[2, 3]]
    assert lists(queries.prefixes) == [[]]


def test_lists_of_one_page_share_its_clicks_and_short_ones_are_left_out() -> None:
    shop = log(
        (9, 0, SHOWN, [1, 2, 3, 4, 5]),
        (9.5, 0, CLICKED, 1),
        (10, 0, SHOWN, [1, 2, 3, 4, 5]),
        (10, 0, SHOWN, [5, 6, 7, 8, 9]),
        (10, 0, SHOWN, [5, 6, 6, 6, 7, 7, 8]),
        (11, 0, CLICKED, 5),
    )
    queries = queries_of(Task.RERANK, shop, 10.0)
    assert lists(queries.listed) == [[1, 2, 3, 4, 5], [5, 6, 7, 8, 9]]
    assert lists(queries.wanted) == [[5], [5]]
    assert lists(queries.prefixes) == [[1], [1]], "the session may have begun before the cut"


def test_queries_can_be_chosen() -> None:
    shop = log((1, 0, VIEWED, 1), (2, 0, VIEWED, 2), (3, 0, VIEWED, 3), (4, 0, VIEWED, 4))
    queries = queries_of(Task.NEXT, shop, 0.0)
    last = queries.take(slice(1, None))
    assert lists(last.prefixes) == [[1, 2], [1, 2, 3]]
    assert last.wanted.flat.tolist() == [3, 4]
    assert last.prefixes.flat.tolist() == [1, 2, 1, 2, 3]
    assert last.prefixes.owner.tolist() == [0, 0, 1, 1, 1]


def test_an_empty_prefix_has_no_last_product() -> None:
    assert queries_of(Task.PURCHASE, log((10, 0, ORDERED, 1)), 0.0).last.tolist() == [UNKNOWN]
