"""The recommender: candidates, ranking and reasons, as one artefact that can be stored and served.

Serving imports this module, so it must not import Feast, pandas or implicit: starting a worker should not take long.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from feature_repo.aggregates import Action, definition_hash
from feature_repo.errors import DefinitionError
from feature_repo.ranking import FEATURES, Embeddings, Visitors, features
from feature_repo.reading import Floats
from feature_repo.shelf import UNKNOWN, Codes, Shelf
from training.covisits import Covisits
from training.factors import ItemFactors
from training.space import ItemSpace, PlacedSpace

Mask = NDArray[np.bool_]


class Source(IntEnum):
    """Which part proposed a candidate; of several, the first in this order."""

    RECENT = 0
    TOGETHER = 1
    TASTE = 2
    SIMILAR = 3
    TRENDING = 4
    POPULAR = 5


# Share of the candidates that each source may fill; popular products fill up what is left.
_SHARES = {
    Source.RECENT: 0.15,
    Source.TOGETHER: 0.4,
    Source.TASTE: 0.3,
    Source.TRENDING: 0.1,
    Source.POPULAR: 1.0,
}


@dataclass(frozen=True)
class ModelCard:
    """What is recorded with a model.

    Attributes:
        since, until: the training window's first and last event, ISO 8601.
        trained_at: when training ended, ISO 8601.
        seed: of everything random.
        counts: events, customers, products, lists and rows that were learnt from.
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

    ``anchors`` is the row of the customer's own product that explains a recommendation, :data:`UNKNOWN` if none does.
    """

    rows: Codes
    scores: Floats
    sources: NDArray[np.int8]
    anchors: Codes


@dataclass(frozen=True)
class Recommender:
    """A trained model.

    Attributes:
        space: what is known of products: factors and co-visits.
        ranker: scikit-learn's gradient boosted trees over :data:`feature_repo.ranking.FEATURES`.
        popular: product ids, most popular first, for when nothing is known of the catalogue.
    """

    space: ItemSpace
    ranker: HistGradientBoostingClassifier
    popular: tuple[str, ...]

    def on(self, shelf: Shelf) -> PlacedRecommender:
        """This model, ready to answer for a catalogue."""
        return PlacedRecommender(self, shelf, self.space.on(shelf))

    def fingerprint(self) -> str:
        """A hash of what was learnt: item factors, popularity, and the ranker's answers to fixed questions."""
        questions = np.random.default_rng(0).normal(0.0, 2.0, (512, len(FEATURES)))
        digest = hashlib.sha256("\n".join((*self.space.factors.ids, *self.popular, *FEATURES)).encode())
        for array in (self.space.factors.vectors, self.space.covisits.neighbours, self.space.covisits.strengths):
            digest.update(array.tobytes())
        digest.update(self.ranker.predict_proba(questions).tobytes())
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
        parameters = {"confidence": factors.confidence, "regularization": factors.regularization}
        about = {"card": asdict(card), "factors": parameters, "popular": self.popular}
        (folder / "model.json").write_text(json.dumps(about, indent=2))

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

    model: Recommender
    shelf: Shelf
    space: PlacedSpace

    def recommend(self, visitor: Visitors, allowed: Mask, k: int, candidates: int) -> Ranked:
        """The best ``k`` allowed products for one visitor.

        Args:
            visitor: one row.
            allowed: which rows of the shelf may be recommended, shape (len(shelf),).
            k: how many; fewer come back only if fewer are allowed.
            candidates: how many the ranker looks at.
        """
        embeddings = self.space.embed(visitor)
        rows, sources = self.candidates(visitor, embeddings, allowed, max(candidates, k))
        owner = np.zeros(len(rows), dtype=np.int64)
        matrix = features(visitor, self.shelf.items.take(rows), rows, owner, embeddings)
        scores = self.model.ranker.predict_proba(matrix)[:, 1] if len(rows) else np.empty(0)
        best = np.argsort(-scores, kind="stable")[:k]
        return Ranked(rows[best], scores[best], sources[best], self._anchors(visitor, rows[best], sources[best]))

    def candidates(
        self, visitor: Visitors, embeddings: Embeddings, allowed: Mask, most: int
    ) -> tuple[Codes, NDArray[np.int8]]:
        """Products worth ranking for one visitor and the source of each, both of shape (n <= most,)."""
        seen = visitor.items[0][visitor.items[0] != UNKNOWN]
        taste = self.space.factors.vectors @ embeddings.visitors[0]
        knows = self.space.factors.known & allowed & embeddings.visitors[0].any()
        proposals = {
            Source.RECENT: _distinct(seen),
            Source.TOGETHER: _best(embeddings.together[0], allowed & (embeddings.together[0] > 0), most),
            Source.TASTE: _best(taste, knows, most),
            Source.TRENDING: self.shelf.trending,
            Source.POPULAR: self.shelf.popular,
        }
        rows, sources = [], []
        for source, proposed in proposals.items():
            chosen = proposed[allowed[proposed]][: max(1, int(most * _SHARES[source]))]
            rows.append(chosen)
            sources.append(np.full(len(chosen), source, dtype=np.int8))
        every = np.concatenate(rows)
        first = np.sort(np.unique(every, return_index=True)[1])[:most]
        return every[first], np.concatenate(sources)[first]

    def similar(self, row: int, allowed: Mask, k: int) -> Ranked:
        """The ``k`` products closest to one, by co-visits and factors; none if the model knows neither."""
        together = self.space.covisits.scores(np.array([[row]], dtype=np.int32))[0]
        directions = self.space.factors.directions
        scores = (together + np.maximum(directions @ directions[row], 0.0)) / 2
        rows = _best(scores, allowed & (scores > 0), k)
        sources = np.full(len(rows), Source.SIMILAR, dtype=np.int8)
        return Ranked(rows, scores[rows].astype(float), sources, np.full(len(rows), row, dtype=np.int32))

    def _anchors(self, visitor: Visitors, rows: Codes, sources: NDArray[np.int8]) -> Codes:
        """For each product that the visitor's own history proposed, the product of it that is closest."""
        seen = _distinct(visitor.items[0][(visitor.items[0] != UNKNOWN) & (visitor.interest[0] > 0)])
        if not len(seen):
            return np.full(len(rows), UNKNOWN, dtype=np.int32)
        directions = self.space.factors.directions
        together = self.space.covisits.scores(seen[:, None])[:, rows].T
        closest = seen[np.argmax(directions[rows] @ directions[seen].T + together, axis=1)]
        return np.where(np.isin(sources, (Source.TASTE, Source.TOGETHER)), closest, UNKNOWN).astype(np.int32)


def _best(scores: NDArray[np.floating], allowed: Mask, most: int) -> Codes:
    """Allowed rows with the highest scores, best first."""
    among = np.flatnonzero(allowed)
    most = min(most, len(among))
    if not most:
        return np.empty(0, dtype=np.int32)
    rows = among[np.argpartition(-scores[among], most - 1)[:most]]
    return rows[np.lexsort((rows, -scores[rows]))].astype(np.int32)


def _distinct(codes: Codes) -> Codes:
    """Each code once, in order of first appearance."""
    return codes[np.sort(np.unique(codes, return_index=True)[1])]


def reason_for(source: Source, anchor: str | None, last_action: Action | None) -> str:
    """Why a product is recommended, in words.

    Args:
        source: what proposed it.
        anchor: name of the customer's own product that it resembles.
        last_action: what the customer last did to this very product.
    """
    if source is Source.RECENT:
        return _OWN_HISTORY.get(last_action, "you looked at this recently") if last_action else "you looked at this recently"
    if anchor is not None:
        return f"because you viewed {anchor}"
    return {Source.TRENDING: "trending now", Source.POPULAR: "popular with other customers"}.get(
        source, "matches what you looked at"
    )
