"""The recommender: all that was learnt, as one artefact that can be stored and served.

Serving imports this module, so it must not import Feast or implicit: starting a worker should not take long.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import definition_hash
from feature_repo.errors import DefinitionError
from feature_repo.models.record import ABOUT
from feature_repo.ranking.features import LIST_FEATURES
from feature_repo.ranking.shelf import Shelf
from training.candidates.factors import ItemFactors
from training.candidates.neighbours import Neighbours
from training.candidates.repurchases import Repurchases
from training.candidates.segments import Segments
from training.candidates.space import ItemSpace
from training.ranking.rankers import Purpose, Rankers
from training.recommending import PlacedRecommender

# Of what is stored; counts up with every change that older code, or older models, do not know of.
FORMAT = 4


@dataclass(frozen=True)
class ModelCard:
    """What is recorded with a model.

    Attributes:
        since, until: first and last event that was learnt from, ISO 8601.
        trained_at: when training ended, ISO 8601.
        seed: of everything random.
        counts: events, customers, products, lists and so on that were learnt from.
        metrics: results of the temporal evaluation.
        features: names of the rankers' features, in order.
        definition: fingerprint of the aggregates that the features derive from.
        content: fingerprint of what was learnt; the same input and seed give the same.
    """

    since: str
    until: str
    trained_at: str
    seed: int
    counts: dict[str, int]
    metrics: dict[str, Any]
    features: tuple[str, ...]
    definition: str
    content: str

    @classmethod
    def read(cls, folder: Path) -> ModelCard:
        """From the folder of a stored model."""
        card = json.loads((folder / ABOUT).read_text())["card"]
        return cls(**{**card, "features": tuple(card["features"])})


@dataclass(frozen=True)
class Recommender:
    """A trained model.

    Attributes:
        space: what is known of products without regard to impressions.
        rankers: by purpose, over :data:`feature_repo.ranking.features.FEATURES`; for lists, over
            :data:`feature_repo.ranking.features.LIST_FEATURES`.
        popular: product ids, most popular first, for when nothing is known of the catalogue.
    """

    space: ItemSpace
    rankers: Rankers
    popular: tuple[str, ...]

    def on(self, shelf: Shelf) -> PlacedRecommender:
        """This model, ready to answer for a catalogue."""
        return PlacedRecommender(shelf, self.space.on(shelf), self.rankers)

    def fingerprint(self) -> str:
        """A hash of what was learnt: item space, popularity, and the rankers' answers to fixed questions."""
        questions = np.random.default_rng(0).normal(0.0, 2.0, (512, len(LIST_FEATURES)))
        space, popular = self.space, self.popular
        names = (*space.factors.ids, *space.segments.names, *popular, *LIST_FEATURES)
        digest = hashlib.sha256("\n".join(names).encode())
        rankers = [self.rankers[purpose] for purpose in Purpose]
        answers = [ranker.scores(questions[:, : ranker.trees.n_features_in_]) for ranker in rankers]
        for array in (*_arrays(self.space).values(), *answers):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path, card: ModelCard) -> None:
        """Write everything into a folder."""
        factors = self.space.factors
        arrays = {
            "ids": np.array(factors.ids),
            "segments": np.array(self.space.segments.names, dtype=str),
            **_arrays(self.space),
        }
        np.savez(folder / "items.npz", allow_pickle=False, **arrays)
        joblib.dump(dict(self.rankers), folder / "rankers.joblib")
        about = {
            "format": FORMAT,
            "card": asdict(card),
            "factors": {"confidence": factors.confidence, "regularization": factors.regularization},
            "popular": self.popular,
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=2, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> tuple[Recommender, ModelCard]:
        """Read what :meth:`save` wrote.

        Raises:
            DefinitionError: the model was stored by another version of Shelfwise, or trained with other features than this
                installation computes.
        """
        about = json.loads((folder / ABOUT).read_text())
        if about.get("format") != FORMAT:
            raise DefinitionError(
                "the model was stored by another version of Shelfwise; train a new one with `python -m training run`"
            )
        card = ModelCard.read(folder)
        if card.features != LIST_FEATURES or card.definition != definition_hash():
            raise DefinitionError(
                "the model was trained with other features than this installation computes; "
                "train a new one with `python -m training run`"
            )
        with np.load(folder / "items.npz") as arrays:
            ids = tuple(arrays["ids"].tolist())
            space = ItemSpace(
                ItemFactors(ids, arrays["vectors"], **about["factors"]),
                Neighbours(ids, arrays["companions"], arrays["bonds"]),
                Repurchases(ids, arrays["cycles"], arrays["cycle_counts"]),
                Segments(ids, tuple(arrays["segments"].tolist()), arrays["lifts"]),
            )
        rankers: Rankers = joblib.load(folder / "rankers.joblib")
        # No customer shall wait for it, and what cannot answer shall not come into use.
        for ranker in rankers.values():
            ranker.prepare()
        return cls(space, rankers, tuple(about["popular"])), card


def _arrays(space: ItemSpace) -> dict[str, NDArray[Any]]:
    """All that was learnt of products, by the names in the artefact."""
    return {
        "vectors": space.factors.vectors,
        "companions": space.copurchases.neighbours,
        "bonds": space.copurchases.strengths,
        "cycles": space.repurchases.hours,
        "cycle_counts": space.repurchases.counts,
        "lifts": space.segments.lifts,
    }
