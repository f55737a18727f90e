"""What requests are answered from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from feature_repo.ranking.shelf import Shelf
from serving.answering.experiments import Experiments
from serving.rules.declared import Rulebook
from serving.rules.placed import PlacedRules
from training.model import Recommender
from training.recommending import PlacedRecommender
from training.scenarios import Composition


@dataclass(frozen=True)
class State:
    """What requests are answered from; replaced as a whole, so that a request sees one state from start to end.

    Attributes:
        book: the shop's rules.
        compositions: the scenarios by name.
        model: what was trained; None if nothing was.
        version: of the model.
        placed: the model, or what does without, on the newest catalogue; None before there is one.
        rules: the rules on the same catalogue.
        experiments: those under way.
        models: the models of their variants, by version.
        variants: these on the newest catalogue, once there is one.
    """

    book: Rulebook
    compositions: Mapping[str, Composition]
    model: Recommender | None = None
    version: str | None = None
    placed: PlacedRecommender | None = None
    rules: PlacedRules | None = None
    experiments: Experiments = field(default_factory=Experiments)
    models: Mapping[str, Recommender] = field(default_factory=dict)
    variants: Mapping[str, PlacedRecommender] = field(default_factory=dict)

    def answering(self, version: str | None) -> State:
        """The same, with a variant's model instead of the promoted one."""
        if version is None or version not in self.models:
            return self
        return replace(self, model=self.models[version], version=version, placed=self.variants.get(version))

    def without_model(self) -> State:
        """The same, with what does without a model."""
        placed = PlacedRecommender(self.placed.shelf) if self.placed else None
        return replace(self, model=None, version=None, placed=placed)


def placed_on(model: Recommender | None, shelf: Shelf) -> PlacedRecommender:
    """The model on a catalogue, or what does without."""
    return model.on(shelf) if model else PlacedRecommender(shelf)
