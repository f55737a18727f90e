"""Answers: from a parsed request and a customer's features to recommended products, on the state in memory."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from feature_repo.aggregates import RECENT, SHOWN, Entity, decayed_sums
from feature_repo.experiments import ExperimentBook
from feature_repo.filters import Filters, Mask
from feature_repo.reading import Floats
from feature_repo.shelf import UNKNOWN, Codes, Shelf
from feature_repo.visitors import DEVICES, Visitors
from serving import metrics
from serving.answers import Cause, ExplainedItem, Item, Missing, Result
from serving.customers import CustomerFeatures
from serving.expected import Expected
from serving.experiments import Experiments
from serving.explanations import explain_ranker, explain_source
from serving.fatigue import fatigue
from serving.placed_rules import PlacedRules, RulesInForce
from serving.reasons import Reasons
from serving.rehearsal import rehearse
from serving.requests import RecommendRequest
from serving.rules import Rulebook
from training.model import Recommender
from training.recommending import PlacedRecommender, Ranked
from training.scenarios import About, Composition, Need, Ranking
from training.segments import segments_of
from training.sources import Source

_log = logging.getLogger("bentoml.shelfwise")

# A model that fails does so at each request: that is told once in a while.
_TELL_SECONDS = 10.0
_NOTHING: dict[str, list[Any]] = {
    "last_event_at": [None],
    **{aggregate.name: [None] for aggregate in decayed_sums(Entity.CUSTOMER)},
    **{name: [None] for name in (*RECENT.columns, *SHOWN.columns)},
}
_NO_FILTERS = Filters()


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
            placed = old.placed.at(shelf) if old.placed and same else _placed(old.model, shelf)
            variants = {
                version: old.variants[version].at(shelf) if same and version in old.variants else model.on(shelf)
                for version, model in old.models.items()
            }
            if not same:
                for version, one in ((old.version, placed), *variants.items()):
                    self._rehearse(one, version)
            self.state = replace(old, placed=placed, rules=PlacedRules.of(old.book, shelf), variants=variants)

    def use_model(self, model: Recommender, version: str) -> None:
        """Answer with this model from now on; called from any thread.

        With a catalogue, it is tried first: whatever is wrong with it is raised, and what was used before stays in use.
        """
        with self._lock:
            old = self.state
            placed = _placed(model, old.placed.shelf) if old.placed else None
            if placed:
                rehearse(placed, old.compositions.values())
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
            for version, one in variants.items():
                self._rehearse(one, version)
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
            return _without_catalogue(state, request, composition)
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
            visitor = _visitor(request, composition, customer, shelf, now)
            context = shelf.encode(request.context_items)
            composition = _with_caps(composition, rules, request.filters)
            allowed = _allowed(shelf, request, composition, context)
            rules.exclude(allowed)
            weights = _Weights(rules, visitor)
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
            items = _items(shelf, ranked, reasons)
        fallback = _fallback(placed, visitor, composition, customer, ranked)
        done = time.perf_counter()
        if by_ranker:
            self._ranking.took(request.scenario, done - begun)
        if request.explain and self._explaining.fits(request.scenario, ends - done):
            explain = partial(explain_ranker, composition=composition) if by_ranker else explain_source
            items = _explained(items, explain(placed, visitor, ranked), ranked, weights)
            self._explaining.took(request.scenario, time.perf_counter() - done)
        elif request.explain:
            degraded.append(Missing.EXPLANATIONS)
            items = [ExplainedItem(**vars(item), why=[]) for item in items]
        if rules.pins:
            allowed[placed.waiting(visitor, composition)] = False
            items = rules.pin(items, allowed, request.k)
        return Result(items, state.version, fallback if items else "empty", tuple(degraded), shelf.at)

    def _rehearse(self, placed: PlacedRecommender, version: str | None) -> None:
        try:
            rehearse(placed, self.compositions.values())
        except Exception:  # customers are answered without it
            self._tell_failure(version)

    def _tell_failure(self, version: str | None) -> None:
        metrics.count_error("model_failed")
        if time.monotonic() - self._told_at > _TELL_SECONDS:
            self._told_at = time.monotonic()
            _log.exception("model %s fails; it is answered without a model", version)


class _Weights:
    """What scores are multiplied by for one request; false if by nothing."""

    def __init__(self, rules: RulesInForce, visitor: Visitors) -> None:
        self._rules = rules
        self._visitor = visitor

    def __bool__(self) -> bool:
        return bool(self._rules.boosts) or bool((self._visitor.shown != UNKNOWN).any())

    def of(self, rows: Codes) -> Floats:
        """The factor of each row."""
        return self.boost(rows) * self.fatigue(rows)

    def boost(self, rows: Codes) -> Floats:
        """By the shop's rules."""
        return self._rules.boost(rows)

    def fatigue(self, rows: Codes) -> Floats:
        """By what the customer was shown in vain."""
        return fatigue(rows, self._visitor)


def _placed(model: Recommender | None, shelf: Shelf) -> PlacedRecommender:
    return model.on(shelf) if model else PlacedRecommender(shelf)


def _without_catalogue(state: State, request: RecommendRequest, composition: Composition) -> Result:
    """What was popular when the model was trained, unless it is asked what only the catalogue could tell."""
    degraded = () if state.model else (Missing.MODEL,)
    filtered = request.filters != _NO_FILTERS or composition.filters != _NO_FILTERS or state.book.exclusions
    fills = composition.fill and composition.about is not About.LIST
    if state.placed is not None or state.model is None or filtered or not fills:
        return Result([], state.version, "empty", degraded)
    unwanted = {*request.exclude, *request.context_items}
    ids = [product_id for product_id in state.model.popular if product_id not in unwanted][: request.k]
    source = Source.POPULAR.name.lower()
    items = [Item(product_id, 1 / (place + 1), source, Reasons.POPULAR) for place, product_id in enumerate(ids)]
    return Result(items, state.version, "popular" if items else "empty")


def _visitor(
    request: RecommendRequest, composition: Composition, customer: CustomerFeatures | None, shelf: Shelf, now: float
) -> Visitors:
    device = np.array([np.nan if request.device is None else DEVICES.index(request.device)])
    columns = customer.columns if customer else _NOTHING
    looked_at = [] if composition.about is About.LIST else request.context_items
    return Visitors.from_columns(columns, np.array([now]), shelf, device, looked_at)


def _allowed(shelf: Shelf, request: RecommendRequest, composition: Composition, context: Codes) -> Mask:
    """Rows that may be recommended: in stock, and neither filtered out nor excluded nor looked at already.

    Where a list is to be put in order, only what is in it.
    """
    allowed = shelf.items.available.copy()
    for filters in (request.filters, composition.filters):
        if filters != _NO_FILTERS:
            allowed &= filters.on(shelf)
    context = context[context != UNKNOWN]
    if composition.about is About.LIST:
        in_list = np.zeros(len(shelf), dtype=bool)
        in_list[context] = True
        allowed &= in_list
    else:
        allowed[context] = False
    excluded = shelf.encode(request.exclude)
    allowed[excluded[excluded != UNKNOWN]] = False
    return allowed


def _with_caps(composition: Composition, rules: RulesInForce, filters: Filters) -> Composition:
    """The scenario with the shop's caps; none on what the request itself confines to one kind."""
    confined = {"brand"} if filters.brand is not None else set()
    if filters.category is not None:
        confined |= {"category", "department"}
    caps = tuple(cap for cap in (*composition.caps, *rules.caps) if cap.by not in confined)
    return composition if caps == composition.caps else composition.model_copy(update={"caps": caps})


def _items(shelf: Shelf, ranked: Ranked, reasons: Reasons) -> list[Item]:
    # A stored infinity must not become JSON that no client can read.
    scores = np.where(np.isfinite(ranked.scores), ranked.scores, 0.0).round(6).tolist()
    rows, sources, anchors = ranked.rows.tolist(), ranked.sources.tolist(), ranked.anchors.tolist()
    return [
        Item(shelf.ids[row], score, Source(source).name.lower(), reasons.of(Source(source), row, anchor))
        for row, score, source, anchor in zip(rows, scores, sources, anchors, strict=True)
    ]


def _fallback(
    placed: PlacedRecommender,
    visitor: Visitors,
    composition: Composition,
    customer: CustomerFeatures | None,
    ranked: Ranked,
) -> str | None:
    """What the answer rests on instead of what was asked for; see :class:`serving.requests.Answer`."""
    ranker = composition.ranking is Ranking.RANKER
    if not (placed.knows(visitor, composition) if ranker else (ranked.sources != Source.POPULAR).any()):
        return "popular"
    return "session" if customer is None and (ranker or Need.CUSTOMER in composition.needs) else None


def _explained(items: list[Item], causes: list[list[Cause]], ranked: Ranked, weights: _Weights) -> list[Item]:
    """The items with what moved their scores: what the ranker or the sources say, and the shop's rules and fatigue."""
    for name, factors in (("boost", weights.boost(ranked.rows)), ("fatigue", weights.fatigue(ranked.rows))):
        for item, why, factor in zip(items, causes, factors.tolist(), strict=True):
            if factor != 1:
                why.append(Cause(name, round(factor, 6), round(item.score - item.score / factor, 6), None))
    return [ExplainedItem(**vars(item), why=why) for item, why in zip(items, causes, strict=True)]
