"""The BentoML service: ``bentoml serve serving.service:Recommendations`` (or ``python -m serving``)."""

from __future__ import annotations

import os

from feature_repo.settings import get_settings

# Before BentoML looks for its folder of models.
os.environ.setdefault("BENTOML_HOME", str(get_settings().bentoml_home))
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import bentoml
from threadpoolctl import threadpool_limits

from serving.app import Api

# Requests share the worker's core with each other; threads inside numpy and scikit-learn would only get in the way.
threadpool_limits(limits=1)
api = Api(get_settings())


@bentoml.service(name="shelfwise", workers=get_settings().serving.workers)
@bentoml.asgi_app(api.app, path="/")
class Recommendations:
    """Recommendations from live features."""

    async def __is_ready__(self) -> bool:
        """Whether answers can be personal; BentoML's ``/readyz`` asks."""
        return await api.ready()
