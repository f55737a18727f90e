"""The service over HTTP: a real ``bentoml serve``, Feast and Redis; from an empty shop to a trained one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import sampled_from
from offline_data import CATEGORIES, COUNTRIES
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from shop_stack import ShopStack, shop_stack
from waiting import until

from deploy.records import Records
from feature_repo.contract import ADDED, CLICKED, ORDERED, VIEWED
from feature_repo.settings import PROJECT_ROOT
from training.scenarios import SCENARIOS

PRODUCTS = 60
OPENAPI_CASES = int(os.environ.get("OPENAPI_CASES", "150"))


class Shopper:
    """Asks the service."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def ask(self, **body: Any) -> dict[str, Any]:
        response = self.client.post("/recommend", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        assert set(answer) == {
            *("items", "model_version", "feature_age_ms", "catalogue_age_ms", "fallback", "degraded", "request_id"),
            *("experiment", "variant"),
        }
        for item in answer["items"]:
            assert set(item) == {"product_id", "score", "source", "reason"} | (
                {"why"} if body.get("explain") else set()
            )
            assert isinstance(item["score"], float)
            assert item["product_id"] in {f"p{number}" for number in range(PRODUCTS + 1)}
        assert len({item["product_id"] for item in answer["items"]}) == len(answer["items"])
        return answer

    def ids(self, **body: Any) -> list[str]:
        return [item["product_id"] for item in self.ask(**body)["items"]]

    def at_once(self, *bodies: dict[str, Any]) -> list[list[str]]:
        """Answers that can be compared: scores change with time, so all are asked anew if the first did meanwhile."""
        for _ in range(5):
            answers = [self.ids(**body) for body in bodies]
            if self.ids(**bodies[0]) == answers[0]:
                break
        return answers


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopStack]:
    with pytest.MonkeyPatch.context() as patch, shop_stack(tmp_path_factory.mktemp("serving")) as shop:
        for name, value in {"SNAPSHOT_SECONDS": "0.3", "MODEL_POLL_SECONDS": "0.5", "STALE_SECONDS": "300"}.items():
            patch.setitem(shop.stack.variables, f"SHELFWISE_SERVING__{name}", value)
        rules = shop.stack.home / "rules.toml"
        rules.touch()
        patch.setitem(shop.stack.variables, "SHELFWISE_SERVING__RULES_FILE", str(rules))
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
    until(lambda: bare.ids(scenario="trending"))
    return bare


@pytest.fixture(scope="module")
def shopper(shop: ShopStack, stocked: Shopper) -> Shopper:
    """The service with a model, which it has picked up while running."""
    shop.train()
    until(lambda: stocked.ask(user_id="nobody")["model_version"])
    return stocked


def test_an_empty_catalogue_gives_empty_answers(bare: Shopper) -> None:
    for body in ({"user_id": "c1"}, {"scenario": "trending"}):
        answer = bare.ask(**body)
        assert answer["items"] == []
        assert answer["fallback"] == "empty"


def test_without_a_model_popular_products_are_served(stocked: Shopper) -> None:
    answer = stocked.ask(user_id="c1", k=5)
    assert len(answer["items"]) == 5
    assert answer["model_version"] is None
    assert answer["fallback"] == "popular"
    assert answer["feature_age_ms"] > 0, "the customer is known, there is only no model"
    page = stocked.ask(scenario="product", context_items=["p1"], k=3)
    assert [item["source"] for item in page["items"]] == ["alike"] * 3


def test_a_known_customer_gets_personal_answers(shopper: Shopper) -> None:
    answer = shopper.ask(user_id="c1", k=10)
    assert len(answer["items"]) == 10
    assert answer["fallback"] is None
    assert answer["feature_age_ms"] > 0
    first, second = shopper.at_once({"user_id": "c1"}, {"user_id": "c1"})
    assert first == second, "and they are stable"


def test_an_unknown_customer_gets_popular_products(shopper: Shopper) -> None:
    answer = shopper.ask(user_id="nobody")
    assert answer["fallback"] == "popular"
    assert answer["feature_age_ms"] is None
    assert len(answer["items"]) == 10
    assert answer["model_version"] is not None


def test_an_unknown_customer_sees_what_is_liked_in_his_country(shopper: Shopper) -> None:
    def liked(place: int, **where: str) -> list[dict[str, Any]]:
        answer = shopper.ask(user_id="nobody", k=10, **where)
        assert answer["fallback"] == "popular"
        return [item for item in answer["items"] if int(item["product_id"][1:]) % len(CATEGORIES) // 2 == place]

    gained = 0
    for place, country in enumerate(COUNTRIES):
        there, anywhere = liked(place, country=country), liked(place)
        assert {(item["source"], item["reason"]) for item in there} == {("country", f"popular in {country}")}
        assert len(there) >= len(anywhere)
        gained += len(there) - len(anywhere)
    assert gained >= 3


def test_what_a_customer_just_did_changes_the_answer(shop: ShopStack, shopper: Shopper) -> None:
    def share(answer: list[str], liked: int) -> float:
        return sum(int(product_id[1:]) % len(CATEGORIES) == liked for product_id in answer) / len(answer)

    shop.push_customer("turning", [(VIEWED, f"p{1 + 6 * step}") for step in range(4)])
    before = shopper.ask(anonymous_id="turning", k=6)
    assert before["feature_age_ms"] < 60_000
    # The ranker looks at the hour: whether the first few go with what was viewed or are bought with it changes over the day.
    reasons = [item["reason"] for item in shopper.ask(anonymous_id="turning", k=20)["items"]]
    assert "because you viewed" in " ".join(reasons)
    shop.push_customer("turning", [(VIEWED, f"p{3 + 6 * step}") for step in range(4)])
    after = shopper.ids(anonymous_id="turning", k=6)
    assert after != [item["product_id"] for item in before["items"]]
    assert share(after, 3) > share([item["product_id"] for item in before["items"]], 3)


def test_the_anonymous_id_counts_where_the_user_is_unknown(shop: ShopStack, shopper: Shopper) -> None:
    shop.push_customer("visitor", [(CLICKED, "p4"), (VIEWED, "p10")])
    alone = shopper.ids(anonymous_id="visitor")
    assert shopper.ids(user_id="never-seen", anonymous_id="visitor") == alone
    known, both = shopper.at_once({"user_id": "c1"}, {"user_id": "c1", "anonymous_id": "visitor"})
    assert known == both


def test_context_alone_makes_a_session(shopper: Shopper) -> None:
    answer = shopper.ask(anonymous_id="nobody", scenario="cart", context_items=["p2"])
    assert answer["fallback"] == "session"
    assert "p2" not in [item["product_id"] for item in answer["items"]]
    assert answer["items"] != shopper.ask(anonymous_id="nobody")["items"]
    unknown = shopper.ask(anonymous_id="nobody", scenario="cart", context_items=["not-sold-here"])
    assert unknown["fallback"] == "popular"


def test_what_was_bought_is_not_shown_on_the_home_page(shop: ShopStack, shopper: Shopper) -> None:
    shop.push_customer("buyer", [(VIEWED, "p5"), (ADDED, "p5"), (ORDERED, "p5"), (VIEWED, "p11")])
    home = shopper.ids(user_id="buyer", k=PRODUCTS)
    assert "p5" not in home
    assert "p11" in home
    assert len(home) == PRODUCTS - 1
    assert "p5" in shopper.ids(user_id="buyer", k=PRODUCTS, scenario="product", context_items=["p11"])
    assert shopper.ask(user_id="buyer", scenario="buy_again")["fallback"] == "empty", "it is not due yet"
    shop.push_customer("buyer-long-ago", [(ORDERED, "p5"), (VIEWED, "p11")], days_ago=31)
    again = shopper.ask(user_id="buyer-long-ago", scenario="buy_again")
    assert [(item["product_id"], item["reason"]) for item in again["items"]] == [("p5", "you bought this before")]
    assert again["fallback"] is None


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
    near = shopper.ids(scenario="product", context_items=[target], k=1)[0]
    shop.push_stock(target, 0)
    until(lambda: target not in shopper.ids(user_id="c1", k=PRODUCTS), seconds=10)
    assert target not in shopper.ids(user_id="nobody", k=PRODUCTS)
    assert target not in shopper.ids(scenario="trending", k=PRODUCTS)
    assert target not in shopper.ids(scenario="product", context_items=[near], k=PRODUCTS)
    shop.push_stock(target, 7)
    until(lambda: target in shopper.ids(user_id="c1", k=PRODUCTS), seconds=10)


def test_a_product_page_shows_the_same_kind(shopper: Shopper) -> None:
    answer = shopper.ask(scenario="product", context_items=["p7"], k=5)
    assert answer["fallback"] is None
    assert {item["source"] for item in answer["items"]} <= {"together", "similar", "alike"}
    assert all("Pans no. 7" in item["reason"] for item in answer["items"])
    assert "p7" not in [item["product_id"] for item in answer["items"]]
    assert sum(int(item["product_id"][1:]) % 6 == 1 for item in answer["items"]) >= 3


def test_a_cart_and_an_order_show_what_was_bought_with_it(shop: ShopStack, shopper: Shopper) -> None:
    orders = [event for event in shop.events if event["event"] == ORDERED and len(event["products"]) > 1]
    pair = [product["product_id"] for product in orders[-1]["products"][:2]]
    by_context = shopper.ask(user_id="nobody", scenario="cart", context_items=pair[:1], k=PRODUCTS)
    other = next(item for item in by_context["items"] if item["product_id"] == pair[1])
    assert other["source"] == "bought_together"
    assert other["reason"].startswith("often bought with ")
    shop.push_customer("carter", [(VIEWED, pair[0]), (ADDED, pair[0])])
    carter = shopper.ask(user_id="carter", scenario="cart", k=PRODUCTS)
    assert (carter["fallback"], carter["feature_age_ms"] is None) == (None, False)
    assert pair[0] not in [item["product_id"] for item in carter["items"]], "it is in the cart"
    assert pair[1] in [item["product_id"] for item in carter["items"] if item["source"] == "bought_together"]
    shop.push_customer("orderer", [(ORDERED, pair[0]), (VIEWED, "p3")])
    thanks = shopper.ask(user_id="orderer", scenario="post_purchase", k=PRODUCTS)
    assert pair[0] not in [item["product_id"] for item in thanks["items"]]
    assert pair[1] in [item["product_id"] for item in thanks["items"] if item["source"] == "bought_together"]


def test_trending_products_need_no_customer(shopper: Shopper) -> None:
    seeds = shopper.ids(scenario="trending", k=PRODUCTS, filters={"category": "Garden/Seeds"})
    assert seeds
    assert all(int(product_id[1:]) % 6 == 3 for product_id in seeds)


def test_a_category_is_popular_first_and_personal_for_who_is_known(shopper: Shopper) -> None:
    seeds = {"scenario": "category", "k": PRODUCTS, "filters": {"category": "Garden/Seeds"}}
    anybody, known = shopper.ask(**seeds), shopper.ask(user_id="c1", **seeds)
    assert anybody["fallback"] == "popular"
    assert {item["reason"] for item in anybody["items"]} <= {"popular in Seeds", "trending in Seeds"}
    assert known["fallback"] is None
    same = [{item["product_id"] for item in answer["items"]} for answer in (anybody, known)]
    assert same[0] == same[1] == {f"p{number}" for number in range(3, PRODUCTS, 6)}


def test_explanations_tell_features_and_their_age(shop: ShopStack, shopper: Shopper) -> None:
    shop.push_customer("curious", [(VIEWED, "p7"), (VIEWED, "p13")])
    items = shopper.ask(user_id="curious", k=5, explain=True)["items"]
    for item in items:
        assert 1 <= len(item["why"]) <= 5
        assert all(set(cause) == {"feature", "value", "effect", "age_ms"} for cause in item["why"])
    causes = [cause for item in items for cause in item["why"]]
    ages = [cause["age_ms"] for cause in causes if cause["feature"] in ("category_affinity", "als_score")]
    assert all(0 <= age < 60_000 for age in ages)
    assert any(cause["effect"] > 0 for cause in causes)
    nothing = shopper.ask(scenario="list", context_items=["never heard of"], explain=True)
    assert (nothing["items"], nothing["degraded"]) == ([], [])


def test_the_shops_rules_and_scenarios_are_taken_while_running(shop: ShopStack, shopper: Shopper) -> None:
    rules = Path(shop.stack.variables["SHELFWISE_SERVING__RULES_FILE"])
    everything = shopper.ids(user_id="nobody", k=PRODUCTS)
    sport = {product_id for product_id in everything if int(product_id[1:]) % 6 in (4, 5)}
    last = next(product_id for product_id in reversed(everything) if product_id not in sport)
    rules.write_text(
        f"""
        [[pins]]
        product = "{last}"
        place = 2
        reason = "our pick"
        [[exclusions]]
        category = "Sport"
        scenarios = ["home"]
        [[boosts]]
        category = "Garden/Tools"
        factor = 100
        until = 2001-01-01
        [[caps]]
        by = "brand"
        most = 1
        scenarios = ["tiny"]
        [scenarios.tiny]
        summary = "one of each brand"
        sources = {{ trending = 1.0 }}
        ranking = "sources"
        """
    )
    until(lambda: shopper.ids(user_id="nobody")[1] == last, seconds=10)
    home = shopper.ask(user_id="nobody", k=PRODUCTS)["items"]
    assert {item["product_id"] for item in home} == set(everything) - sport
    assert (home[1]["source"], home[1]["reason"]) == ("pinned", "our pick")
    tiny = shopper.ids(scenario="tiny", k=PRODUCTS)
    assert len({int(product_id[1:]) % 3 for product_id in tiny}) == 3
    assert len(tiny) <= 4, "one of each of three brands, and the pinned one"
    rules.write_text("[[pins]]\nplace = 1")
    until(lambda: "shelfwise_rules_refused 1" in shopper.client.get("/metrics").text.replace(".0", ""), seconds=10)
    assert shopper.ids(user_id="nobody")[1] == last, "the rules before stay in force"
    rules.write_text("")
    until(lambda: set(shopper.ids(user_id="nobody", k=PRODUCTS)) == set(everything), seconds=10)
    assert error_of(shopper.client.post("/recommend", json={"scenario": "tiny"}), 422)["code"] == "unknown_value"


def test_a_service_with_wrong_rules_does_not_start(shop: ShopStack, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[[pins]]\nplace = 1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shop.stack.variables, "SHELFWISE_SERVING__RULES_FILE", str(rules))
        done = shop.run("serving")
    assert done.returncode == 1
    assert "pins.0.product: Field required" in done.stdout
    assert "Traceback" not in done.stdout


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
    ({"user_id": "a", "scenario": 1}, "wrong_type", "scenario"),
    ({"scenario": "buy_again"}, "missing_id", "user_id"),
    ({"user_id": "a", "scenario": "product"}, "missing_field", "context_items"),
    ({"user_id": "a", "scenario": "category", "filters": {"brand": "Alba"}}, "missing_field", "filters.category"),
    ({"scenario": "cart"}, "missing_id", "user_id"),
    ({"user_id": "a", "explain": "yes"}, "wrong_type", "explain"),
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
    assert error_of(client.get("/nothing"), 404)["code"] == "not_found"
    unknown = error_of(client.post("/recommend", json={"user_id": "a", "scenario": "moon"}), 422)["message"]
    assert all(name in unknown for name in ("home", "product", "cart", "post_purchase", "buy_again", "trending"))


@pytest.mark.parametrize("mode", GenerationMode)
def test_the_service_does_what_its_openapi_document_says(shopper: Shopper, mode: GenerationMode) -> None:
    """Invented requests, as the document allows them and as it does not; OPENAPI_CASES=5000 has it try so many of each."""
    document = schemathesis.openapi.from_url(str(shopper.client.base_url.join("/openapi.json")))
    requests = document["/recommend"]["POST"].as_strategy(generation_mode=mode)
    statuses: Counter[int] = Counter()

    @given(case=requests, scenario=sampled_from([*SCENARIOS, None]))
    @settings(max_examples=OPENAPI_CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case, scenario: str | None) -> None:
        if scenario and isinstance(case.body, dict):
            case.body |= {"scenario": scenario}  # the names that there are, which the document says in words only
        response = case.call()
        statuses[response.status_code] += 1
        # The document says neither which fields a scenario needs, nor that numbers are taken for ids.
        case.validate_response(response, excluded_checks=[positive_data_acceptance, negative_data_rejection])

    ask()
    assert statuses[200] if mode is GenerationMode.POSITIVE else statuses[422]
    assert max(statuses) < 500


def test_the_api_is_documented_without_other_hosts(shopper: Shopper) -> None:
    paths = shopper.client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/recommend"}
    page = shopper.client.get("/", follow_redirects=True)
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert shopper.client.get("/static_content/swagger-ui-bundle.js").status_code == 200


def test_metrics_tell_what_was_answered(shopper: Shopper) -> None:
    shopper.ask(user_id="c1")
    text = shopper.client.get("/metrics").text
    version = shopper.ask(user_id="c1")["model_version"]
    assert f'shelfwise_requests_total{{fallback="none",model="{version}",scenario="home"}}' in text
    assert f'shelfwise_latency_seconds_bucket{{le="0.0005",model="{version}",scenario="home"}}' in text
    for name in ("recommended_total", "catalogue_read_timestamp_seconds", "model_info", "feature_age_seconds_count"):
        assert f"shelfwise_{name}" in text


def test_a_new_product_is_seen_on_its_first_day(shop: ShopStack, shopper: Shopper) -> None:
    shop.push_customer("curious", [(VIEWED, "p0"), (VIEWED, "p6")])
    arrival = shop.push_arrival()
    until(lambda: arrival in shopper.ids(user_id="curious", k=10), seconds=10)
    for who in ("curious", "nobody"):
        (new,) = (item for item in shopper.ask(user_id=who, k=10)["items"] if item["product_id"] == arrival)
        assert (new["source"], new["reason"]) == ("new", "new in Cups")
    page = shopper.ask(scenario="product", context_items=["p6"], k=10)["items"]
    assert arrival in [item["product_id"] for item in page], page


def test_a_newer_model_is_picked_up_while_running(shop: ShopStack, shopper: Shopper) -> None:
    before = shopper.ask(user_id="c1")["model_version"]
    shop.train()
    until(lambda: shopper.ask(user_id="c1")["model_version"] not in (None, before), seconds=10)


def test_a_bento_can_be_built(shop: ShopStack, shopper: Shopper) -> None:
    home = shop.stack.home / "bentoml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shop.stack.variables, "BENTOML_HOME", str(home))
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
    assert len(shopper.ids(scenario="trending", k=5)) == 5
    not_ready = until(lambda: (found := shopper.client.get("/readyz")).status_code == 503 and found, seconds=10)
    assert "cannot be read" in not_ready.text
    assert shopper.client.get("/livez").status_code == 200

    shop.deploy("up", "redis")
    until(lambda: shopper.ask(user_id="c1")["fallback"] is None, seconds=20)
    until(lambda: shopper.client.get("/readyz").status_code == 200, seconds=20)
