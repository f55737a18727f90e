"""Experiments as their file (TOML) declares them, and who is in which variant; docs/experiments.md shows one.

Serving assigns customers and applies what variants change; training judges them.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from feature_repo.moments import Moment
from feature_repo.toml_files import read_declared

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,50}$")]
_RESOLUTION = 2.0**64


class Variant(BaseModel):
    """One of the ways that are compared.

    Attributes:
        weight: its share of the experiment's customers, beside the other weights; 0: it is not shown to anybody, but where
            the experiment explores it is noted what it would have put first.
        model: a version of the model to answer with; none: the promoted one.
        scenarios: by name, what is different about a scenario, as in the rules file.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    model: str | None = None
    scenarios: dict[str, dict[str, Any]] = {}


class Experiment(BaseModel):
    """A comparison of variants on customers; the first variant is what the others are compared with.

    Attributes:
        salt: decides who is where; another salt: everybody is assigned anew. Empty: the experiment's name.
        scenarios: where it takes place; none: everywhere.
        share: of the customers take part.
        since, until: when.
        planned: after about so many customers a verdict is expected; there, the test is sharpest.
        explore: share of the answers in which the product at the first place is drawn at random from the list.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    salt: str = ""
    scenarios: list[str] = []
    share: float = Field(1.0, gt=0, le=1)
    since: Moment | None = Field(None, alias="from")
    until: Moment | None = None
    planned: int = Field(10_000, ge=100)
    explore: float = Field(0.0, ge=0, le=0.5)
    variants: dict[Name, Variant] = Field(min_length=2)

    @model_validator(mode="after")
    def _sensible(self) -> Experiment:
        if self.since and self.until and self.since >= self.until:
            raise ValueError("`until` is not after `from`")
        if not self.variants[self.control].weight:
            raise ValueError(
                f"the first variant, {self.control!r}, is what others are compared with: it needs a weight"
            )
        watched = [name for name, variant in self.variants.items() if not variant.weight]
        if watched and not self.explore:
            raise ValueError(f"{watched[0]!r} has no weight: without `explore`, nothing is learnt of it")
        return self

    @property
    def control(self) -> str:
        """The variant that others are compared with."""
        return next(iter(self.variants))

    @property
    def shares(self) -> dict[str, float]:
        """Of the experiment's customers, the share of each variant that is shown."""
        total = sum(variant.weight for variant in self.variants.values())
        return {name: variant.weight / total for name, variant in self.variants.items() if variant.weight}

    @property
    def watched(self) -> list[str]:
        """The variants that are not shown to anybody."""
        return [name for name, variant in self.variants.items() if not variant.weight]

    def under_way(self, scenario: str, now: datetime) -> bool:
        """Whether it takes place in a scenario at a moment."""
        return (
            (not self.scenarios or scenario in self.scenarios)
            and (self.since is None or self.since <= now)
            and (self.until is None or now < self.until)
        )

    def variant_of(self, name: str, customer_id: str) -> str | None:
        """The variant of a customer, always the same; None if he does not take part.

        Who takes part and who is in which variant are drawn apart, so that a larger share adds customers and moves none.

        Args:
            name: of the experiment.
        """
        salt = self.salt or name
        digest = hashlib.blake2b(f"{len(salt)}:{salt}{customer_id}".encode(), digest_size=16).digest()
        takes_part, place = (int.from_bytes(half, "big") / _RESOLUTION for half in (digest[:8], digest[8:]))
        if takes_part >= self.share:
            return None
        for variant, share in self.shares.items():
            if place < share:
                return variant
            place -= share
        return variant  # what rounding leaves


class ExperimentBook(BaseModel):
    """Everything that an experiments file declares; of two that take place in a scenario, the first has precedence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiments: dict[Name, Experiment] = {}

    def models(self, now: datetime) -> list[str]:
        """The versions of models that variants answer with, but for those of experiments that are over."""
        going_on = [one for one in self.experiments.values() if one.until is None or now < one.until]
        return sorted({variant.model for one in going_on for variant in one.variants.values() if variant.model})


def read_experiments(path: Path) -> ExperimentBook:
    """The experiments of a file.

    Raises:
        InputError: the file is missing or not as described; every fault is named.
    """
    return read_declared(path, ExperimentBook, "experiments file")
