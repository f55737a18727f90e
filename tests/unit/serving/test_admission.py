"""Which requests are taken on: keys, rates, and how many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from own_stack import OwnStack
from starlette.testclient import TestClient

from feature_repo.errors import SettingsError
from feature_repo.settings import get_settings
from feature_repo.web.rate_limit import RateLimit
from serving.runtime import Runtime
from serving.web.api import create_app

Serve = Callable[..., TestClient]


@pytest.fixture
def serve(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The application with some settings, and nothing behind it: its answers are empty."""
    with OwnStack.at(tmp_path).exported():

        def make(**settings: str) -> TestClient:
            for name, value in {"LOG_ANSWERS": "false", **settings}.items():
                monkeypatch.setenv(f"SHELFWISE_SERVING__{name}", value)
            get_settings.cache_clear()
            return TestClient(create_app(Runtime(get_settings())))

        yield make


def ask(client: TestClient, key: str | None = None) -> tuple[int, str]:
    answer = client.post("/recommend", json={"scenario": "trending"}, auth=None if key is None else (key, ""))
    return answer.status_code, answer.json()["error"]["code"] if answer.status_code != 200 else ""


def test_without_keys_anybody_may_ask(serve: Serve) -> None:
    client = serve()
    assert ask(client) == (200, "")
    assert ask(client, "anything") == (200, "")


def test_each_of_the_keys_opens_and_nothing_else_does(serve: Serve) -> None:
    client = serve(READ_KEYS='["old", "new"]')
    assert ask(client, "old") == ask(client, "new") == (200, "")
    for wrong in (None, "", "ol", "old ", "öld", "newold"):
        assert ask(client, wrong) == (401, "unauthorized"), wrong
    for header in ("Bearer old", "Basic", "Basic ***", "Basic b2xkb2xk"):
        answer = client.post("/recommend", json={"scenario": "trending"}, headers={"authorization": header})
        assert answer.status_code == 401, header
    assert client.get("/openapi.json").status_code == 200


@pytest.mark.parametrize("keys", ['[""]', '["hush:hush"]', '["hüsch"]'])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(serve: Serve, keys: str) -> None:
    with pytest.raises(SettingsError) as refused:
        serve(READ_KEYS=keys)
    assert "read_keys.0 (SHELFWISE_SERVING__READ_KEYS): a key has one character or more, of ASCII, and no colon" in str(
        refused.value
    )
    assert "hush" not in str(refused.value)


def test_each_key_has_a_rate_of_its_own(serve: Serve) -> None:
    client = serve(READ_KEYS='["a", "b"]', REQUESTS_PER_SECOND="2")
    assert [ask(client, "a")[0] for _ in range(3)] == [200, 200, 429]
    refused = client.post("/recommend", json={"scenario": "trending"}, auth=("a", ""))
    assert (refused.json()["error"]["code"], refused.headers["retry-after"]) == ("too_many_requests", "1")
    assert ask(client, "b")[0] == 200


def test_a_rate_allows_a_second_of_it_at_once_and_then_as_time_passes() -> None:
    limit = RateLimit(4.0)
    assert [limit.wait(10.0) for _ in range(5)] == [0, 0, 0, 0, 0.25]
    assert limit.wait(10.2) > 0
    assert limit.wait(10.25) == 0
    assert limit.wait(10.25) == 0.25
    assert [limit.wait(99.0) for _ in range(5)] == [0, 0, 0, 0, 0.25]
    slow = RateLimit(0.1)
    assert (slow.wait(0.0), slow.wait(1.0), slow.wait(10.0)) == (0, 9.0, 0)
