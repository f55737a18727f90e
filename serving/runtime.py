"""What a worker process holds while it serves, from start to stop."""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError
from feature_repo.experiments import ExperimentBook, read_experiments
from feature_repo.settings import Settings
from feature_repo.store import open_store
from serving import metrics
from serving.answering.answer_log import AnswerLog
from serving.answering.engine import Engine
from serving.data.catalogue import CatalogueReader
from serving.data.customers import CustomerReader
from serving.data.models import ModelWatch, load
from serving.rules.watch import RulesWatch

if TYPE_CHECKING:
    from feast import FeatureStore

    from feature_repo.ranking.shelf import Shelf

# Redis clients wait for ever and retry for seconds by default; a reader with a deadline wants neither.
_REDIS_OPTIONS = "socket_timeout=0.5,socket_connect_timeout=0.5"
_NO_RETRY = {False: "retry=null", True: "cluster_error_retry_attempts=0"}  # by whether it is a cluster


class Runtime:
    """The engine and the readers that feed it.

    Attributes:
        settings: of this process.
        engine: answers requests.
        answers: where answers are logged; None: nowhere.
        customers: reads features per request; there after :meth:`start`.
        store: the feature store; there after :meth:`start`.
    """

    customers: CustomerReader
    store: FeatureStore

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings.training.candidates)
        self._catalogue: CatalogueReader | None = None
        self._models: ModelWatch | None = None
        self._rules: RulesWatch | None = None
        self._experiments: RulesWatch | None = None
        self.answers: AnswerLog | None = AnswerLog(settings.kafka) if settings.serving.log_answers else None

    def start(self) -> None:
        """Open the feature store, read the rules, load the model if there is one, begin to read the catalogue.

        Raises:
            InputError: the rules file or the experiments file cannot be used.
        """
        serving = self.settings.serving
        if serving.rules_file:
            self._rules = RulesWatch(Path(serving.rules_file), serving.model_poll_seconds, self.engine.use_rules)
            self._rules.start()
        if serving.experiments_file:
            self._experiments = RulesWatch(
                Path(serving.experiments_file),
                serving.model_poll_seconds,
                self._use_experiments,
                read_experiments,
                metrics.experiments_refused,
            )
            self._experiments.start()
        if self.answers:
            self.answers.start()
        self.store = store = open_store()
        store.config.online_store.connection_string += f",{_REDIS_OPTIONS},{_NO_RETRY[self.settings.redis.cluster]}"
        self.customers = CustomerReader(store, serving.read_timeout_ms)
        self._models = ModelWatch(serving.model, serving.model_poll_seconds, self.engine.use_model)
        self._models.start()
        self._catalogue = CatalogueReader(store, serving.snapshot_seconds, self._use_shelf)
        self._catalogue.start()

    def stop(self) -> None:
        """End the background threads."""
        for part in (self._catalogue, self._models, self._experiments, self._rules, self.answers):
            if part is not None:
                part.stop()

    def _use_shelf(self, shelf: Shelf) -> None:
        first = self.engine.state.placed is None
        self.engine.use_shelf(shelf)
        if first:
            # What is there by now stays. For Python's collector to look through all of it takes a tenth of a second, in which
            # nobody is answered.
            gc.collect()
            gc.freeze()

    def _use_experiments(self, book: ExperimentBook) -> None:
        """Have the models of experiments that are not over, and let the engine answer by them.

        Raises:
            InputError: a model cannot be used, or a variant's scenario.
        """
        name, known = self.settings.serving.model.partition(":")[0], self.engine.state.models
        models = {}
        for version in book.models(datetime.now(UTC)):
            try:
                models[version] = known[version] if version in known else load(name, version)
            except Exception as error:  # a broken file can raise anything
                raise InputError(f"model {name}:{version} of an experiment cannot be used: {error}") from error
        self.engine.use_experiments(book, models)

    async def problem(self) -> str | None:
        """Why the service cannot answer personally now, or None if it can (as far as a model was promoted)."""
        if self._catalogue is None or self._models is None:
            return "the service is starting"
        if self._catalogue.problem:
            return self._catalogue.problem
        age = time.time() - self._catalogue.read_at
        if age > self.settings.serving.stale_seconds:
            return f"the catalogue was read {age:.0f} s ago: the online store is slow, or this machine too busy"
        return await self.customers.problem() or self._models.problem
