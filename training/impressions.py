"""Impressions with labels: which products were shown to whom, and what became of them.

An interaction is credited to the customer's latest list that showed the product, if that was shown at most 30 minutes
before: neither an older list that happened to contain the product nor several lists at once get credit for one click.
Clicks and views count as clicked; of several interactions with a product after a list, the strongest counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import ACTION_OF_EVENT, Action
from feature_repo.contract import LIST_VIEWED
from feature_repo.errors import InputError
from feature_repo.ranking import DEVICES
from feature_repo.settings import TrainingSettings
from feature_repo.shelf import UNKNOWN, Codes, Floats
from training.events import EventLog, encode

CREDIT_MINUTES = 30
STRENGTHS = {Action.CLICKED: 1, Action.VIEWED: 1, Action.ADDED: 2, Action.WISHLISTED: 2, Action.ORDERED: 3}


@dataclass(frozen=True)
class Impressions:
    """Lists in order of time, and their products.

    Per list, shape (lists,): ``customer_ids``, ``times`` (epoch seconds), ``device`` (index in DEVICES, NaN unknown).
    Per product shown, shape (rows,), grouped by list: ``owner`` (number of the list), ``items`` (product codes),
    ``position`` (from 1, NaN unknown) and ``strength`` (0 unclicked, 1 clicked, 2 carted, 3 ordered).
    """

    customer_ids: NDArray[np.object_]
    times: Floats
    device: Floats
    owner: NDArray[np.int64]
    items: Codes
    position: Floats
    strength: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def row_times(self) -> Floats:
        """The moment of each row's list."""
        return self.times[self.owner]

    def between(self, since: float, until: float) -> Impressions:
        """Lists from ``since`` up to, but not including, ``until``, renumbered from 0."""
        first, last = np.searchsorted(self.times, [since, until])
        return self.rows_of(np.arange(first, last))

    def rows_of(self, lists: NDArray[np.int64]) -> Impressions:
        """The given lists (ascending) with all their rows, renumbered from 0."""
        number = np.full(len(self), -1)
        number[lists] = np.arange(len(lists))
        kept = self._rows(number[self.owner] >= 0)
        return Impressions(
            self.customer_ids[lists], self.times[lists], self.device[lists], number[kept.owner], *kept[1:]
        )

    def thinned(self, negatives: int, seed: int) -> Impressions:
        """The same lists with every clicked product and at most ``negatives`` others each, chosen by the seed."""
        draw = np.random.default_rng(seed).random(len(self.owner))
        draw[self.strength > 0] = -1.0
        order = np.lexsort((draw, self.owner))
        starts = np.searchsorted(self.owner, np.arange(len(self)))
        clicked = np.bincount(self.owner, weights=self.strength > 0, minlength=len(self))
        place = np.arange(len(order)) - starts[self.owner[order]]
        kept = np.sort(order[place < negatives + clicked[self.owner[order]]])
        rows = self._rows(kept)
        return Impressions(self.customer_ids, self.times, self.device, *rows)

    def _rows(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> _Rows:
        return _Rows(self.owner[rows], self.items[rows], self.position[rows], self.strength[rows])
