"""Customers as the storefront shows them: their features with ages, and some who are known, to choose from."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.aggregates import ACTION_OF_EVENT, RECENT, Action, Entity, decayed_sums
from feature_repo.feast_parts.stores import FreshRedisOnlineStore, entity_keys
from feature_repo.online.reading import OnlineReader
from feature_repo.reading import current_sums

if TYPE_CHECKING:
    from feast import FeatureStore

_ITEMS, _ACTIONS, _TIMES = RECENT.columns
_LOOK_EVERY_SECONDS = 0.01
# Who is offered to choose from is a sample: no more of the online store than this is looked through.
_SCAN_KEYS, _SCAN_COUNT, _SAMPLE = 10_000, 500, 60


class StorefrontCustomers:
    """Reads customers from the online store."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._features = OnlineReader(store, "customer_features")

    async def read(self, customer_id: str) -> dict[str, Any]:
        """What is known of a customer, as JSON; times in epoch milliseconds."""
        one = {name: values[0] for name, values in (await self._features.read_async([customer_id])).items()}
        now, last = time.time(), one["last_event_at"]
        recent = [
            {"product_id": item, "action": Action(action).name.lower(), "at": at}
            for item, action, at in zip(one[_ITEMS] or (), one[_ACTIONS] or (), one[_TIMES] or (), strict=True)
        ]
        return {
            "now": round(now * 1000),
            "last_event_at": None if last is None else round(last * 1000),
            "event_count": one["event_count"] or 0,
            "features": [] if last is None else _features(one, recent, now),
            "recent": recent,
        }

    async def wait(self, customer_id: str, product_id: str, action: str, after: int, seconds: float) -> dict[str, Any]:
        """The same, as soon as it tells that the customer did this to the product later than ``after`` (epoch
        milliseconds), or when the time is over; ``seen`` says which."""
        deadline = time.monotonic() + seconds
        while True:
            known = await self.read(customer_id)
            seen = any(
                (one["product_id"], one["action"]) == (product_id, action) and one["at"] > after
                for one in known["recent"]
            )
            if seen or time.monotonic() > deadline:
                return {**known, "seen": seen}
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def some(self, count: int) -> list[dict[str, Any]]:
        """Some customers, those of whom most is known first."""
        ids = (await self._sample())[:_SAMPLE]
        if not ids:
            return []
        columns = await self._features.read_async(ids)
        known = [
            {"customer_id": one, "event_count": events, "last_event_at": round(at * 1000)}
            for one, events, at in zip(ids, columns["event_count"], columns["last_event_at"], strict=True)
            if at is not None
        ]
        return sorted(known, key=lambda one: -one["event_count"])[:count]

    async def _sample(self) -> list[str]:
        online, config = self._store._get_provider().online_store, self._store.config
        assert isinstance(online, FreshRedisOnlineStore)
        client = await online._get_client_async(config.online_store)
        [empty] = entity_keys(Entity.CUSTOMER.key, [""], config.project)
        end = len(config.project.encode())
        head = empty[: -end - 4]  # then come four bytes of length, the id and the project
        found: list[str] = []
        looked_at = 0
        async for key in client.scan_iter(count=_SCAN_COUNT):
            looked_at += 1
            if key.startswith(head):
                found.append(key[len(head) + 4 : -end].decode())
            if looked_at >= _SCAN_KEYS or len(found) >= _SAMPLE:
                break
        return found


def _features(one: dict[str, Any], recent: list[dict[str, Any]], now: float) -> list[dict[str, Any]]:
    """Each declared sum as of now, and how long ago the latest event was that it counts (None: longer than is kept)."""
    sums = current_sums(Entity.CUSTOMER, {name: np.array([value], dtype=float) for name, value in _numbers(one)}, now)
    latest: dict[str, int] = {}
    for entry in recent:
        latest.setdefault(entry["action"], entry["at"])
    return [
        {
            "name": aggregate.name,
            "description": aggregate.description,
            "value": round(float(sums[aggregate.name][0]), 3),
            "at": latest.get(ACTION_OF_EVENT[aggregate.event].name.lower()),
        }
        for aggregate in decayed_sums(Entity.CUSTOMER)
    ]


def _numbers(one: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, one[name]) for name in ("last_event_at", *(sum_.name for sum_ in decayed_sums(Entity.CUSTOMER)))]
