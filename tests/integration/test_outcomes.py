"""From an answer of the service to what became of it: service, collector, Kafka, stream and reports, right to the count."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import offline_data
import pytest
from deltalake import DeltaTable
from own_stack import OwnStack
from shop_stack import ShopStack
from waiting import until

from deploy.records import Records
from feature_repo import tables
from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED

CUSTOMERS = 40
PATIENCE = 300.0
EXPERIMENTS = """
[experiments.bolder]
scenarios = ["home"]
explore = 0.5

[experiments.bolder.variants.control]

[experiments.bolder.variants.bold]
scenarios.home = { diversity = 0.5 }

[experiments.bolder.variants.next]
weight = 0
"""


class Site:
    """A shop's pages: they ask for recommendations, show them, and report what their customers do.

    Attributes:
        did: what customers of each variant really did.
        sources: the same of each source: products shown and clicked.
    """

    def __init__(self, shop: ShopStack) -> None:
        self.shop = shop
        self.did: dict[str, Counter[str]] = defaultdict(Counter)
        self.sources: dict[str, Counter[str]] = defaultdict(Counter)
        service, collector = (shop.stack.port(f"{name}__PORT") for name in ("SERVING", "COLLECTOR"))
        self.service = httpx.Client(base_url=f"http://127.0.0.1:{service}", timeout=60)
        self.collector = httpx.Client(base_url=f"http://127.0.0.1:{collector}", auth=("demo-write-key", ""), timeout=60)

    def ask(self, **body: Any) -> dict[str, Any]:
        response = self.service.post("/recommend", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def report(self, *events: dict[str, Any]) -> None:
        response = self.collector.post("/v1/batch", json={"batch": list(events)})
        assert response.status_code == 200, response.text

    def event(self, customer: str, name: str, **properties: Any) -> dict[str, Any]:
        at = datetime.now(UTC).isoformat()
        call = {"type": "track", "event": name, "messageId": str(uuid.uuid4()), "userId": customer, "timestamp": at}
        return {**call, "properties": properties}

    def visit(self, number: int) -> None:
        """A customer looks at his recommendations and clicks the first, of the bold variant the second as well, and orders."""
        customer = f"visitor {number}"
        answer = self.ask(user_id=customer, k=4)
        assert answer["experiment"] == "bolder"
        ids = [item["product_id"] for item in answer["items"]]
        liked = ids[: 2 if answer["variant"] == "bold" else number % 2]
        shown = [{"product_id": product, "position": place + 1} for place, product in enumerate([*ids, "ours"])]
        events = [self.event(customer, LIST_VIEWED, request_id=answer["request_id"], products=shown)]
        for product in liked:
            events += [self.event(customer, name, product_id=product) for name in (CLICKED, VIEWED, ADDED)]
        ordered = liked[1:]
        for product in ordered:
            lines = [{"product_id": product, "price": 2.5, "quantity": 2}, {"product_id": "ours", "price": 99}]
            events.append(self.event(customer, ORDERED, order_id=str(uuid.uuid4()), products=lines))
        self.report(*events)
        self.did[answer["variant"]] += Counter(
            lists=1, shown=4, clicks=len(liked), carts=len(liked), orders=len(ordered), revenue=5 * len(ordered)
        )
        for item in answer["items"]:
            self.sources[item["source"]] += Counter(shown=1, clicks=item["product_id"] in liked)

    def outcomes(self, *arguments: str) -> dict[str, Any]:
        done = self.shop.run("ingestion", "outcomes", "--json", *arguments)
        assert done.returncode == 0, done.stdout
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """After all visits; the stream was killed in the middle of them."""
    home = tmp_path_factory.mktemp("outcomes")
    file = home / "experiments.toml"
    file.write_text(EXPERIMENTS)
    settings = {
        "SHELFWISE_SERVING__EXPERIMENTS_FILE": str(file),
        "SHELFWISE_SERVING__SNAPSHOT_SECONDS": "0.3",
        "SHELFWISE_STREAM__ARCHIVE_SECONDS": "0.5",
        "SHELFWISE_OUTCOMES__EVERY_SECONDS": "1",
    }
    stack = OwnStack({**OwnStack.at(home).variables, **settings})
    products = offline_data.Shop(30, seed=3)
    with stack.exported():
        try:
            history = offline_data.shop_events(products, 40, offline_data.now())
            offline_data.write_history(products, history)
            shop = ShopStack(stack, products, history)
            shop.deploy("up", "kafka", "redis", "collector", "stream", "serving")
            site = Site(shop)
            # With the first event, the stream fills the empty Redis.
            site.report(site.event("first", VIEWED, product_id="p1"))
            until(lambda: len(site.ask(scenario="trending", k=4)["items"]) == 4, PATIENCE)
            for number in range(CUSTOMERS // 2):
                site.visit(number)
            stream = Records(home / "run").running("stream")
            assert stream is not None
            os.kill(stream.pid, signal.SIGKILL)
            for number in range(CUSTOMERS // 2, CUSTOMERS):
                site.visit(number)
            site.report(site.event("forger", LIST_VIEWED, request_id="made up", products=[{"product_id": "p1"}]))
            shop.deploy("up", "stream")
            until(lambda: sum(one["lists"] for one in site.outcomes()["outcomes"]) == CUSTOMERS, PATIENCE)
            yield site
        finally:
            stack.deploy("down")


def test_outcomes_are_what_customers_did(site: Site) -> None:
    told = site.outcomes("--by", "variant")
    assert told["unknown"] == 1
    names = ("lists", "shown", "clicks", "carts", "orders", "revenue")
    assert {one["variant"]: {name: one[name] for name in names} for one in told["outcomes"]} == {
        f"bolder/{variant}": {name: did[name] for name in names} for variant, did in site.did.items()
    }
    assert len(site.did) == 2
    by_source = site.outcomes("--by", "source")["outcomes"]
    assert {one["source"]: (one["shown"], one["clicks"]) for one in by_source} == {
        source: (did["shown"], did["clicks"]) for source, did in site.sources.items()
    }
    [by_model] = site.outcomes("--by", "model,scenario")["outcomes"]
    assert (by_model["model"], by_model["scenario"]) == ("none", "home")


def test_computed_again_they_are_the_same_and_every_answer_is_stored_once(site: Site) -> None:
    assert site.shop.run("ingestion", "outcomes", "--check").returncode == 0
    answers = DeltaTable(tables.RECOMMENDATIONS.uri).to_pyarrow_table(columns=["request_id", "experiment"]).to_pylist()
    assert sum(row["experiment"] == "bolder" for row in answers) == CUSTOMERS
    assert len({row["request_id"] for row in answers}) == len(answers)
    served = site.service.get("/metrics").text
    assert f"shelfwise_answers_logged_total {float(len(answers))}" in served
    assert "shelfwise_answers_lost_total 0.0" in served


def test_the_stream_tells_prometheus(site: Site) -> None:
    url = f"http://127.0.0.1:{site.shop.stack.port('HEALTH__PORT')}/metrics"
    label = 'shelfwise_outcome_clicks{model="none",scenario="home",variant="bolder/bold"}'
    until(lambda: f"{label} {float(site.did['bold']['clicks'])}" in httpx.get(url, timeout=60).text, PATIENCE)


def test_the_report_counts_customers_by_what_they_saw(site: Site) -> None:
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    done = site.shop.run("training", "experiment", "report", "bolder", "--json", "--until", later)
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (7 if told["mismatched"] else 0), done.stdout
    for one in told["variants"]:
        did = site.did[one["name"]]
        assert one["customers"] == did["lists"]
        assert one["click_rate"] == pytest.approx(did["clicks"] / did["shown"])
        assert one["conversion"] == pytest.approx(did["orders"] / did["lists"])
    now = site.shop.run("training", "experiment", "report", "bolder", "--stored")
    assert f"{CUSTOMERS} more customers have seen a variant" in now.stdout


def test_explored_answers_are_what_an_estimate_rests_on(site: Site) -> None:
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    done = site.shop.run("training", "experiment", "estimate", "bolder", "--json", "--until", later)
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout.splitlines()[-1])
    answers = DeltaTable(tables.RECOMMENDATIONS.uri).to_pyarrow_table().to_pylist()
    explored = [row for row in answers if row["explored"]]
    assert told["draws"] == len(explored) > 5
    assert {one["policy"] for one in told["values"]} == {"as served", "next"}
    for row in explored:
        assert row["propensity"] == 0.25
        wanted = dict(row["choices"])
        assert {row["variant"]} <= set(wanted) <= {row["variant"], "next"}
        assert set(wanted.values()) <= {item["product_id"] for item in row["items"]}
