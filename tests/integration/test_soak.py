"""The soak of `make bench-soak` for some seconds, and then a second replica of the service on the same stack."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from open_loop import OpenLoop
from own_stack import free_ports
from prometheus_client.parser import text_string_to_metric_families
from serving_stack import WHOLE_ANSWERS, Service, bodies, empty_service, live_events, our_service, started
from shop_stack import shop_stack
from soak import SMALL_MODELS, Soak
from soak_verdicts import memory_flat
from stream_stack import StreamProcess, simulate
from waiting import until

from feature_repo.models.promotions import in_force, promote
from training.promotion.artefact import load_model, read_distributions, store_model

CUSTOMERS = [f"c{number}" for number in range(150)]
LIVE, RATE, SECONDS, WARM_UP = 20.0, 15.0, 12.0, 4.0
PATIENCE_SECONDS = 60.0
# Of so few seconds, shortly after the start: a leak of some hundred kilobytes per request is above it.
GROWTH = 0.15
# Other tests run on the same machine, and may keep the service from its processor for longer than Redis is waited for.
FEW = 0.05
EXPERIMENT = "[experiments.half.variants.one]\n[experiments.half.variants.other]\n"


@dataclass(frozen=True)
class Running:
    """A stack as a soak wants it."""

    service: Service
    empty: Service
    stream: StreamProcess
    models: list[str]


@contextmanager
def stack_of(folder: Path) -> Iterator[Running]:
    """A small shop, with all that a soak wants running."""
    experiments = folder / "experiments.toml"
    experiments.write_text(EXPERIMENT)
    poll = {"SERVING__EXPERIMENTS_FILE": experiments, "SERVING__MODEL_POLL_SECONDS": 0.5, "HEALTH__PORT": 0}
    settings = {**SMALL_MODELS, **WHOLE_ANSWERS, **poll}
    with ExitStack() as stack:
        shop = stack.enter_context(shop_stack(folder / "home", customers=len(CUSTOMERS), settings=settings))
        shop.deploy("up", "kafka")
        shop.materialise()
        shop.train()
        models = two_versions()
        simulate(events=500, customers=100, products=100)  # whose traffic comes in
        services = [stack.enter_context(start(folder)) for start in (our_service, empty_service)]
        yield Running(services[0], services[1], stack.enter_context(live_events(LIVE)), models)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with stack_of(tmp_path_factory.mktemp("soak")) as running:
        yield running


def two_versions() -> list[str]:
    """The model in force, last, and the same as another version before: to train another would tell no more."""
    first = in_force()
    assert first
    recommender, card = load_model(first)
    later = datetime.now(UTC) + timedelta(minutes=1)
    return [store_model(recommender, replace(card, trained_at=later.isoformat()), read_distributions(first)), first]


def test_a_short_soak(running: Running) -> None:
    """Without bars for time: other tests run on the same machine."""
    body = bodies(CUSTOMERS, 10)
    asked = (body, running.models, RATE, LIVE, SECONDS, WARM_UP)
    soak = Soak(running.service, running.empty, running.stream, *asked, every=0.5)
    found = {verdict.criterion.split(" (")[0]: verdict for verdict in soak.run()}
    answers = soak.answers()
    assert answers.statuses.keys() == {200}
    assert sum(soak.degraded().values()) <= FEW * sum(answers.statuses.values()), found["no error"].says
    assert found["models swapped"].passed, found["models swapped"].says
    assert in_force() == running.models[-1]
    assert {"memory flat", "p99 steady", "swaps unnoticed", "stream keeps up"} < found.keys()
    assert all(verdict.says for verdict in found.values())
    assert len(soak.judged()) >= 3, "the service's two processes at least, and the collector"
    flat = memory_flat(soak.samples, soak.judged(), GROWTH)
    assert flat.passed, flat.says
    assert any("Java" in name or "java" in name for name in soak.samples[-1].memory)
    assert sum(count for what, count in soak.left_out.items() if what.startswith("fallback")) >= RATE * SECONDS / 2


def ask(service: Service, customer: str) -> dict[str, Any]:
    answer = httpx.post(
        f"http://127.0.0.1:{service.port}/recommend", json={"user_id": customer, "k": 3}, timeout=PATIENCE_SECONDS
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def answered(service: Service) -> int:
    """By the metrics of one replica."""
    shown = httpx.get(f"http://127.0.0.1:{service.port}/metrics", timeout=PATIENCE_SECONDS).text
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
        if sample.name == "shelfwise_requests_total"
    )


def test_a_second_replica(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = running.service
    for customer in CUSTOMERS[:5]:
        ask(first, customer)
    before = answered(first)
    (port,) = free_ports(1)
    with ExitStack() as running_too:
        with monkeypatch.context() as patch:
            patch.setenv("SHELFWISE_SERVING__PORT", str(port))
            second = running_too.enter_context(started("a second replica", port, tmp_path / "second.log", "serving"))
        assert answered(first) == before, "its start takes nothing from the first"
        assert answered(second) == 0
        asked = CUSTOMERS[:20]
        variants = [[ask(one, customer)["variant"] for customer in asked] for one in (first, second)]
        assert variants[0] == variants[1], "a customer is in the same variant, whoever answers"
        assert set(variants[0]) == {"one", "other"}
        assert (answered(first), answered(second)) == (before + len(asked), len(asked))
        other = next(version for version in running.models if version != in_force())
        promote(other, "for both", in_force())
        for replica in (first, second):
            assert until(lambda at=replica: ask(at, "nobody")["model_version"] == other, PATIENCE_SECONDS)
        _kill_under_load(second, first)


def _kill_under_load(killed: Service, other: Service) -> None:
    """Both are asked; one is killed, and the other goes on as if nothing were."""
    loops = [OpenLoop(one.port, bodies(CUSTOMERS, 10), 10.0, 4.0, warm_up=0.5) for one in (killed, other)]
    threads = [threading.Thread(target=loop.run) for loop in loops]
    for thread in threads:
        thread.start()
    time.sleep(2.0)
    for process in reversed(killed.processes()):
        process.kill()
    for thread in threads:
        thread.join()
    assert loops[0].load().failed, "the load did reach it until then"
    assert loops[1].load().failed == 0
    assert ask(other, "nobody")["items"]
