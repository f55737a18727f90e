"""Questions without a single case: nothing to learn and nothing to judge, and no reason to fail."""

from __future__ import annotations

from typing import cast

import numpy as np
from feast import FeatureStore
from small_shelf import IDS, shelf, space

from feature_repo.ranking.shelf import Vocabularies
from feature_repo.sections.training import TrainingSettings
from training.candidates.space import Spaces
from training.data.choices import Choices, read_choices, visitors_at
from training.data.examples import Shelves
from training.data.history import History
from training.ranking.rankers import Purpose, Rows

NONE = Choices(np.empty(0, dtype=object), np.empty(0), ())


def test_no_choices_give_no_rows() -> None:
    history = History(cast(FeatureStore, None), IDS, Vocabularies())  # there is nothing to ask it for
    shelves, spaces = Shelves(0.0, 3600.0, (shelf(),)), Spaces.only(space().on(shelf()))
    assert len(visitors_at(history, shelves, NONE)) == 0
    examples = read_choices(history, shelves, NONE, spaces, TrainingSettings())
    rows = examples.rows(shelves, spaces, Purpose.ORDER, TrainingSettings())
    assert len(rows) == 0
    assert len(Rows.concatenate([rows, rows])) == 0
