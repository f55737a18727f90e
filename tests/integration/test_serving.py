"""The service over HTTP: a real ``bentoml serve``, Feast and Redis; from an empty shop to a trained one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from offline_data import CATEGORIES
from shop_stack import ShopStack, shop_stack

from deploy.records import Records
from feature_repo.contract import ADDED, CLICKED, ORDERED, VIEWED
from feature_repo.settings import PROJECT_ROOT

PRODUCTS = 60


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What ``condition`` gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return result


class Shopper:
    """Asks the service."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def ask(self, path: str = "/recommend", **body: Any) -> dict[str, Any]:
        response = self.client.post(path, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        assert set(answer) == {"items", "model_version", "feature_age_ms", "fallback", "request_id"}
        for item in answer["items"]:
            assert set(item) == {"product_id", "score", "source", "reason"}
            assert isinstance(item["score"], float)
            assert item["product_id"] in {f"p{number}" for number in range(PRODUCTS)}
        assert len({item["product_id"] for item in answer["items"]}) == len(answer["items"])
        return answer

    def ids(self, path: str = "/recommend", **body: Any) -> list[str]:
        return [item["product_id"] for item in self.ask(path, **body)["items"]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopStack]:
    with pytest.MonkeyPatch.context() as patch, shop_stack(tmp_path_factory.mktemp("serving")) as shop:
        for name, value in {"SNAPSHOT_SECONDS": "0.3", "MODEL_POLL_SECONDS": "0.5", "READ_TIMEOUT_MS": "500"}.items():
            patch.setitem(shop.stack.variables, f"SHELFWISE_SERVING__{name}", value)
        yield shop


@pytest.fixture(scope="module")
def bare(shop: ShopStack) -> Iterator[Shopper]:
    """The service before anything was materialised or trained."""
    shop.deploy("up", "serving")
    with httpx.Client(base_url=f"http://127.0.0.1:{shop.stack.port('SERVING__PORT')}", timeout=10) as client:
        yield Shopper(client)


@pytest.fixture(scope="module")
def stocked(shop: ShopStack, bare: Shopper) -> Shopper:
    """The service with a catalogue and activity, but without a model."""
    shop.materialise()
    until(lambda: bare.ids("/trending"))
    return bare


@pytest.fixture(scope="module")
def shopper(shop: ShopStack, stocked: Shopper) -> Shopper:
    """The service with a model, which it has picked up while running."""
    shop.train()
    until(lambda: stocked.ask(user_id="nobody")["model_version"])
    return stocked


def test_an_empty_catalogue_gives_empty_answers(bare: Shopper) -> None:
    for path, body in (("/recommend", {"user_id": "c1"}), ("/trending", {})):
        answer = bare.ask(path, **body)
        assert answer["items"] == []
        assert answer["fallback"] == "empty"


def test_without_a_model_popular_products_are_served(stocked: Shopper) -> None:
    answer = stocked.ask(user_id="c1", k=5)
    assert len(answer["items"]) == 5
    assert answer["model_version"] is None
    assert answer["fallback"] == "popular"
    assert answer["feature_age_ms"] > 0, "the customer is known, there is only no model"
    assert len(stocked.ids("/similar", product_id="p1", k=3)) == 3


def test_a_known_customer_gets_personal_answers(shopper: Shopper) -> None:
    answer = shopper.ask(user_id="c1", k=10)
    assert len(answer["items"]) == 10
    assert answer["fallback"] is None
    assert answer["feature_age_ms"] > 0
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert shopper.ids(user_id="c1") == [item["product_id"] for item in answer["items"]], "and they are stable"


def test_an_unknown_customer_gets_popular_products(shopper: Shopper) -> None:
    answer = shopper.ask(user_id="nobody")
    assert answer["fallback"] == "popular"
    assert answer["feature_age_ms"] is None
    assert len(answer["items"]) == 10
    assert answer["model_version"] is not None


def test_what_a_customer_just_did_changes_the_answer(shop: ShopStack, shopper: Shopper) -> None:
    def share(answer: list[str], liked: int) -> float:
        return sum(int(product_id[1:]) % len(CATEGORIES) == liked for product_id in answer) / len(answer)

    shop.push_customer("turning", [(VIEWED, f"p{1 + 6 * step}") for step in range(4)])
    before = shopper.ask(anonymous_id="turning", k=6)
    assert before["feature_age_ms"] < 60_000
    assert "because you viewed" in " ".join(item["reason"] for item in before["items"])
    shop.push_customer("turning", [(VIEWED, f"p{3 + 6 * step}") for step in range(4)])
    after = shopper.ids(anonymous_id="turning", k=6)
    assert after != [item["product_id"] for item in before["items"]]
    assert share(after, 3) > share([item["product_id"] for item in before["items"]], 3)


def test_the_anonymous_id_counts_where_the_user_is_unknown(shop: ShopStack, shopper: Shopper) -> None:
    shop.push_customer("visitor", [(CLICKED, "p4"), (VIEWED, "p10")])
    alone = shopper.ids(anonymous_id="visitor")
    assert shopper.ids(user_id="never-seen", anonymous_id="visitor") == alone
    # Scores change with time: what is compared must have been asked while they stood still.
    for _ in range(5):
        before, both, after = (
            shopper.ids(**who)
            for who in ({"user_id": "c1"}, {"user_id": "c1", "anonymous_id": "visitor"}, {"user_id": "c1"})
        )
        if before == after:
            break
    assert before == both == after


def test_context_alone_makes_a_session(shopper: Shopper) -> None:
    answer = shopper.ask(anonymous_id="nobody", scenario="product", context_items=["p2"])
    assert answer["fallback"] == "session"
    assert "p2" not in [item["product_id"] for item in answer["items"]]
    assert answer["items"] != shopper.ask(anonymous_id="nobody")["items"]
    unknown = shopper.ask(anonymous_id="nobody", scenario="product", context_items=["not-sold-here"])
    assert unknown["fallback"] == "popular"


def test_what_was_bought_is_not_shown_on_the_home_page(shop: ShopStack, shopper: Shopper) -> None:
    shop.push_customer("buyer", [(VIEWED, "p5"), (ADDED, "p5"), (ORDERED, "p5"), (VIEWED, "p11")])
    home = shopper.ids(user_id="buyer", k=PRODUCTS)
    assert "p5" not in home
    assert "p11" in home
    assert len(home) == PRODUCTS - 1
    assert "p5" in shopper.ids(user_id="buyer", k=PRODUCTS, scenario="product")


@pytest.mark.parametrize("customer", ["c1", "nobody"])
def test_exclusions_and_filters_hold(shopper: Shopper, customer: str) -> None:
    everything = shopper.ids(user_id=customer, k=PRODUCTS)
    left = shopper.ids(user_id=customer, k=PRODUCTS, exclude=everything[:5])
    assert set(left) == set(everything[5:])
    kitchen = shopper.ids(user_id=customer, k=PRODUCTS, filters={"category": "Kitchen"})
    assert kitchen
    assert all(int(product_id[1:]) % 6 in (0, 1) for product_id in kitchen)
    cups = shopper.ids(user_id=customer, k=PRODUCTS, filters={"category": "Kitchen/Cups", "brand": "Alba"})
    assert all(int(product_id[1:]) % 6 == 0 for product_id in cups)
    cheap = shopper.ids(user_id=customer, k=PRODUCTS, filters={"min_price": 10, "max_price": 12})
    assert {5 + int(product_id[1:]) % 40 for product_id in cheap} <= {10, 11, 12}
    nothing = shopper.ask(user_id=customer, filters={"brand": "no such brand"})
    assert nothing["items"] == []
    assert nothing["fallback"] == "empty"


def test_what_is_sold_out_disappears_everywhere(shop: ShopStack, shopper: Shopper) -> None:
    target = shopper.ids(user_id="c1")[0]
    near = shopper.ids("/similar", product_id=target, k=1)[0]
    shop.push_stock(target, 0)
    until(lambda: target not in shopper.ids(user_id="c1", k=PRODUCTS), seconds=10)
    assert target not in shopper.ids(user_id="nobody", k=PRODUCTS)
    assert target not in shopper.ids("/trending", k=PRODUCTS)
    assert target not in shopper.ids("/similar", product_id=near, k=PRODUCTS)
    shop.push_stock(target, 7)
    until(lambda: target in shopper.ids(user_id="c1", k=PRODUCTS), seconds=10)


def test_similar_products_are_of_the_same_kind(shopper: Shopper) -> None:
    answer = shopper.ask("/similar", product_id="p7", k=5)
    assert answer["fallback"] is None
    assert all(item["source"] == "similar" for item in answer["items"])
    assert "p7" not in [item["product_id"] for item in answer["items"]]
    same = sum(int(item["product_id"][1:]) % 6 == 1 for item in answer["items"])
    assert same >= 3
    assert shopper.client.get("/similar", params={"product_id": "p7", "k": 5}).json()["items"] == answer["items"]


def test_trending_products_can_be_asked_for_by_category(shopper: Shopper) -> None:
    seeds = shopper.ids("/trending", k=PRODUCTS, category="Garden/Seeds")
    assert seeds
    assert all(int(product_id[1:]) % 6 == 3 for product_id in seeds)
    by_query = shopper.client.get("/trending", params={"k": PRODUCTS, "category": "Garden/Seeds"}).json()
    assert [item["product_id"] for item in by_query["items"]] == seeds


WRONG_BODIES: list[tuple[dict[str, Any], str, str | None]] = [
    ({}, "missing_id", "user_id"),
    ({"k": 3}, "missing_id", "user_id"),
    ({"user_id": ""}, "out_of_range", "user_id"),
    ({"user_id": "x" * 201}, "out_of_range", "user_id"),
    ({"user_id": ["x"]}, "wrong_type", "user_id"),
    ({"user_id": "a", "k": 0}, "out_of_range", "k"),
    ({"user_id": "a", "k": -1}, "out_of_range", "k"),
    ({"user_id": "a", "k": 101}, "out_of_range", "k"),
    ({"user_id": "a", "k": 10**12}, "out_of_range", "k"),
    ({"user_id": "a", "k": 10**30}, "wrong_type", "k"),  # beyond 64 bits, JSON's integers are read as decimals
    ({"user_id": "a", "k": "10"}, "wrong_type", "k"),
    ({"user_id": "a", "k": 2.5}, "wrong_type", "k"),
    ({"user_id": "a", "k": True}, "wrong_type", "k"),
    ({"user_id": "a", "k": None}, "wrong_type", "k"),
    ({"user_id": "a", "scenario": "moon"}, "unknown_value", "scenario"),
    ({"user_id": "a", "scenario": 1}, "unknown_value", "scenario"),
    ({"user_id": "a", "contextitems": []}, "unknown_field", "contextitems"),
    ({"user_id": "a", "context_items": "p1"}, "wrong_type", "context_items"),
    ({"user_id": "a", "context_items": [None]}, "wrong_type", "context_items.0"),
    ({"user_id": "a", "exclude": ["p"] * 1_001}, "out_of_range", "exclude"),
    ({"user_id": "a", "filters": {"colour": "red"}}, "unknown_field", "filters.colour"),
    ({"user_id": "a", "filters": {"min_price": -1}}, "out_of_range", "filters.min_price"),
    ({"user_id": "a", "filters": {"min_price": 3, "max_price": 2}}, "invalid_request", "filters"),
    ({"user_id": "a", "device": "fridge"}, "unknown_value", "device"),
]


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "field"}
    assert body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize(("body", "code", "field"), WRONG_BODIES)
def test_a_wrong_request_is_refused_in_the_one_shape(
    shopper: Shopper, body: dict[str, Any], code: str, field: str | None
) -> None:
    error = error_of(shopper.client.post("/recommend", json=body), 422)
    assert (error["code"], error["field"]) == (code, field)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"nonsense", b'{"user_id": "a",}', b'{"user_id": NaN}', b"\xff\xfe\x00", b"[" * 5_000]
)
def test_what_is_not_json_is_refused(shopper: Shopper, content: bytes) -> None:
    response = shopper.client.post("/recommend", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    error_of(response, response.status_code)


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b'"text"'])
def test_json_of_another_kind_is_refused(shopper: Shopper, content: bytes) -> None:
    error_of(shopper.client.post("/recommend", content=content, headers={"content-type": "application/json"}), 422)


def test_other_mistakes_have_the_same_shape(shopper: Shopper) -> None:
    client = shopper.client
    text = {"content-type": "text/plain"}
    assert error_of(client.post("/recommend", content=b'{"user_id": "a"}', headers=text), 415)["field"] is None
    assert error_of(client.post("/recommend", content=b" " * 70_000, headers=text), 413)
    assert error_of(client.get("/recommend"), 405)["code"] == "method_not_allowed"
    assert error_of(client.get("/nothing"), 404)["code"] == "unknown_path"
    unknown = error_of(client.post("/similar", json={"product_id": "never-sold", "k": 3}), 404)
    assert (unknown["code"], unknown["field"]) == ("unknown_product", "product_id")
    assert error_of(client.get("/similar", params={"product_id": "p1", "k": 0}), 422)["field"] == "k"
    assert error_of(client.get("/trending", params={"k": "many"}), 422)["field"] == "k"
    assert error_of(client.post("/trending", json={"k": 0}), 422)["field"] == "k"


def test_the_api_is_documented_without_other_hosts(shopper: Shopper) -> None:
    paths = shopper.client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/recommend", "/similar", "/trending"}
    page = shopper.client.get("/", follow_redirects=True)
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert shopper.client.get("/static_content/swagger-ui-bundle.js").status_code == 200


def test_metrics_tell_what_was_answered(shopper: Shopper) -> None:
    shopper.ask(user_id="c1")
    text = shopper.client.get("/metrics").text
    assert 'shelfwise_requests_total{endpoint="recommend",fallback="none",scenario="home"}' in text
    assert 'shelfwise_latency_seconds_bucket{endpoint="recommend",le="0.0005"}' in text
    for name in ("recommended_total", "catalogue_read_timestamp_seconds", "model_info", "feature_age_seconds_count"):
        assert f"shelfwise_{name}" in text


def test_a_newer_model_is_picked_up_while_running(shop: ShopStack, shopper: Shopper) -> None:
    before = shopper.ask(user_id="c1")["model_version"]
    shop.train()
    until(lambda: shopper.ask(user_id="c1")["model_version"] not in (None, before), seconds=10)


def test_a_bento_can_be_built(shop: ShopStack, shopper: Shopper) -> None:
    home = shop.stack.home / "bentoml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        built = shop.run("bentoml", "build", "--output", "tag")
    assert built.returncode == 0, built.stdout
    tag = built.stdout.rpartition("__tag__:")[2].split()[0]
    assert (home / "bentos" / Path(*tag.split(":")) / "src" / "serving" / "service.py").is_file()


def test_feast_ui_serves_its_page(shop: ShopStack) -> None:
    port = shop.stack.port("COLLECTOR__PORT")  # nothing else uses it here
    words = ["feast.cli.cli", "-c", "feature_repo", "ui", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([sys.executable, "-m", *words], cwd=PROJECT_ROOT, env=shop.stack.environment()) as ui:
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/"), seconds=60)
        finally:
            ui.terminate()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def redis_pid(shop: ShopStack) -> int:
    process = Records(shop.stack.home / "run").running("redis")
    assert process is not None
    return int(process.pid)


def test_a_store_that_hangs_costs_the_deadline_and_not_the_answer(shop: ShopStack, shopper: Shopper) -> None:
    os.kill(redis_pid(shop), signal.SIGSTOP)
    try:
        begun = time.monotonic()
        answers = [shopper.ask(user_id="c1", k=5) for _ in range(20)]
        assert time.monotonic() - begun < 8, "three deadlines of 0.5 s, the others do not wait"
        assert all(len(answer["items"]) == 5 for answer in answers)
        assert answers[-1]["fallback"] == "popular"
        assert answers[-1]["feature_age_ms"] is None
        until(lambda: shopper.client.get("/readyz").status_code == 503, seconds=10)
    finally:
        os.kill(redis_pid(shop), signal.SIGCONT)
    until(lambda: shopper.ask(user_id="c1")["fallback"] is None, seconds=10)
    until(lambda: shopper.client.get("/readyz").status_code == 200, seconds=10)


def test_a_store_that_is_gone_is_survived(shop: ShopStack, shopper: Shopper) -> None:
    shop.deploy("down", "redis")
    answer = shopper.ask(user_id="c1", k=5)
    assert answer["fallback"] == "popular"
    assert len(answer["items"]) == 5
    assert len(shopper.ids("/trending", k=5)) == 5
    not_ready = until(lambda: (found := shopper.client.get("/readyz")).status_code == 503 and found, seconds=10)
    assert "cannot be read" in not_ready.text
    assert shopper.client.get("/livez").status_code == 200

    shop.deploy("up", "redis")
    until(lambda: shopper.ask(user_id="c1")["fallback"] is None, seconds=20)
    until(lambda: shopper.client.get("/readyz").status_code == 200, seconds=20)
