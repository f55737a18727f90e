"""The recommender: candidates, ranking and reasons, as one artefact that can be stored and served.

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
from sklearn.ensemble import HistGradientBoostingClassifier

from feature_repo.aggregates import definition_hash
from feature_repo.errors import DefinitionError
from feature_repo.ranking import FEATURES, features
from feature_repo.reading import Floats
from feature_repo.shelf import UNKNOWN, Codes, Shelf
from feature_repo.visitors import Visitors
from training.candidates import Mask, Source, best, own_products, propose
from training.covisits import Covisits
from training.factors import ItemFactors
from training.space import ItemSpace, PlacedSpace


@dataclass(frozen=True)
class ModelCard:
    """What is recorded with a model.

    Attributes:
        since, until: first and last event that was learnt from, ISO 8601.
        trained_at: when training ended, ISO 8601.
        seed: of everything random.
        counts: events, customers, products, lists and so on that were learnt from.
        metrics: results of the temporal evaluation.
        features: names of the ranker's features, in order.
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


@dataclass(frozen=True)
class Ranked:
    """Recommended rows of a shelf, best first; all arrays have shape (n,).

    ``anchors`` is the row of the visitor's own product that explains a recommendation, :data:`UNKNOWN` if none does.
    """

    rows: Codes
    scores: Floats
    sources: NDArray[np.int8]
    anchors: Codes

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Recommender:
    """A trained model.

    Attributes:
        space: what is known of products without regard to impressions: factors and co-visits.
        ranker: scikit-learn's gradient boosted trees over :data:`feature_repo.ranking.FEATURES`.
        popular: product ids, most popular first, for when nothing is known of the catalogue.
    """

    space: ItemSpace
    ranker: HistGradientBoostingClassifier
    popular: tuple[str, ...]

    def on(self, shelf: Shelf) -> PlacedRecommender:
        """This model, ready to answer for a catalogue."""
        return PlacedRecommender(self.ranker, shelf, self.space.on(shelf))

    def fingerprint(self) -> str:
        """A hash of what was learnt: item space, popularity, and the ranker's answers to fixed questions."""
        questions = np.random.default_rng(0).normal(0.0, 2.0, (512, len(FEATURES)))
        factors, covisits = self.space.factors, self.space.covisits
        digest = hashlib.sha256("\n".join((*factors.ids, *self.popular, *FEATURES)).encode())
        for array in (factors.vectors, covisits.neighbours, covisits.strengths, self.ranker.predict_proba(questions)):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path, card: ModelCard) -> None:
        """Write everything into a folder."""
        factors, covisits = self.space.factors, self.space.covisits
        np.savez(
            folder / "items.npz",
            ids=np.array(factors.ids),
            vectors=factors.vectors,
            neighbours=covisits.neighbours,
            strengths=covisits.strengths,
        )
        joblib.dump(self.ranker, folder / "ranker.joblib")
        about = {
            "card": asdict(card),
            "factors": {"confidence": factors.confidence, "regularization": factors.regularization},
            "popular": self.popular,
        }
        (folder / "model.json").write_text(json.dumps(about, indent=2, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> tuple[Recommender, ModelCard]:
        """Read what :meth:`save` wrote.

        Raises:
            DefinitionError: the model was trained with other features than this installation computes.
        """
        about = json.loads((folder / "model.json").read_text())
        card = ModelCard(**{**about["card"], "features": tuple(about["card"]["features"])})
        if card.features != FEATURES or card.definition != definition_hash():
            raise DefinitionError(
                "the model was trained with other features than this installation computes; "
                "train a new one with `python -m training run`"
            )
        with np.load(folder / "items.npz") as arrays:
            ids = tuple(arrays["ids"].tolist())
            factors = ItemFactors(ids, arrays["vectors"], **about["factors"])
            covisits = Covisits(ids, arrays["neighbours"], arrays["strengths"])
        return cls(ItemSpace(factors, covisits), joblib.load(folder / "ranker.joblib"), tuple(about["popular"])), card


@dataclass(frozen=True)
class PlacedRecommender:
    """A model on a shelf: rows of the shelf in, rows of the shelf out."""

    ranker: HistGradientBoostingClassifier
    shelf: Shelf
    space: PlacedSpace

    def recommend(self, visitor: Visitors, allowed: Mask, k: int, candidates: int) -> Ranked:
        """The best ``k`` allowed products for one visitor, or popular ones if he has no history.

        Without history the ranker has nothing to tell visitors apart by, and plain popularity answers better.

        Args:
            visitor: one row.
            allowed: which rows of the shelf may be recommended, shape (len(shelf),).
            k: how many; fewer come back only if fewer are allowed.
            candidates: how many the ranker looks at.
        """
        if not (visitor.items != UNKNOWN).any():
            return popular(self.shelf, allowed, k)
        embeddings = self.space.embed(visitor)
        rows, sources = propose(self.shelf, self.space, visitor, embeddings, allowed, max(candidates, k))
        if not len(rows):
            return popular(self.shelf, allowed, k)
        owner = np.zeros(len(rows), dtype=np.int64)
        matrix = features(visitor, self.shelf.items.take(rows), rows, owner, embeddings)
        scores = self.ranker.predict_proba(matrix)[:, 1]
        first = np.argsort(-scores, kind="stable")[:k]
        rows, sources = rows[first], sources[first]
        return Ranked(rows, scores[first], sources, self._anchors(visitor, rows, sources))

    def similar(self, row: int, allowed: Mask, k: int) -> Ranked:
        """The ``k`` products closest to one, by co-visits and factors; none if the model knows neither."""
        together = self.space.covisits.scores(np.array([[row]], dtype=np.int32))[0]
        directions = self.space.factors.directions
        scores = (together + np.maximum(directions @ directions[row], 0.0)) / 2
        rows = best(scores, allowed & (scores > 0), k)
        sources = np.full(len(rows), Source.SIMILAR, dtype=np.int8)
        return Ranked(rows, scores[rows].astype(float), sources, np.full(len(rows), row, dtype=np.int32))

    def _anchors(self, visitor: Visitors, rows: Codes, sources: NDArray[np.int8]) -> Codes:
        """For each product that the visitor's own history proposed, the product of it that is closest."""
        own = own_products(visitor)
        directions = self.space.factors.directions
        together = self.space.covisits.scores(own[:, None])[:, rows].T
        closest = own[np.argmax(directions[rows] @ directions[own].T + together, axis=1)]
        return np.where(np.isin(sources, (Source.TASTE, Source.TOGETHER)), closest, UNKNOWN).astype(np.int32)


def popular(shelf: Shelf, allowed: Mask, k: int) -> Ranked:
    """The ``k`` most popular allowed products, for whoever nothing is known of. Needs no model."""
    rows = shelf.popular[allowed[shelf.popular]][:k]
    sources = np.where(np.isin(rows, shelf.trending), Source.TRENDING, Source.POPULAR).astype(np.int8)
    return Ranked(rows, shelf.items.rates["popularity"][rows], sources, np.full(len(rows), UNKNOWN, dtype=np.int32))


def trending(shelf: Shelf, allowed: Mask, k: int) -> Ranked:
    """The ``k`` allowed products whose interest rises most, filled up with popular ones. Needs no model."""
    rising = shelf.trending[allowed[shelf.trending]][:k]
    rest = shelf.popular[allowed[shelf.popular] & ~np.isin(shelf.popular, rising)][: k - len(rising)]
    rows = np.concatenate([rising, rest])
    sources = np.full(len(rows), Source.POPULAR, dtype=np.int8)
    sources[: len(rising)] = Source.TRENDING
    return Ranked(rows, shelf.items.rates["trend"][rows], sources, np.full(len(rows), UNKNOWN, dtype=np.int32))
