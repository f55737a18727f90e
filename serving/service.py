"""The BentoML service: ``bentoml serve serving.service:Recommendations``.

BentoML imports this module in its main process and again in each worker. Only a worker has use for what an answer needs, which
takes seconds to import: it is imported when a worker starts.
"""

from __future__ import annotations

import os

from feature_repo.settings import get_settings

settings = get_settings()
# Before BentoML looks for its home, and before scikit-learn starts threads that one request has no use for.
os.environ["BENTOML_HOME"] = str(settings.bentoml_home)
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import platform  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

import bentoml  # noqa: E402
from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: E402
from opentelemetry.util.http import ExcludeList  # noqa: E402
from starlette.exceptions import HTTPException  # noqa: E402

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# BentoML would keep the metrics of all replicas of an installation in one folder, which each empties when it starts.
_own = settings.home / "run" / f"serving-metrics-{platform.node()}-{settings.serving.port}"
BentoMLContainer.prometheus_multiproc_dir.set(settings.serving.metrics_folder or str(_own))
if BentoMLContainer.config.tracing.exporter_type.get() is None:
    # It would make a span of each request also where nobody is told of it, which takes a tenth of the time of an answer.
    BentoMLContainer.tracing_excluded_urls.set(ExcludeList([".*"]))


class _Api:
    """What BentoML mounts: the application of this worker, once it has started."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


api = _Api()


@bentoml.asgi_app(api, path="/", name="api")
@bentoml.service(
    name="shelfwise",
    workers=settings.serving.workers,
    http={"host": settings.serving.host, "port": settings.serving.port},
    traffic={"timeout": 10},
    # Every answer is counted and timed by the metrics; a line of log for each would cost more than the answer.
    logging={"access": {"enabled": False}},
)
class Recommendations:
    """Recommendations over HTTP; health on /livez, /readyz and /metrics."""

    @bentoml.on_startup
    def start(self) -> None:
        """Get ready in this worker process."""
        from serving import metrics
        from serving.runtime import Runtime
        from serving.web.api import create_app

        metrics.forget_dead_workers(Path(BentoMLContainer.prometheus_multiproc_dir.get()))
        self.runtime = Runtime(settings)
        self.runtime.start()
        api.app = create_app(self.runtime)

    @bentoml.on_shutdown
    def stop(self) -> None:
        """End the background threads."""
        self.runtime.stop()

    async def __is_ready__(self) -> bool:
        """Ready while features can be read, and a model used if any was promoted; what is missing, an answer does without."""
        if problem := await self.runtime.problem():
            raise HTTPException(503, detail=problem)
        return True
