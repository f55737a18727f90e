"""Numbering the words of the archive."""

from __future__ import annotations

import numpy as np

from feature_repo.ranking.shelf import UNKNOWN
from training.data.events import encode


def test_words_get_their_place_or_its_code() -> None:
    words = np.array(["b", "a", "z"], dtype=object)
    assert encode(words, ("a", "b")).tolist() == [1, 0, UNKNOWN]
    assert encode(words, ("a", "b"), [7, 8]).tolist() == [8, 7, UNKNOWN]


def test_a_missing_word_is_unknown_whatever_lies_under_its_mask() -> None:
    words = np.ma.masked_array(np.array(["a", "b", None, np.nan], dtype=object), [True, False, False, False])
    assert encode(words, ("a", "b")).tolist() == [UNKNOWN, 1, UNKNOWN, UNKNOWN]
