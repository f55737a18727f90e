"""Experiments under way: which variant answers a request, and what that changes."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from feature_repo.errors import InputError
from feature_repo.experiments import Experiment, ExperimentBook
from serving import metrics
from serving.answering.answers import Result
from training.candidates.sources import Source
from training.scenarios import Composition

_log = logging.getLogger("bentoml.shelfwise")

_PINNED = Source.PINNED.name.lower()


@dataclass(frozen=True)
class Assigned:
    """How a request is answered for one variant.

    Attributes:
        composition: the scenario as the variant has it.
        model: a version of the model; None: the promoted one.
    """

    name: str
    variant: str
    experiment: Experiment
    composition: Composition
    model: str | None


@dataclass(frozen=True)
class Experiments:
    """Those of a file, on the scenarios that there are.

    Attributes:
        changed: scenarios as variants have them, by experiment, variant and scenario.
    """

    book: ExperimentBook = field(default_factory=ExperimentBook)
    changed: Mapping[tuple[str, str, str], Composition] = field(default_factory=dict)

    @classmethod
    def of(cls, book: ExperimentBook, compositions: Mapping[str, Composition]) -> Experiments:
        """The experiments on the scenarios.

        Raises:
            InputError: a variant changes a scenario that there is not, or to something that cannot be.
        """
        changed = {}
        for name, experiment in book.experiments.items():
            if unknown := set(experiment.scenarios) - compositions.keys():
                raise InputError(
                    f"experiment {name}: there is no scenario {min(unknown)!r}; there are {', '.join(compositions)}"
                )
            for variant, declared in experiment.variants.items():
                for scenario, changes in declared.scenarios.items():
                    if scenario not in compositions:
                        raise InputError(f"experiment {name}, variant {variant}: there is no scenario {scenario!r}")
                    try:
                        whole = {**compositions[scenario].model_dump(), **changes}
                        changed[name, variant, scenario] = Composition.model_validate(whole)
                    except ValidationError as error:
                        first = error.errors()[0]
                        where = ".".join(map(str, (name, variant, scenario, *first["loc"])))
                        raise InputError(f"experiment {where}: {first['msg']}") from error
        return cls(book, changed)

    def assigned(self, scenario: str, customer_id: str | None, composition: Composition, now: float) -> Assigned | None:
        """How a customer is to be answered; None if he is in no experiment."""
        if customer_id is None or not self.book.experiments:
            return None
        at = datetime.fromtimestamp(now, UTC)
        for name, experiment in self.book.experiments.items():
            if experiment.under_way(scenario, at) and (variant := experiment.variant_of(name, customer_id)):
                return self._as(name, variant, scenario, composition)
        return None

    def watched(self, assigned: Assigned, scenario: str, composition: Composition) -> list[Assigned]:
        """The variants of the same experiment that nobody is shown."""
        return [self._as(assigned.name, one, scenario, composition) for one in assigned.experiment.watched]

    def _as(self, name: str, variant: str, scenario: str, composition: Composition) -> Assigned:
        experiment = self.book.experiments[name]
        changed = self.changed.get((name, variant, scenario), composition)
        return Assigned(name, variant, experiment, changed, experiment.variants[variant].model)


def answers_of(watched: Sequence[Assigned], answer: Callable[[Assigned], Result]) -> dict[str, Result]:
    """What variants that nobody is shown would answer; one that fails is counted, and hinders no customer."""
    found = {}
    for one in watched:
        try:
            found[one.variant] = answer(one)
        except Exception as error:  # whatever it is, the customer's own answer is there already
            _log.warning("the watched variant %s of %s cannot answer: %r", one.variant, one.name, error)
            metrics.watched_failed.labels(experiment=one.name, variant=one.variant).inc()
    return found


class Trial:
    """What one answer says, and what is noted of it, because of an experiment.

    Attributes:
        noted: fields of :class:`feature_repo.answered.Answered`.
    """

    def __init__(self, assigned: Assigned | None) -> None:
        self.experiment = assigned.name if assigned else None
        self.variant = assigned.variant if assigned else None
        self.noted: dict[str, Any] = {"experiment": self.experiment, "variant": self.variant}

    def explore(self, result: Result, watched: Mapping[str, Result]) -> Result:
        """The same with one of its products, each with the same chance, at the first place in exchange for what was there.

        Nothing changes where there is nothing to draw from, or a place is the shop's own.

        Args:
            watched: what variants that nobody is shown would have answered.
        """
        items = result.items
        if len(items) < 2 or any(item.source == _PINNED for item in items):
            return result
        # What a variant wants is its own first place; the next one that the answer has would be the worth of another choice.
        there = {item.product_id for item in items}
        choices = {self.variant: items[0].product_id}
        for variant, other in watched.items():
            if other.items and other.items[0].product_id in there:
                choices[variant] = other.items[0].product_id
        drawn, shown = random.randrange(len(items)), list(items)
        shown[0], shown[drawn] = shown[drawn], shown[0]
        self.noted |= {"explored": True, "propensity": 1 / len(items), "choices": choices}
        return replace(result, items=shown)
