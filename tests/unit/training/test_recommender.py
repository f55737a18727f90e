"""The artefact: saving and loading."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_shelf import rankers, shelf, space, visitors

from feature_repo.aggregates import Action, definition_hash
from feature_repo.errors import DefinitionError
from feature_repo.ranking.features import LIST_FEATURES
from training.model import ModelCard, Recommender

ALL = np.ones(4, dtype=bool)


@pytest.fixture
def recommender() -> Recommender:
    """Likes what is viewed together with a visitor's products."""
    return Recommender(space(), rankers("viewed_together", above=0.4), ("pan", "cup"))


@pytest.fixture
def card(recommender: Recommender) -> ModelCard:
    return ModelCard("a", "b", "c", 7, {}, {}, LIST_FEATURES, definition_hash(), recommender.fingerprint())


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


def test_product_ids_survive_as_they_are(recommender: Recommender, card: ModelCard, tmp_path: Path) -> None:
    ids = ("a b", "ü/1", "0012", "long" * 40)
    original = space()
    renamed = Recommender(
        replace(
            original,
            factors=replace(original.factors, ids=ids),
            copurchases=replace(original.copurchases, ids=ids),
            repurchases=replace(original.repurchases, ids=ids),
        ),
        recommender.rankers,
        ids,
    )
    renamed.save(tmp_path, card)
    assert Recommender.load(tmp_path)[0].space.factors.ids == ids
