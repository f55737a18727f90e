"""A BentoML service that does nothing: what the framework itself costs, to measure the real one against."""

from __future__ import annotations

import bentoml


@bentoml.service(logging={"access": {"enabled": False}})
class Empty:
    """One endpoint that takes the same request and answers at once."""

    @bentoml.api
    async def recommend(self, user_id: str, k: int) -> dict[str, list[str]]:
        """An empty answer."""
        return {"items": []}
