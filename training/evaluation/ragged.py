"""Lists of different lengths in one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.runs import spread


@dataclass(frozen=True)
class Ragged:
    """List number i is ``values[starts[i]:stops[i]]``; lists may overlap, so that prefixes of one sequence cost nothing."""

    values: NDArray[Any]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[NDArray[Any]], dtype: type[np.generic]) -> Ragged:
        """The given lists, one after the other."""
        lengths = np.array([len(one) for one in lists], dtype=np.int64)
        stops = np.cumsum(lengths)
        values = np.concatenate([np.empty(0, dtype=dtype), *lists]).astype(dtype)
        return cls(values, stops - lengths, stops)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> NDArray[Any]:
        return self.values[self.starts[number] : self.stops[number]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each list."""
        return self.stops - self.starts

    @property
    def owner(self) -> NDArray[np.int64]:
        """Number of the list of each of :attr:`flat`."""
        return spread(self.starts, self.lengths)[0]

    @property
    def places(self) -> NDArray[np.int64]:
        """The place in its list, from 0, of each of :attr:`flat`."""
        owner, places = spread(self.starts, self.lengths)
        return places - self.starts[owner]

    @property
    def flat(self) -> NDArray[Any]:
        """All lists, one after the other."""
        return self.values[spread(self.starts, self.lengths)[1]]

    def take(self, numbers: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Ragged:
        """The chosen lists."""
        return Ragged(self.values, self.starts[numbers], self.stops[numbers])
