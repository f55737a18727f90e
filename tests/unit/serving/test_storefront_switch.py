"""The storefront is there where only this machine can see it, or where it was asked for."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from feature_repo.sections.serving import ServingSettings
from feature_repo.settings import Settings
from serving.runtime import Runtime
from serving.web.api import create_app


@pytest.mark.parametrize(
    ("host", "storefront", "there"),
    [("127.0.0.1", None, True), ("0.0.0.0", None, False), ("0.0.0.0", True, True), ("127.0.0.1", False, False)],
)
def test_when_it_is_there(host: str, storefront: bool | None, there: bool) -> None:
    app = create_app(Runtime(Settings(serving=ServingSettings(host=host, storefront=storefront))))

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return [await client.get(path) for path in ("/", "/storefront/shop")]

    page, shop = asyncio.run(ask())
    assert (page.status_code, shop.status_code) == ((200, 200) if there else (307, 404))
    assert there or page.headers["location"] == "/docs"


@pytest.mark.parametrize(
    ("name", "storefront", "status"),
    [
        ("127.0.0.1:3000", None, 200),
        ("evil.example", None, 403),
        ("127.evil.example", None, 403),
        ("shop.test", True, 200),
    ],
)
def test_by_which_names(name: str, storefront: bool | None, status: int) -> None:
    app = create_app(Runtime(Settings(serving=ServingSettings(host="127.0.0.1", storefront=storefront))))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return await client.get("/storefront/shop", headers={"Host": name})

    answer = asyncio.run(ask())
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["code"] == "forbidden"
