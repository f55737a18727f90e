"""A shop's own scenarios and rules, as its rules file (TOML) declares them; docs/serving.md shows one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from feature_repo.contract import Identifier, Text
from feature_repo.filters import Filters, Mask
from feature_repo.moments import Moment
from feature_repo.ranking.shelf import UNKNOWN, Shelf
from feature_repo.toml_files import read_declared
from training.scenarios import SCENARIOS, Cap, Composition


class Rule(BaseModel):
    """When and where a rule counts: in all scenarios and always, unless it says otherwise."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    scenarios: list[str] = Field([], description="names; none: all")
    since: Moment | None = Field(None, alias="from", description="counts from then on")
    until: Moment | None = Field(None, description="counts before")

    @model_validator(mode="after")
    def _some_time(self) -> Rule:
        if self.since and self.until and self.since >= self.until:
            raise ValueError("`until` is not after `from`")
        return self

    def counts(self, scenario: str, now: datetime) -> bool:
        """Whether it counts in a scenario at a moment."""
        return (
            (not self.scenarios or scenario in self.scenarios)
            and (self.since is None or self.since <= now)
            and (self.until is None or now < self.until)
        )


class Target(Filters):
    """The products that a rule is about: those named, or those that have all of what is given."""

    products: list[Identifier] = Field([], description="ids")

    @model_validator(mode="after")
    def _about_something(self) -> Target:
        filtered = self.model_fields_set & Filters.model_fields.keys()
        if bool(self.products) == bool(filtered):
            raise ValueError("say which products it is about: either `products`, or some of category, brand and prices")
        return self

    def on(self, shelf: Shelf) -> Mask:
        """Which rows of a shelf are meant, shape (len(shelf),)."""
        if not self.products:
            return super().on(shelf)
        rows = shelf.encode(self.products)
        meant = np.zeros(len(shelf), dtype=bool)
        meant[rows[rows != UNKNOWN]] = True
        return meant


class Boost(Rule, Target):
    """Scores of some products are multiplied by ``factor``: above 1 they go up, below 1 down."""

    factor: float = Field(ge=0.01, le=100)


class Exclusion(Rule, Target):
    """Some products are not recommended."""


class Pin(Rule):
    """A product is shown at a place, if it may be recommended at all."""

    product: Identifier
    place: int = Field(ge=1, le=100)
    reason: Text = "recommended by the shop"


class CapRule(Rule, Cap):
    """At most so many products of one brand, category or department in a list."""


class Rulebook(BaseModel):
    """Everything that a rules file may declare."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenarios: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,50}$")], Composition] = {}
    boosts: list[Boost] = []
    exclusions: list[Exclusion] = []
    pins: list[Pin] = []
    caps: list[CapRule] = []

    @model_validator(mode="after")
    def _known_scenarios(self) -> Rulebook:
        known = {**SCENARIOS, **self.scenarios}
        rules: list[Rule] = [*self.boosts, *self.exclusions, *self.pins, *self.caps]
        for rule in rules:
            if unknown := set(rule.scenarios) - known.keys():
                raise ValueError(f"a rule names the scenario {min(unknown)!r}; there are {', '.join(known)}")
        return self

    @property
    def compositions(self) -> Mapping[str, Composition]:
        """All scenarios by name, the shop's own before the built-in ones."""
        return {**SCENARIOS, **self.scenarios}


def read_rules(path: Path) -> Rulebook:
    """The rules of a file.

    Raises:
        InputError: the file is missing or not as described; every fault is named.
    """
    return read_declared(path, Rulebook, "rules file")
