"""Candidates, ranking, similar products, saving and loading."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from small_shelf import shelf, space, visitors

from feature_repo.aggregates import Action, definition_hash
from feature_repo.errors import DefinitionError
from feature_repo.ranking import FEATURES
from feature_repo.shelf import UNKNOWN
from training.candidates import Source, best, propose
from training.model import ModelCard, Recommender, popular, trending

CUP, PAN, RAKE, BALL = range(4)
ALL = np.ones(4, dtype=bool)


@pytest.fixture(scope="module")
def ranker() -> HistGradientBoostingClassifier:
    """Likes what is viewed together with a visitor's products."""
    rng = np.random.default_rng(0)
    matrix = rng.uniform(0, 1, (400, len(FEATURES)))
    liked = matrix[:, FEATURES.index("viewed_together")] > 0.4
    return HistGradientBoostingClassifier(max_iter=10, early_stopping=False).fit(matrix, liked)


@pytest.fixture
def recommender(ranker: HistGradientBoostingClassifier) -> Recommender:
    return Recommender(space(), ranker, ("pan", "cup"))


@pytest.fixture
def card(recommender: Recommender) -> ModelCard:
    return ModelCard("a", "b", "c", 7, {}, {}, FEATURES, definition_hash(), recommender.fingerprint())


def test_candidates_come_once_each_with_their_first_source() -> None:
    on = shelf(views_6h=[0, 0, 5.0, 0], views_7d=[0, 0, 5.0, 1.0])
    placed, of = space().on(on), visitors(on, [("cup", Action.VIEWED, 0.1), ("cup", Action.CLICKED, 0.1)])
    rows, sources = propose(on, placed, of, placed.embed(of), ALL, 20)
    assert dict(zip(rows.tolist(), (Source(source) for source in sources), strict=True)) == {
        CUP: Source.RECENT,
        PAN: Source.TOGETHER,
        RAKE: Source.TASTE,
        BALL: Source.POPULAR,
    }


def test_only_allowed_products_are_proposed_and_no_more_than_asked() -> None:
    on = shelf()
    placed, of = space().on(on), visitors(on, [("cup", Action.VIEWED, 0.1)])
    rows, _ = propose(on, placed, of, placed.embed(of), np.array([False, True, False, True]), 20)
    assert sorted(rows.tolist()) == [PAN, BALL]
    assert len(propose(on, placed, of, placed.embed(of), ALL, 2)[0]) == 2
    assert len(propose(on, placed, of, placed.embed(of), ~ALL, 20)[0]) == 0


def test_the_best_are_in_order_and_ties_go_by_row() -> None:
    assert best(np.array([1.0, 3.0, 2.0, 3.0]), ALL, 3).tolist() == [1, 3, 2]
    assert best(np.array([1.0, 3.0, 2.0, 3.0]), np.array([True, False, True, False]), 9).tolist() == [2, 0]
    assert best(np.array([1.0]), np.array([False]), 3).tolist() == []


def test_of_products_that_tie_for_the_last_places_the_first_rows_are_taken() -> None:
    scores = np.zeros(1_000)
    scores[[700, 300]] = 1.0
    assert best(scores, np.ones(1_000, dtype=bool), 5).tolist() == [300, 700, 0, 1, 2]


def test_ranking_follows_the_ranker_and_names_the_anchor(recommender: Recommender) -> None:
    on = shelf()
    of = visitors(on, [("cup", Action.VIEWED, 0.1)])
    ranked = recommender.on(on).recommend(of, ALL, 2, 20)
    assert ranked.rows[0] == PAN
    assert ranked.anchors[0] == CUP
    assert ranked.scores[0] >= ranked.scores[1]


def test_a_visitor_without_history_gets_what_is_popular(recommender: Recommender) -> None:
    on = shelf(views_7d=[1.0, 2.0, 9.0, 0.0])
    for nothing in (visitors(on, []), visitors(on, [("never sold", Action.VIEWED, 1.0)])):
        ranked = recommender.on(on).recommend(nothing, ALL, 2, 20)
        assert ranked.rows.tolist() == [RAKE, PAN]
        assert set(ranked.sources.tolist()) == {Source.POPULAR}
        assert set(ranked.anchors.tolist()) == {UNKNOWN}


def test_nothing_allowed_gives_nothing(recommender: Recommender) -> None:
    on = shelf()
    placed = recommender.on(on)
    assert len(placed.recommend(visitors(on, [("cup", Action.VIEWED, 0.1)]), ~ALL, 5, 20)) == 0
    assert len(placed.similar(CUP, ~ALL, 5)) == 0
    assert len(popular(on, ~ALL, 5)) == len(trending(on, ~ALL, 5)) == 0


def test_similar_products_by_covisits_and_factors(recommender: Recommender) -> None:
    placed = recommender.on(shelf())
    assert placed.similar(CUP, np.arange(4) != CUP, 5).rows.tolist() == [PAN], "the rake's direction is orthogonal"
    assert len(placed.similar(BALL, np.arange(4) != BALL, 5)) == 0, "the model does not know it"


def test_trending_products_are_filled_up_with_popular_ones() -> None:
    on = shelf(views_6h=[0, 4.0, 0, 0], views_7d=[50.0, 4.0, 9.0, 0.0])
    ranked = trending(on, ALL, 3)
    assert ranked.rows.tolist() == [PAN, CUP, RAKE]
    assert ranked.sources.tolist() == [Source.TRENDING, Source.POPULAR, Source.POPULAR]


def test_a_loaded_model_is_the_saved_one(recommender: Recommender, card: ModelCard, tmp_path: Path) -> None:
    recommender.save(tmp_path, card)
    loaded, loaded_card = Recommender.load(tmp_path)
    assert loaded_card == card
    assert loaded.fingerprint() == recommender.fingerprint()
    assert loaded.popular == recommender.popular
    on = shelf()
    of = visitors(on, [("cup", Action.VIEWED, 0.1), ("rake", Action.ADDED, 3.0)])
    before, after = (model.on(on).recommend(of, ALL, 4, 20) for model in (recommender, loaded))
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.scores, after.scores)


def test_the_fingerprint_changes_with_what_was_learnt(recommender: Recommender) -> None:
    other = replace(recommender, popular=("cup", "pan"))
    assert other.fingerprint() != recommender.fingerprint()


@pytest.mark.parametrize(("name", "value"), [("features", ["hour"]), ("definition", "0" * 16)])
def test_a_model_of_other_features_is_refused(
    recommender: Recommender, card: ModelCard, tmp_path: Path, name: str, value: object
) -> None:
    recommender.save(tmp_path, card)
    about = json.loads((tmp_path / "model.json").read_text())
    about["card"][name] = value
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(DefinitionError, match="python -m training run"):
        Recommender.load(tmp_path)


def test_the_served_part_needs_neither_feast_nor_implicit() -> None:
    code = "import sys, training.model; print({'feast', 'implicit', 'duckdb'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_product_ids_survive_as_they_are(
    ranker: HistGradientBoostingClassifier, card: ModelCard, tmp_path: Path
) -> None:
    ids = ("a b", "ü/1", "0012", "long" * 40)
    original = space()
    renamed = Recommender(
        replace(original, factors=replace(original.factors, ids=ids), covisits=replace(original.covisits, ids=ids)),
        ranker,
        ids,
    )
    renamed.save(tmp_path, card)
    assert Recommender.load(tmp_path)[0].space.factors.ids == ids
