"""Hand-written turns of a few products: what the shelf makes of them, and what visitors get of it."""

from __future__ import annotations

import numpy as np
import pytest
from small_shelf import NOW, following, shelf, visitors

from feature_repo.aggregates import NEXT, Action
from feature_repo.ranking.successors import COLUMNS, SHRINKAGE, Successors, latest, weighted

CUP, PAN, RAKE, BALL = range(4)
TURNS = {"cup": {"pan": 6.0, "rake": 2.0}, "rake": {"cup": 4.0, "gone": 1.0}}


def test_shares_of_turns_and_closeness_are_shrunk() -> None:
    read = shelf(**following(TURNS)).successors
    assert read.following[CUP, PAN] == pytest.approx(6 / (8 + SHRINKAGE))
    assert read.following[RAKE, CUP] == pytest.approx(4 / (5 + SHRINKAGE))
    assert read.following[PAN].nnz == 0
    both = (2 + 4) / np.sqrt((8 + 4 + SHRINKAGE) * (5 + 2 + SHRINKAGE))
    assert read.together[CUP, RAKE] == read.together[RAKE, CUP] == pytest.approx(both)


def test_of_many_products_turned_to_together_the_closest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.ranking.successors.MOST_TIES", 2)
    turns = {"cup": {"pan": 6.0, "rake": 2.0, "ball": 4.0}, "rake": {"ball": 1.0}}
    read = shelf(**following(turns)).successors
    assert sorted(read.together[CUP].indices) == [PAN, BALL]
    assert sorted(read.together[RAKE].indices) == [CUP, BALL], "rows are looked at for themselves"
    assert read.following[CUP].nnz == 3
    both = 6 / np.sqrt((12 + SHRINKAGE) * (6 + SHRINKAGE))
    assert read.together[CUP, PAN] == read.together[PAN, CUP] == pytest.approx(both)


def test_turns_fade_with_their_half_life() -> None:
    columns = following(TURNS)
    columns[COLUMNS[0]] = [NOW - NEXT.half_life.total_seconds()] * 4
    read = shelf(**columns).successors
    assert read.following[CUP, PAN] == pytest.approx(3 / (4 + SHRINKAGE))


def test_a_shelf_without_turns_points_nowhere() -> None:
    read = Successors.from_columns({name: [None, None] for name in COLUMNS}, {"a": 0, "b": 1}, NOW)
    assert read.following.nnz == read.together.nnz == 0
    for seeds in ([0], []):
        codes, strengths = read.towards(np.array(seeds, dtype=np.int32)).of(0)
        assert len(codes) == len(strengths) == 0


def test_the_latest_products_count_most_by_visit() -> None:
    on = shelf(**following(TURNS))
    of = visitors(
        on,
        [
            ("cup", Action.VIEWED, 0.1),
            ("rake", Action.REMOVED, 0.15),
            ("pan", Action.VIEWED, 0.2),
            ("cup", Action.CLICKED, 0.3),
            ("ball", Action.VIEWED, 30.0),
        ],
        [],
    )
    session, earlier, everything = latest(of)
    assert session[0, :5].tolist() == [1.0, 0.0, 0.5, 0.0, 0.0], "a removed product says nothing, a repeated one once"
    assert earlier[0, :5].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert everything[0, :5].tolist() == [1.0, 0.0, 0.5, 0.0, pytest.approx(1 / 3)]
    assert not everything[1].any()
    codes, shares = weighted(of.items, session, on.successors.following).of(0)
    assert codes.tolist() == [PAN, RAKE]
    assert shares.tolist() == pytest.approx([6 / (8 + SHRINKAGE), 2 / (8 + SHRINKAGE)])


def test_pairs_between_given_products() -> None:
    read = shelf(**following(TURNS)).successors
    between = read.between(np.array([RAKE, BALL], dtype=np.int32), np.array([CUP, PAN], dtype=np.int32))
    assert between.tolist() == [[pytest.approx(read.together[RAKE, CUP]), 0.0], [0.0, 0.0]]
