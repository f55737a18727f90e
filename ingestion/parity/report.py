"""What a comparison of stored features with the raw events found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from feature_repo.aggregates import Entity


@dataclass(frozen=True)
class Example:
    """One stored value that is not what the events say; ``moment`` is the row's ``event_timestamp``."""

    key: str
    moment: datetime
    stored: Any
    recomputed: Any


@dataclass(frozen=True)
class FeatureParity:
    """How one feature compares.

    Attributes:
        entity: whose.
        feature: a column of its activity table.
        rows: rows compared.
        differing: those of them that hold something else than the events say.
        largest: the largest difference; for a sequence, in how many places; infinite where one side has no value.
        examples: a few of the differing rows.
    """

    entity: Entity
    feature: str
    rows: int
    differing: int = 0
    largest: float = 0.0
    examples: tuple[Example, ...] = ()

    @property
    def share(self) -> float:
        return self.differing / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class ParityReport:
    """What a comparison found.

    Attributes:
        at: when it was made.
        seed: what the sample was drawn with.
        threshold: share of the rows in which a feature may differ.
        features: every feature of the entities that had rows.
        rows: rows compared, of each entity that was asked for.
        left_out: stored rows of the sampled keys that know of events which the archive does not hold yet.
    """

    at: datetime
    seed: int
    threshold: float
    features: tuple[FeatureParity, ...] = ()
    rows: Mapping[Entity, int] = field(default_factory=dict)
    left_out: Mapping[Entity, int] = field(default_factory=dict)

    @property
    def beyond(self) -> tuple[FeatureParity, ...]:
        """The features that differ in more rows than the threshold allows."""
        return tuple(feature for feature in self.features if feature.share > self.threshold)

    @property
    def agrees(self) -> bool:
        return not self.beyond

    @property
    def empty(self) -> tuple[Entity, ...]:
        """Those asked for of which no row could be compared."""
        return tuple(entity for entity, rows in self.rows.items() if not rows)

    def to_json(self) -> str:
        """As one line of JSON; a ``largest`` of null stands for a value that one side does not have."""
        import orjson

        features = [
            {
                "entity": of.entity,
                "feature": of.feature,
                "rows": of.rows,
                "differing": of.differing,
                "share": of.share,
                "largest": of.largest,
                "examples": of.examples,
            }
            for of in self.features
        ]
        return orjson.dumps(
            {
                "at": self.at,
                "agrees": self.agrees,
                "threshold": self.threshold,
                "seed": self.seed,
                "rows": {entity.value: rows for entity, rows in self.rows.items()},
                "left_out": {entity.value: rows for entity, rows in self.left_out.items()},
                "features": features,
            }
        ).decode()
