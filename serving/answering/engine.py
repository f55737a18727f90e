"""Answers: from a parsed request and a customer's features to recommended products, on the state in memory."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from feature_repo.experiments import ExperimentBook
from feature_repo.ranking.shelf import Shelf
from serving import metrics
from serving.answering.answers import ExplainedItem, Missing, Result
from serving.answering.expected import Expected
from serving.answering.experiments import Experiments
from serving.answering.explanations import explain_ranker, explain_source
from serving.answering.listing import Weights, explained, fallback_of, items_of, without_catalogue
from serving.answering.question import allowed_of, visitor_of, with_caps
from serving.answering.reasons import Reasons
from serving.answering.rehearsal import rehearse
from serving.data.customers import CustomerFeatures
from serving.data.state import State, placed_on
from serving.rules.declared import Rulebook
from serving.rules.placed import PlacedRules
from serving.web.requests import RecommendRequest
from training.candidates.segments import segments_of
from training.model import Recommender
from training.recommending import PlacedRecommender
from training.scenarios import Composition, Ranking

_log = logging.getLogger("bentoml.shelfwise")

# A model that fails does so at each request: that is told once in a while.
_TELL_SECONDS = 10.0


class Engine:
    """Holds the newest catalogue, model and rules, and answers from them.

    Args:
        candidates: how many products are ranked per request.
    """

    def __init__(self, candidates: int) -> None:
        book = Rulebook()
        self.state = State(book, book.compositions)
        self._candidates = candidates
        self._ranking, self._explaining = Expected(), Expected()
        self._told_at = -math.inf
        self._lock = threading.Lock()

    @property
    def compositions(self) -> Mapping[str, Composition]:
        """The scenarios that can be asked for, by name."""
        return self.state.compositions

    def use_shelf(self, shelf: Shelf) -> None:
        """Answer from this catalogue from now on; called from any thread."""
        shelf.prepare()
        with self._lock:
            old = self.state
            same = old.placed is not None and old.placed.shelf.ids == shelf.ids
            placed = old.placed.at(shelf) if old.placed and same else placed_on(old.model, shelf)
            variants = {
                version: old.variants[version].at(shelf) if same and version in old.variants else model.on(shelf)
                for version, model in old.models.items()
            }
            if old.placed is None:
                for one in (placed, *variants.values()):
                    self._rehearse(one)
            self.state = replace(old, placed=placed, rules=PlacedRules.of(old.book, shelf), variants=variants)

    def use_model(self, model: Recommender, version: str) -> None:
        """Answer with this model from now on; called from any thread."""
        with self._lock:
            old = self.state
            placed = placed_on(model, old.placed.shelf) if old.placed else None
            if placed:
                self._rehearse(placed)
            self.state = replace(old, model=model, version=version, placed=placed)

    def use_rules(self, book: Rulebook) -> None:
        """Answer by these rules from now on; called from any thread."""
        with self._lock:
            old = self.state
            rules = PlacedRules.of(book, old.placed.shelf) if old.placed else None
            experiments = Experiments.of(old.experiments.book, book.compositions)
            self.state = replace(old, book=book, compositions=book.compositions, rules=rules, experiments=experiments)

    def use_experiments(self, book: ExperimentBook, models: Mapping[str, Recommender]) -> None:
        """Answer by these experiments from now on, of which the variants' models are given; called from any thread.

        Raises:
            InputError: a variant's scenario cannot be as it is declared.
        """
        with self._lock:
            old = self.state
            experiments = Experiments.of(book, old.compositions)
            variants = {version: model.on(old.placed.shelf) for version, model in models.items()} if old.placed else {}
            for one in variants.values():
                self._rehearse(one)
            self.state = replace(old, experiments=experiments, models=models, variants=variants)

    def recommend(
        self,
        request: RecommendRequest,
        composition: Composition,
        customer: CustomerFeatures | None,
        version: str | None = None,
        ends: float = math.inf,
    ) -> Result:
        """Recommendations in a scenario, for a customer of whom perhaps nothing is known.

        Args:
            version: of the model, where a variant answers with one of its own.
            ends: when they must be there, by ``time.perf_counter``: what would take longer is left out.
        """
        state = self.state.answering(version)
        if state.placed is None or state.rules is None or not len(state.placed.shelf):
            return without_catalogue(state, request, composition)
        try:
            return self._answer(state, state.placed, state.rules, request, composition, customer, ends)
        except Exception:  # a model that was stored broken can raise anything
            if state.model is None:
                raise
            self._tell_failure(state.version)
            rest = state.without_model()
            assert rest.placed is not None
            return self._answer(rest, rest.placed, state.rules, request, composition, customer, ends)

    def _answer(
        self,
        state: State,
        placed: PlacedRecommender,
        placed_rules: PlacedRules,
        request: RecommendRequest,
        composition: Composition,
        customer: CustomerFeatures | None,
        ends: float,
    ) -> Result:
        shelf, now, begun = placed.shelf, time.time(), time.perf_counter()
        degraded = [] if state.model else [Missing.MODEL]
        with metrics.timed("prepare"):
            rules = placed_rules.now_in(request.scenario, now)
            visitor = visitor_of(request, composition, customer, shelf, now)
            context = shelf.encode(request.context_items)
            composition = with_caps(composition, rules, request.filters)
            allowed = allowed_of(shelf, request, composition, context)
            rules.exclude(allowed)
            weights = Weights(rules, visitor)
            weigh = weights.of if weights else None
            segments = segments_of(request.country, request.device)
        ranking, candidates = composition, self._candidates
        by_ranker = composition.ranking is Ranking.RANKER and placed.knows(visitor, composition)
        if by_ranker and not self._ranking.fits(request.scenario, ends - begun):
            by_ranker = False
            degraded.append(Missing.RANKER)
            ranking, candidates = composition.model_copy(update={"ranking": Ranking.STRENGTH}), request.k
        with metrics.timed("rank"):
            ranked = placed.recommend(visitor, allowed, request.k, candidates, ranking, context, weigh, segments)
        with metrics.timed("words"):
            reasons = Reasons(shelf, visitor, composition.about, request.filters.category, segments)
            items = items_of(shelf, ranked, reasons)
        fallback = fallback_of(placed, visitor, composition, customer, ranked)
        done = time.perf_counter()
        if by_ranker:
            self._ranking.took(request.scenario, done - begun)
        if request.explain and self._explaining.fits(request.scenario, ends - done):
            explain = partial(explain_ranker, composition=composition) if by_ranker else explain_source
            items = explained(items, explain(placed, visitor, ranked), ranked, weights)
            self._explaining.took(request.scenario, time.perf_counter() - done)
        elif request.explain:
            degraded.append(Missing.EXPLANATIONS)
            items = [ExplainedItem(**vars(item), why=[]) for item in items]
        if rules.pins:
            allowed[placed.waiting(visitor, composition)] = False
            items = rules.pin(items, allowed, request.k)
        return Result(items, state.version, fallback if items else "empty", tuple(degraded), shelf.at)

    def _rehearse(self, placed: PlacedRecommender) -> None:
        with suppress(Exception):  # a request that fails says so, and is answered without the model
            rehearse(placed, self.compositions.values())

    def _tell_failure(self, version: str | None) -> None:
        metrics.count_error("model_failed")
        if time.monotonic() - self._told_at > _TELL_SECONDS:
            self._told_at = time.monotonic()
            _log.exception("model %s fails; it is answered without a model", version)
