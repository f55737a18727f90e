"""The collector's /customers/...: who may, and what becomes of a request while the stores are away."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from starlette.testclient import TestClient

from feature_repo.sections.intake import PrivacySettings
from feature_repo.sections.servers import KafkaSettings
from feature_repo.settings import Settings
from ingestion.collector.app import create_app
from ingestion.privacy.record import ErasureRecord

KEY = "privacy-key"

pytestmark = pytest.mark.usefixtures("warehouse")


def client_with(key: str) -> TestClient:
    settings = Settings(kafka=KafkaSettings(bootstrap="127.0.0.1:1"), privacy=PrivacySettings(key=key))
    return TestClient(create_app(settings), raise_server_exceptions=False)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_with(KEY) as client:
        client.auth = (KEY, "")
        yield client


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def asked() -> list[str]:
    with ErasureRecord() as record:
        return [request.customer for request in record.requests()]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_only_with_a_key_of_its_own(client: TestClient, method: str) -> None:
    for auth in (None, ("demo-write-key", ""), ("", KEY), ("schlüssel", "")):
        anonymous = TestClient(client.app)
        assert refusal(anonymous.request(method, "/customers/ada", auth=auth)) == (401, "unauthorized")
    with client_with("") as closed:
        answer = closed.request(method, "/customers/ada", auth=("", ""))
        assert refusal(answer) == (403, "forbidden")
        assert "SHELFWISE_PRIVACY__KEY" in answer.json()["message"]
    assert asked() == []


def test_an_id_is_wanted(client: TestClient) -> None:
    assert refusal(client.delete("/customers/%20")) == (400, "missing_field")
    assert asked() == []


def test_what_is_asked_for_stays_so_without_the_stores(client: TestClient) -> None:
    for _ in range(2):
        answer = client.delete("/customers/shop%2Fada lovelace")
        assert answer.status_code == 202
        told = answer.json()
        assert told["customer_id"] == "shop/ada lovelace"
        assert told["done"] == {}
        assert "feast" in told["pending"]["online"]["reason"]  # nothing has been set up here
        assert "erase --pending" in told["pending"]["offline"]["by"]
    assert asked() == ["shop/ada lovelace"]
    assert refusal(client.get("/customers/ada")) == (503, "unavailable")
