"""Training from start to end: what is learnt from what, so that nothing is judged by what it has seen.

History is cut twice. The *cut* is where the ranker's rows begin; the *split* is where the test begins::

    |------- past -------|cut|-- rows --|-- rows --|-- rows --|split|------- test -------|

- The ranker sees scores of candidate models (ALS, co-visits). If these had been fitted on the very clicks that are the
  labels, their scores would give the labels away, and when serving they would not. So rows between cut and split carry
  the scores of an item space fitted on what lies before them; and as when serving that space is not much older than they
  are, the rows are parted, and each part has its own.
- The test recommender is that ranker with an item space fitted on what lies before the split.
- The artefact's ranker is fitted again on the rows of both parts, those of the test with the scores of the space from
  before the split; the artefact's own item space is fitted on everything.

Customers and products are as of just before each moment everywhere, by Feast's point-in-time join.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from feast import FeatureStore
from threadpoolctl import threadpool_limits

from feature_repo.aggregates import definition_hash
from feature_repo.ranking.features import LIST_FEATURES
from feature_repo.ranking.shelf import Vocabularies
from feature_repo.sections.training import TrainingSettings
from training.candidates.als import fit_factors
from training.candidates.copurchases import fit_copurchases
from training.candidates.repurchases import Repurchases
from training.candidates.segments import Segments
from training.candidates.space import ItemSpace, Spaces
from training.data.choices import Choices, purchases, read_choices, turns
from training.data.events import EventLog, Interactions, Window
from training.data.examples import Examples, Shelves
from training.data.history import History
from training.data.impressions import CREDIT_MINUTES, Impressions, read_impressions
from training.distributions import Distributions, when_trained
from training.evaluation.popularity import Popularity
from training.model import ModelCard, Recommender
from training.ranking.calibration import Cases, calibrated, candidate_cases
from training.ranking.rankers import Purpose, Ranker, Rankers, Rows, fit_ranker, ranker_settings
from training.steps import Steps
from training.trial import Trial

FALLBACK_PRODUCTS = 500
# More would hold all rows in memory at once.
_FITTED_AT_ONCE = 2
_COUNTED = {Purpose.LIST: "list", Purpose.TURN: "turn", Purpose.ORDER: "purchase"}


@dataclass(frozen=True)
class Archive:
    """What was read of the event archive.

    Attributes:
        since, until: first and last event.
        events: how many there are.
        ids: every product, by code.
        interactions: all of them.
        impressions: the lists to learn from and test on.
        split: where the test begins, epoch seconds.
    """

    since: datetime
    until: datetime
    events: int
    ids: tuple[str, ...]
    interactions: Interactions
    impressions: Impressions
    split: float

    @property
    def cut(self) -> float:
        """Where the ranker's rows begin, epoch seconds."""
        return float(self.impressions.times[0])


@dataclass(frozen=True)
class Trained:
    """What training gives.

    Attributes:
        recommender: fitted on everything.
        card: of the recommender.
        candidate: the same, fitted on what lies before the split; what the card's metrics are of.
        trial, test: what the candidate was tried on.
        split: where the test begins, epoch seconds.
        distributions: what the recommender saw of customers and products at the end.
    """

    recommender: Recommender
    card: ModelCard
    distributions: Distributions
    candidate: Recommender
    trial: Trial
    test: Examples
    split: float


def read_archive(window: Window, settings: TrainingSettings, unseen_since: float = -np.inf) -> Archive:
    """Read events, and split the lists by their number, so that gaps in time do no harm.

    Args:
        unseen_since: the split is no earlier, so that whatever learnt from what lies before can be tried on the test, too.
    """
    with EventLog(window) as log:
        ids = log.product_ids()
        interactions = log.interactions(ids)
        impressions = read_impressions(log, ids, settings)
        split = max(float(np.quantile(impressions.times, 1 - settings.test_share)), unseen_since)
        return Archive(log.first, log.last, log.count, ids, interactions, impressions, split)


def train(store: FeatureStore, archive: Archive, settings: TrainingSettings, steps: Steps) -> Trained:
    """Fit, evaluate on the latest part, and fit again on everything."""
    history = History(store, archive.ids, Vocabularies())
    with steps("catalogue over time"):
        shelves = Shelves.read(history, archive.cut, float(archive.impressions.times[-1]))
    with steps("rankers' rows, as of each moment"):
        spaces = fit_spaces(archive, shelves, archive.split, settings)
        # What became of the last lists and choices before the split lies after it.
        settled = archive.split - CREDIT_MINUTES * 60
        early = read_rows_between(history, shelves, archive, spaces, archive.cut, settled, settings)
    with steps("rankers for the test"):
        rankers = fit_on(early, settings)
    with steps("item space before the test"):
        present = fit_space(archive, archive.split, settings)
    with steps("evaluation on the latest lists"):
        trial = Trial(
            history, shelves, archive.interactions, Popularity(archive.interactions, len(archive.ids)), settings
        )
        test = Examples.read(history, shelves, archive.impressions.between(archive.split, np.inf))
        candidate = Recommender(present, rankers, ())
        with threadpool_limits(1):
            tried = read_cases(candidate, history, shelves, archive, test, settings)
        calibrations = {purpose: calibrated(rankers[purpose], cases) for purpose, cases in tried.items()}
        metrics: dict[str, Any] = {
            "rerank_ndcg_at_10": _plain(trial.rerank(candidate, test)),
            "next_product_at_20": {
                **{who: _plain(results) for who, results in trial.next_product(candidate, archive.split).items()},
                "new": _plain(trial.first_product(candidate, archive.split)),
            },
            "calibration": {
                purpose.value: asdict(measured) for purpose, (_, measured) in calibrations.items() if measured
            },
        }
    with steps("rankers and item space on everything"):
        placed = Spaces.only(present.on(shelves.shelves[0]))
        late = read_rows_between(history, shelves, archive, placed, archive.split, np.inf, settings, test)
        end = archive.until.timestamp() + 1
        rows = {purpose: Rows.concatenate([early[purpose], late[purpose]]) for purpose in Purpose}
        final = fit_on(rows, settings)
        recommender = Recommender(
            fit_space(archive, end, settings),
            {purpose: final[purpose].calibrated_like(ranker) for purpose, (ranker, _) in calibrations.items()},
            tuple(archive.ids[code] for code in trial.popularity.order(end)[:FALLBACK_PRODUCTS]),
        )
    with steps("distributions of what it sees"):
        seen = when_trained(recommender, history, archive.interactions, end, settings.candidates, settings.seed)
    card = _card(recommender, archive, rows, metrics, settings)
    return Trained(recommender, card, seen, candidate, trial, test, archive.split)


def read_rows(
    store: FeatureStore, archive: Archive, settings: TrainingSettings, steps: Steps
) -> Mapping[Purpose, Rows]:
    """All that rankers could be fitted on."""
    history, end = History(store, archive.ids, Vocabularies()), archive.until.timestamp() + 1
    with steps("catalogue over time"):
        shelves = Shelves.read(history, archive.cut, float(archive.impressions.times[-1]))
    with steps("rankers' rows, as of each moment"):
        spaces = fit_spaces(archive, shelves, end, settings)
        return read_rows_between(history, shelves, archive, spaces, archive.cut, end, settings)


def fit_space(archive: Archive, before: float, settings: TrainingSettings) -> ItemSpace:
    """The item space of what happened before a moment."""
    learnt_from = (archive.interactions, archive.ids, before)
    return ItemSpace(
        fit_factors(*learnt_from, settings),
        fit_copurchases(*learnt_from),
        Repurchases.fit(*learnt_from),
        Segments.fit(*learnt_from),
    )


def fit_spaces(archive: Archive, shelves: Shelves, until: float, settings: TrainingSettings) -> Spaces:
    """Item spaces from the cut on, each fitted on what lies before it; as many lists up to a moment have one as the next."""
    times = archive.impressions.between(archive.cut, until).times
    count = min(settings.item_spaces, len(times))
    starts = np.unique(times[np.linspace(0, len(times), count, endpoint=False).astype(int)])
    # Every shelf lists the same products in the same order, so a space is placed once.
    shelf = shelves.shelves[0]
    return Spaces(starts, tuple(fit_space(archive, start, settings).on(shelf) for start in starts.tolist()))


def read_rows_between(
    history: History,
    shelves: Shelves,
    archive: Archive,
    spaces: Spaces,
    since: float,
    until: float,
    settings: TrainingSettings,
    lists: Examples | None = None,
) -> Mapping[Purpose, Rows]:
    """The rankers' rows of the lists between two moments and of a sample of the choices, the same share of each.

    All of a kind is read at once: the feature store takes much longer to begin than to go on.

    Args:
        lists: those between the two moments, if they were read before.
    """
    impressions = archive.impressions.between(since, until)
    most = int(settings.max_turns * len(impressions) / len(archive.impressions))

    def read(choices: Choices) -> Examples:
        sample = choices.sample(since, until, most, settings.seed)
        return read_choices(history, shelves, sample, spaces, settings)

    examples = {
        Purpose.TURN: read(turns(archive.interactions)),
        Purpose.ORDER: read(purchases(archive.interactions)),
        Purpose.LIST: Examples.read(history, shelves, impressions) if lists is None else lists,
    }
    return {purpose: example.rows(shelves, spaces, purpose, settings) for purpose, example in examples.items()}


def read_cases(
    recommender: Recommender,
    history: History,
    shelves: Shelves,
    archive: Archive,
    test: Examples,
    settings: TrainingSettings,
) -> Mapping[Purpose, Cases]:
    """What the rankers are calibrated by: what they would have ranked after the split."""

    def candidates(choices: Choices, purpose: Purpose) -> Cases:
        sample = choices.sample(archive.split, np.inf, settings.test_turns, settings.seed)
        return candidate_cases(recommender, history, shelves, sample, purpose, settings)

    matrix = test.matrix(shelves, Spaces.only(recommender.space.on(shelves.shelves[0])), Purpose.LIST)
    return {
        Purpose.TURN: candidates(turns(archive.interactions), Purpose.TURN),
        Purpose.ORDER: candidates(purchases(archive.interactions), Purpose.ORDER),
        Purpose.LIST: Cases(recommender.rankers[Purpose.LIST].log_odds(matrix), test.impressions.strength > 0),
    }


def fit_on(rows: Mapping[Purpose, Rows], settings: TrainingSettings) -> Rankers:
    """Rankers fitted on their rows; side by side, as each of them takes one thread only."""

    def fit(purpose: Purpose) -> Ranker:
        return fit_ranker(rows[purpose], ranker_settings(purpose, settings), settings.seed)

    with ThreadPoolExecutor(_FITTED_AT_ONCE) as pool:
        return dict(zip(Purpose, pool.map(fit, Purpose), strict=True))


def _card(
    recommender: Recommender,
    archive: Archive,
    rows: Mapping[Purpose, Rows],
    metrics: dict[str, Any],
    settings: TrainingSettings,
) -> ModelCard:
    counts = {
        "events": archive.events,
        "interactions": len(archive.interactions),
        "customers": len(archive.interactions.customer_ids),
        "products": len(archive.ids),
    }
    for purpose, name in _COUNTED.items():
        counts[f"{name}s"] = len(rows[purpose])
        counts[f"{name}_rows"] = len(rows[purpose].owner)
    times = {"cut": archive.cut, "split": archive.split}
    return ModelCard(
        since=archive.since.astimezone(UTC).isoformat(),
        until=archive.until.astimezone(UTC).isoformat(),
        trained_at=datetime.now(tz=UTC).isoformat(timespec="milliseconds"),
        seed=settings.seed,
        counts=counts,
        metrics={**metrics, **{name: datetime.fromtimestamp(at, tz=UTC).isoformat() for name, at in times.items()}},
        features=LIST_FEATURES,
        definition=definition_hash(),
        content=recommender.fingerprint(),
    )


def _plain(results: dict[str, Any]) -> dict[str, Any]:
    return {name: asdict(result) for name, result in results.items()}
