"""Which lists are learnt from, and what became of their products."""

from __future__ import annotations

import pytest
from few_events import event, store

from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED
from feature_repo.errors import InputError
from feature_repo.sections.training import TrainingSettings
from training.data.events import EventLog, Window
from training.data.impressions import RANKER_SHARE, Impressions, read_impressions

pytestmark = pytest.mark.usefixtures("warehouse")


def read(**settings: int) -> tuple[Impressions, tuple[str, ...]]:
    with EventLog(Window()) as log:
        ids = log.product_ids()
        return read_impressions(log, ids, TrainingSettings(**settings)), ids


def test_the_latest_clicked_lists_with_all_their_products() -> None:
    events = []
    for number in range(20):
        customer = f"c{number}"
        events.append(event(10 * number, customer, None, LIST_VIEWED, "a", "b", "c", "d"))
        events.append(event(10 * number + 3, customer, None, LIST_VIEWED, "e", "f"))  # nobody clicks these
        events.append(event(10 * number + 2, customer, None, CLICKED if number % 2 else ADDED, "c"))
    store(events, dict.fromkeys("abcdef", (0, None)))
    lists, ids = read(min_lists=10)
    assert len(lists) == 20 * RANKER_SHARE, "the candidate model needs a past of its own"
    assert lists.customer_ids[0] == "c8", "the latest"
    assert lists.owner.tolist() == [number for number in range(12) for _ in range(4)]
    assert [ids[code] for code in lists.items[:4]] == ["a", "b", "c", "d"]
    assert lists.strength[:8].tolist() == [0, 0, 2, 0, 0, 0, 1, 0]
    assert len(read(min_lists=10, max_lists=3)[0]) == 3


def test_too_few_clicked_lists_say_how_many_are_needed() -> None:
    store([event(0, "c", None, LIST_VIEWED, "a"), event(1, "c", None, CLICKED, "a")])
    with pytest.raises(InputError, match=r"only 1 impression lists .* training needs 10 "):
        read(min_lists=10)


def test_what_a_customer_turned_to_after_the_next_page_was_not_chosen_from_the_list() -> None:
    padding = [
        one
        for number in range(10)
        for one in (
            event(1000 + number, f"p{number}", None, LIST_VIEWED, "a"),
            event(1000.5 + number, f"p{number}", None, CLICKED, "a"),
        )
    ]
    store(
        [
            event(0, "c", None, LIST_VIEWED, "a", "b", "c", "d", "e"),
            event(1, "c", None, CLICKED, "a"),
            event(2, "c", None, CLICKED, "b"),
            event(3, "c", None, LIST_VIEWED, "x"),  # with this page, a product that no list has shown again
            event(4, "c", None, CLICKED, "c"),
            event(5, "c", None, ADDED, "b"),
            event(40, "c", None, ADDED, "a"),
            event(1, "other", None, LIST_VIEWED, "x"),  # another customer's page changes nothing
            *padding,
        ],
        dict.fromkeys("abcdex", (0, None)),
    )
    with EventLog(Window()) as log:
        ids = log.product_ids()
        lists = read_impressions(log, ids, TrainingSettings(min_lists=10))
        [first] = log.connection.execute("SELECT min(message_id) FROM track WHERE customer_id = 'c'").fetchone() or [
            None
        ]
        credit = log.connection.execute("SELECT product_id, strength FROM credit WHERE list = ?", [first]).fetchall()
    assert len(lists) == int(11 * RANKER_SHARE)
    assert dict(credit) == {"a": 1, "b": 2}, "c came after the next page, and a was put into the cart too late"
