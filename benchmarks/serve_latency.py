"""How long ``POST /recommend`` takes beside an empty BentoML endpoint: one client, one request after the other.

Both are real ``bentoml serve`` processes on this machine. A shop of its own is made first (offline store, Redis, training),
in a temporary folder and on free ports; nothing that runs already is touched. The two are asked in turns, so that
whatever else the machine does meets both alike.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from shop_stack import ShopStack, shop_stack  # noqa: E402

TURN = 50


class Target:
    """An endpoint, asked over one connection; ``seconds`` holds what each request took."""

    def __init__(self, name: str, port: int, k: int) -> None:
        self.name = name
        self.seconds: list[float] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._k = k

    def ask(self, customers: list[str]) -> None:
        """One request per customer."""
        headers = {"content-type": "application/json"}
        for customer in customers:
            body = json.dumps({"user_id": customer, "k": self._k})
            begun = time.perf_counter()
            self._connection.request("POST", "/recommend", body, headers)
            response = self._connection.getresponse()
            answer = response.read()
            self.seconds.append(time.perf_counter() - begun)
            if response.status != 200:
                raise SystemExit(f"{self.name} answered {response.status}: {answer.decode()}")

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.quantile(self.seconds, share)) * 1000


@contextmanager
def empty_service(shop: ShopStack, port: int) -> Iterator[None]:
    """The empty service on a port, for a while."""
    command = [sys.executable, "-m", "bentoml", "serve", "empty_service:Empty", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--working-dir", str(ROOT / "benchmarks")]
    environment = {**shop.stack.environment(), "BENTOML_HOME": str(shop.stack.home / "bentoml")}
    with open(shop.stack.home / "empty.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the empty service did not start")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000, help="measured requests per endpoint")
    parser.add_argument("--products", type=int, default=1_000, help="products of the shop")
    parser.add_argument("--customers", type=int, default=600, help="customers of the shop")
    parser.add_argument("--k", type=int, default=10, help="recommendations per request")
    args = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        console.print("making a shop, training and starting both services ...")
        with shop_stack(Path(folder), args.products, args.customers) as shop:
            shop.materialise()
            shop.train()
            shop.deploy("up", "serving")
            spare = shop.stack.port("COLLECTOR__PORT")
            with empty_service(shop, spare):
                ours = Target("POST /recommend", shop.stack.port("SERVING__PORT"), args.k)
                empty = Target("empty BentoML endpoint", spare, args.k)
                _measure([ours, empty], args.requests, args.customers)
    _show(ours, empty)


def _measure(targets: list[Target], requests: int, customers: int) -> None:
    rng = np.random.default_rng(1)
    for round_number in range(-4, requests // TURN):
        asked = [f"c{number}" for number in rng.integers(0, customers, TURN)]
        for target in targets:
            target.ask(asked)
            if round_number < 0:
                target.seconds.clear()


def _show(ours: Target, empty: Target) -> None:
    table = Table(title=f"{len(ours.seconds):,} sequential requests each, milliseconds", title_justify="left")
    for heading in ("endpoint", "median", "p95", "p99"):
        table.add_column(heading, justify="left" if heading == "endpoint" else "right")
    for target in (ours, empty):
        table.add_row(target.name, *(f"{target.quantile(share):.2f}" for share in (0.5, 0.95, 0.99)))
    ratios = (f"{ours.quantile(share) / empty.quantile(share):.1f}x" for share in (0.5, 0.95, 0.99))
    table.add_row("ratio", *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
