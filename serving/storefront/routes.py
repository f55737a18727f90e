"""The storefront: a small shop at ``/`` for showing and for looking into the system, and the few routes that it needs.

Its recommendations come from ``POST /recommend`` and its events go to the collector, as those of any shop. The routes here
tell what a shop would know of itself (its products), and what only its operator may see: a customer's features, and an
event's way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from feature_repo.contract import Identifier
from feature_repo.errors import UnavailableError
from feature_repo.online.reading import OnlineReader
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.sections.serving import ServingSettings, is_this_machine
from serving.runtime import Runtime
from serving.storefront.customers import StorefrontCustomers
from serving.storefront.event_way import EventWay
from serving.web.problems import error_response

PAGE = Path(__file__).with_name("page")
_LIBRARY = "analytics-next/index.js"
_MOST_PRODUCTS = 100
_MOST_FOUND = 48
_OFFERED_CUSTOMERS = 6
# Below the service's limit for a request.
_WAIT_SECONDS = 6.0
_WILDCARDS = ("0.0.0.0", "::", "")

# Until the year 5138; more would be no time that Kafka or Python know.
Milliseconds = Annotated[int, Query(ge=0, le=100_000_000_000_000)]
Ids = Annotated[list[Identifier], Query(max_length=_MOST_PRODUCTS)]
Actions = Literal["clicked", "viewed", "added", "removed", "ordered", "wishlisted"]


class Storefront:
    """What the routes answer from, once the service has started."""

    def __init__(self, runtime: Runtime) -> None:
        self.settings = runtime.settings
        self._runtime = runtime
        self.way = EventWay(runtime.settings.kafka)

    @cached_property
    def customers(self) -> StorefrontCustomers:
        return StorefrontCustomers(self._runtime.store)

    @cached_property
    def _products(self) -> OnlineReader:
        return OnlineReader(self._runtime.store, "item_features")

    def collector(self, request: Request) -> str:
        """Where a browser that reached the service finds the collector."""
        collector = self.settings.collector
        host = (request.url.hostname or collector.host) if collector.host in _WILDCARDS else collector.host
        return f"{f'[{host}]' if ':' in host else host}:{collector.port}"

    @property
    def library(self) -> Path:
        return self.settings.browser_library / _LIBRARY

    def shop(self, request: Request) -> dict[str, Any]:
        """What the page needs to begin: categories, model, and Segment's settings, which name no host but the collector."""
        collector = self.collector(request)
        key = self.settings.collector.write_key.get_secret_value()
        # The library would also tell its makers how it fares.
        segment = {
            "integrations": {"Segment.io": {"apiKey": key, "apiHost": f"{collector}/v1", "protocol": "http"}},
            "metrics": {"sampleRate": 0},
        }
        state = self._runtime.engine.state
        return {
            "collector": f"http://{collector}",
            "segment": segment if self.library.is_file() else None,
            "write_key": key,
            "authorization": self.settings.serving.authorization,
            "model_version": state.version,
            "products": len(state.placed.shelf) if state.placed else 0,
            "categories": self._categories(),
        }

    def _categories(self) -> list[dict[str, Any]]:
        placed = self._runtime.engine.state.placed
        if placed is None:
            return []
        items, words = placed.shelf.items, list(placed.shelf.words.categories.codes)
        codes, counts = np.unique(items.category[items.available & (items.category >= 0)], return_counts=True)
        found = [
            {"path": words[code], "products": count}
            for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
        ]
        return sorted(found, key=lambda one: one["path"])

    def search(self, words: str) -> list[str]:
        """Products whose name has all of these words, the most popular first."""
        placed = self._runtime.engine.state.placed
        if placed is None:
            return []
        shelf, wanted, found = placed.shelf, words.casefold().split(), []
        for row in shelf.popular.tolist():
            name = shelf.title(row).casefold()
            if all(word in name for word in wanted):
                found.append(shelf.ids[row])
                if len(found) == _MOST_FOUND:
                    break
        return found

    async def products(self, ids: list[str]) -> list[dict[str, Any]]:
        """What the catalogue says of some products."""
        columns = await self._products.read_async(ids)
        names = ("name", "category", "brand", "price", "previous_price", "currency", "stock")
        rows = zip(ids, *(columns[name] for name in names), strict=True)
        return [{"product_id": one, **dict(zip(names, values, strict=True))} for one, *values in rows]


def add_storefront(app: FastAPI, runtime: Runtime) -> None:
    """Add the page and its routes to the service."""
    front = Storefront(runtime)
    routes = APIRouter(dependencies=[Depends(_refuse_other_names(runtime.settings.serving))], include_in_schema=False)
    app.mount("/storefront/page", StaticFiles(directory=PAGE))
    app.mount("/storefront/segment", StaticFiles(directory=front.library.parent, check_dir=False))
    for error in REDIS_ERRORS:
        app.add_exception_handler(error, _unreadable)

    @routes.get("/")
    async def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers=_headers(front.collector(request)))

    @routes.get("/storefront/shop")
    async def shop(request: Request) -> Response:
        return _json(front.shop(request))

    @routes.get("/storefront/products")
    async def products(id: Ids) -> Response:
        return _json({"products": await front.products(id)})

    @routes.get("/storefront/search")
    async def search(q: Annotated[str, Query(min_length=1, max_length=100)]) -> Response:
        return _json({"products": front.search(q)})

    @routes.get("/storefront/customers")
    async def customers() -> Response:
        return _json({"customers": await front.customers.some(_OFFERED_CUSTOMERS)})

    @routes.get("/storefront/customer")
    async def customer(
        id: Identifier, product_id: Identifier | None = None, action: Actions | None = None, after: Milliseconds = 0
    ) -> Response:
        if product_id is None or action is None:
            return _json(await front.customers.read(id))
        return _json(await front.customers.wait(id, product_id, action, after, _WAIT_SECONDS))

    @routes.get("/storefront/way")
    async def way(message_id: Identifier, since: Milliseconds) -> Response:
        try:
            return _json(await asyncio.to_thread(front.way.find, message_id, since / 1000))
        except UnavailableError as error:
            return error_response(503, "unavailable", str(error))

    app.include_router(routes)


def _refuse_other_names(serving: ServingSettings) -> Callable[[Request], None]:
    """Where the storefront is there for this machine alone, it answers to this machine's names alone.

    A page from anywhere, opened in a browser here, could otherwise have its own name lead here, and read what customers do.
    """

    def refuse(request: Request) -> None:
        name = request.url.hostname or ""
        if serving.storefront is None and not is_this_machine(name):
            raise HTTPException(
                403, f"{name} is not this machine; SHELFWISE_SERVING__STOREFRONT=true shows it all the same"
            )

    return refuse


def _headers(collector: str) -> dict[str, str]:
    """Nothing is loaded, sent or shown but by the service and the collector."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": f"'self' http://{collector}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in policy.items()),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }


async def _unreadable(_: Request, error: Exception) -> Response:
    return error_response(
        503, "unavailable", f"the online store does not answer: {error}; `make status` shows the stack"
    )


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json", headers={"Cache-Control": "no-store"})
