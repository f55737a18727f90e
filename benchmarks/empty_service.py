"""A BentoML service that does nothing: what the framework itself costs, to measure the real one against."""

from __future__ import annotations

import bentoml

IDS = [f"p{number}" for number in range(20)]


@bentoml.service(logging={"access": {"enabled": False}})
class Empty:
    """One endpoint that takes the same request and answers at once."""

    @bentoml.api
    async def recommend(self, user_id: str, k: int) -> dict[str, list[str]]:
        """Twenty ids."""
        return {"items": IDS}
