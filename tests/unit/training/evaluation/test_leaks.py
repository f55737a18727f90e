"""Planted leaks are caught."""

from __future__ import annotations

import numpy as np
import pytest
from small_log import Row, log

from feature_repo.aggregates import Action
from feature_repo.errors import DefinitionError
from feature_repo.ranking.shelf import UNKNOWN
from feature_repo.reading import Floats
from training.evaluation.leaks import refuse_leaks, with_another_future
from training.evaluation.log import SHOWN, Lines, Log
from training.evaluation.models import DEPTH, Answers, Stepwise
from training.evaluation.replay import ask
from training.evaluation.stream import LeakError, Query, Stream, Variant
from training.evaluation.tasks import Queries, Task, queries_of

VIEWED, CLICKED = Action.VIEWED, Action.CLICKED
CUT = 100.0
STREAMING = Variant.STREAMING


def shop() -> Log:
    rng = np.random.default_rng(5)
    rows: list[Row] = []
    for session in range(40):
        at = 10.0 * session
        rows.append((at, session, SHOWN, rng.permutation(10)[:6].tolist()))
        rows += [(at + step, session, CLICKED, int(rng.integers(10))) for step in range(1, 5)]
    return log(*rows)


SHOP = shop()


class Honest(Stepwise):
    """Counts what it is told."""

    def __init__(self, products: int) -> None:
        super().__init__(products)
        self.counts = np.zeros(products)

    def observe(self, news: Lines) -> None:
        np.add.at(self.counts, news.items, 1.0)

    def scores(self, query: Query) -> Floats:
        return self.counts.copy()


class Inclusive(Honest):
    """Goes behind the stream's back for what happens at the very moment of the query: the slip of a `<=`."""

    def answer(self, stream: Stream, queries: Queries) -> Answers:
        self.lines = stream._log.lines
        return super().answer(stream, queries)

    def scores(self, query: Query) -> Floats:
        counts = self.counts.copy()
        np.add.at(counts, self.lines.items[self.lines.times == query.moment], 1.0)
        return counts


class Hurried(Honest):
    """Lets the whole day go by before it answers the day's first query."""

    def answer(self, stream: Stream, queries: Queries) -> Answers:
        list(stream.walk(queries))
        return super().answer(stream, queries)


class Ahead(Honest):
    """Learns in bulk for the day's last query, and answers all of them by that."""

    def answer(self, stream: Stream, queries: Queries) -> Answers:
        past = stream.learn(queries.take(slice(len(queries) - 1, None)))
        self.counts = np.bincount(past.items, minlength=self.products).astype(float)
        return super().answer(stream, queries)

    def observe(self, news: Lines) -> None:
        """All is known."""


@pytest.mark.parametrize("task", [Task.NEXT, Task.RERANK])
def test_an_honest_model_passes(task: Task) -> None:
    refuse_leaks("honest", lambda: Honest(10), SHOP, queries_of(task, SHOP, CUT), STREAMING, CUT, seed=1)


@pytest.mark.parametrize(("model", "task"), [(Inclusive, Task.RERANK), (Ahead, Task.NEXT)])
def test_a_model_that_peeks_is_caught(model: type[Honest], task: Task) -> None:
    queries = queries_of(task, SHOP, CUT)
    with pytest.raises(LeakError, match=r"peeker: .* answers change with what happens"):
        refuse_leaks("peeker", lambda: model(10), SHOP, queries, STREAMING, CUT, seed=1)


def test_a_model_cannot_hurry_ahead_and_come_back() -> None:
    with pytest.raises(LeakError, match="after later events"):
        ask(Hurried(10), SHOP, queries_of(Task.NEXT, SHOP, CUT), STREAMING, CUT)


def test_another_future_has_the_same_past() -> None:
    other = with_another_future(SHOP, 200.0, seed=1)
    before = SHOP.lines.times < 200.0
    assert np.array_equal(other.lines.items[before], SHOP.lines.items[before])
    assert (other.lines.items[~before] != SHOP.lines.items[~before]).mean() > 0.5
    assert np.array_equal(other.lines.times, SHOP.lines.times)


class Fixed:
    """Gives the same list to everyone."""

    def __init__(self, *items: int) -> None:
        self.row = np.array([*items, *[UNKNOWN] * (DEPTH - len(items))], dtype=np.int32)

    def answer(self, stream: Stream, queries: Queries) -> Answers:
        return Answers(np.tile(self.row, (len(queries), 1)), np.empty(0))


def test_a_product_that_nobody_had_heard_of_cannot_be_recommended() -> None:
    young = log((1, 0, VIEWED, 1), (2, 0, VIEWED, 2), (3, 0, VIEWED, 1), since={2: 2.0})
    queries = queries_of(Task.NEXT, young, 0.0)
    with pytest.raises(LeakError, match="nobody had heard of"):
        ask(Fixed(2), young, queries, STREAMING, 0.0)


@pytest.mark.parametrize(("items", "message"), [((3, 4, 3), "twice"), ((1,), "was at")])
def test_lists_that_cannot_be_judged_are_refused(items: tuple[int, ...], message: str) -> None:
    one = log((1, 0, VIEWED, 1), (2, 0, VIEWED, 2))
    with pytest.raises(DefinitionError, match=message):
        ask(Fixed(*items), one, queries_of(Task.NEXT, one, 0.0), STREAMING, 0.0)


def test_answers_of_another_number_are_refused() -> None:
    class Silent:
        def answer(self, stream: Stream, queries: Queries) -> Answers:
            return Answers.concatenate([])

    with pytest.raises(DefinitionError, match="answered"):
        ask(Silent(), SHOP, queries_of(Task.NEXT, SHOP, CUT), STREAMING, CUT)
