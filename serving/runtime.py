"""What a worker process holds while it serves, from start to stop."""

from __future__ import annotations

from pathlib import Path

from feature_repo.settings import Settings
from feature_repo.store import open_store
from serving.catalogue import CatalogueReader
from serving.customers import CustomerReader
from serving.engine import Engine
from serving.models import ModelWatch
from serving.rules_watch import RulesWatch

# Redis clients wait for ever and retry for seconds by default; a reader with a deadline wants neither.
_REDIS_OPTIONS = "socket_timeout=0.5,socket_connect_timeout=0.5,retry=null"


class Runtime:
    """The engine and the readers that feed it.

    Attributes:
        settings: of this process.
        engine: answers requests.
        customers: reads features per request; there after :meth:`start`.
    """

    customers: CustomerReader

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings.training.candidates)
        self._catalogue: CatalogueReader | None = None
        self._models: ModelWatch | None = None
        self._rules: RulesWatch | None = None

    def start(self) -> None:
        """Open the feature store, read the rules, load the model if there is one, begin to read the catalogue.

        Raises:
            InputError: the rules file cannot be used.
        """
        serving = self.settings.serving
        if serving.rules_file:
            self._rules = RulesWatch(Path(serving.rules_file), serving.model_poll_seconds, self.engine.use_rules)
            self._rules.start()
        store = open_store()
        store.config.online_store.connection_string += f",{_REDIS_OPTIONS}"
        self.customers = CustomerReader(store, serving.read_timeout_ms)
        self._models = ModelWatch(serving.model, serving.model_poll_seconds, self.engine.use_model)
        self._models.start()
        self._catalogue = CatalogueReader(store, serving.snapshot_seconds, self.engine.use_shelf)
        self._catalogue.start()

    def stop(self) -> None:
        """End the background threads."""
        for part in (self._catalogue, self._models, self._rules):
            if part is not None:
                part.stop()

    @property
    def problem(self) -> str | None:
        """Why the service cannot answer personally now, or None if it can (as far as there is a model)."""
        return self._catalogue.problem if self._catalogue else "the service is starting"
