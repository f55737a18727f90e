"""A soak: the real stack under a steady open load for half an hour, with events coming in and two models swapped.

A shop is invented, loaded and learnt from twice, in a temporary folder and on free ports. Then `POST /recommend` is asked at a
steady rate (open_loop.py: times count from when a request was due), and an empty BentoML endpoint at a fifth of it, as the
baseline of the same minutes. The shop's events come in through collector, Kafka and stream meanwhile. After one third and after
two thirds of the time another model is promoted. Every few seconds memory of all processes and the stream's lag are noted.

At the end each criterion is judged, with its bound; the exit code is 1 if one is not met:

  no error         every request was answered with 200, with nothing left out
  memory flat      no process of the service nor the collector grew by more than a tenth, by a robust fit after warm-up
  p99 steady       the last third is at most 1.5 times as slow as the first, beyond what the empty endpoint became slower by
  models swapped   both came into use
  swaps unnoticed  no request during a swap was slower than the slowest of the others
  stream keeps up  at most a minute's events wait in the last third

Java's heap grows to its limit by design, and Redis and the stream hold what is known of each customer: their memory is shown.

examples:
  python benchmarks/soak.py
  python benchmarks/soak.py --minutes 5 --rate 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from open_loop import Load, OpenLoop
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table
from serving_stack import WHOLE_ANSWERS, Service, bodies, empty_service, live_events, our_service, prepare
from soak_verdicts import (
    Sample,
    Swap,
    Verdict,
    growth,
    memory_flat,
    no_errors,
    p99_steady,
    stream_keeps_up,
    swaps_seen,
    swaps_unnoticed,
)
from stream_stack import StreamProcess, progress, run, show, stack, waiting_events

from deploy.records import Records
from feature_repo.models.promotions import in_force, promote
from feature_repo.settings import get_settings

# Of a model's size and quality nothing depends here.
SMALL_MODELS = {
    "TRAINING__ITEM_SPACES": 1,
    "TRAINING__FACTORS": 16,
    "TRAINING__TEST_TURNS": 50,
    "TRAINING__MAX_TURNS": 2_000,
    "TRAINING__LIST_RANKER__TREES": 20,
    "TRAINING__TURN_RANKER__TREES": 20,
    "TRAINING__ORDER_RANKER__TREES": 20,
}
EMPTY_SHARE = 0.2
_PATIENCE_SECONDS = 60.0
# Judged, beside the processes of the service.
COLLECTOR = "collector"


@dataclass
class Soak:
    """A load on a running stack, and what is noted meanwhile.

    Attributes:
        service: the one that is asked.
        empty: the baseline.
        stream: the running stream.
        body: of the n-th request.
        models: versions to promote, one after the other, evenly over the time.
        rate: requests per second.
        live: events per second that come in.
        seconds: how long is measured.
        warm_up: how long is asked before that.
        every: seconds between two samples.
    """

    service: Service
    empty: Service
    stream: StreamProcess
    body: Callable[[int], bytes]
    models: Sequence[str]
    rate: float
    live: float
    seconds: float
    warm_up: float
    every: float
    samples: list[Sample] = field(default_factory=list)
    swaps: list[Swap] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._ours = OpenLoop(self.service.port, self.body, self.rate, self.seconds, self.warm_up)
        self._base = OpenLoop(self.empty.port, self.body, self.rate * EMPTY_SHARE, self.seconds, self.warm_up, seed=2)

    def run(self) -> list[Verdict]:
        """Soak, and judge."""
        threads = [threading.Thread(target=loop.run, daemon=True) for loop in (self._ours, self._base)]
        for thread in threads:
            thread.start()
        while self._ours.now() < 0:
            if not all(thread.is_alive() for thread in threads):
                raise SystemExit("the load could not begin: one of the services takes no connections")
            time.sleep(0.05)
        before = _left_out(self.service)
        self._watch()
        for thread in threads:
            thread.join()
        self.left_out = Counter({what: count - before[what] for what, count in _left_out(self.service).items()})
        return self.verdicts()

    def answers(self) -> Load:
        """What became of all requests."""
        return self._ours.load()

    def degraded(self) -> dict[str, int]:
        """How many answers did without what."""
        return {what: count for what, count in self.left_out.items() if not what.startswith("fallback ")}

    def verdicts(self) -> list[Verdict]:
        """All criteria, on what was noted."""
        load = self.answers()
        thirds = [(self.seconds * third / 3, self.seconds * (third + 1) / 3) for third in range(3)]
        ours, base = ([loop.load(*third) for third in thirds] for loop in (self._ours, self._base))
        return [
            no_errors(load, self.degraded()),
            memory_flat(self.samples, self.judged()),
            p99_steady(ours, base),
            swaps_seen(self.swaps, len(self.models)),
            swaps_unnoticed(self.swaps, load),
            stream_keeps_up(self.samples, self.live),
        ]

    def judged(self) -> list[str]:
        """Processes whose memory must be flat, as of the last sample: one that came later is not, for its like has ended."""
        return [name for name in self._names() if name.startswith("service") or name == COLLECTOR]

    def tables(self) -> Iterator[Table]:
        """What was measured: times by third, and memory."""
        times = Table(title="milliseconds from when due", title_justify="left")
        for heading in ("part", "requests", "p50", "p99", "max", "empty p50", "empty p99"):
            times.add_column(heading, justify="left" if heading == "part" else "right")
        for part, begin, end in (*((f"third {n + 1}", n / 3, (n + 1) / 3) for n in range(3)), ("all", 0.0, 1.0)):
            ours, base = (loop.load(begin * self.seconds, end * self.seconds) for loop in (self._ours, self._base))
            shares = (*(ours.quantile(share) for share in (0.5, 0.99, 1.0)), *map(base.quantile, (0.5, 0.99)))
            times.add_row(part, f"{len(ours.seconds):,}", *(f"{value:.1f}" for value in shares))
        late = max(loop.load().late for loop in (self._ours, self._base))
        times.caption = f"the load generator itself was behind by at most {late * 1000:.0f} ms"
        yield times
        memory = Table(title="resident memory, MB", title_justify="left")
        for heading in ("process", "first", "last", "most", "growth by the fit", ""):
            memory.add_column(heading, justify="left" if heading in ("process", "") else "right")
        for name in self._names():
            sizes = [sample.memory[name] for sample in self.samples if name in sample.memory]
            shown = (f"{size:,.0f}" for size in (sizes[0], sizes[-1], max(sizes)))
            judged = "" if name in self.judged() else "not judged"
            memory.add_row(name, *shown, f"{growth(self.samples, name):+.1%}", judged)
        yield memory
        answers = Table(title="answers by what was missing", title_justify="left", show_header=False)
        for what, count in sorted(self.left_out.items()):
            answers.add_row(what, f"{count:,.0f}")
        yield answers

    def _watch(self) -> None:
        wanted = [(self.seconds * (n + 1) / (len(self.models) + 1), version) for n, version in enumerate(self.models)]
        next_sample = 0.0
        while (now := self._ours.now()) < self.seconds:
            self.stream.check()
            if wanted and now >= wanted[0][0]:
                self._swap(wanted.pop(0)[1])
            elif now >= next_sample:
                self._sample(now)
                next_sample = now + self.every
            time.sleep(0.1)

    def _sample(self, now: float) -> None:
        self.samples.append(Sample(now, self._memory(), waiting_events()))
        one, load, base = self.samples[-1], *(loop.load(now - self.every, now) for loop in (self._ours, self._base))
        worker = max((size for name, size in one.memory.items() if name.startswith("service")), default=0.0)
        progress.print(
            f"  {now / 60:5.1f} min: p50 {load.quantile(0.5):.1f} ms, p99 {load.quantile(0.99):.1f} ms (empty "
            f"{base.quantile(0.5):.1f}, {base.quantile(0.99):.1f}), {self.answers().failed} failed, worker {worker:,.0f} MB, "
            f"{one.waiting:,} events wait"
        )

    def _swap(self, version: str) -> None:
        promote(version, "a soak", in_force())
        at = self._ours.now()
        after = None
        with httpx.Client(base_url=f"http://127.0.0.1:{self.service.port}", timeout=_PATIENCE_SECONDS) as client:
            while after is None and self._ours.now() < at + _PATIENCE_SECONDS:
                answer = client.post("/recommend", json={"user_id": "nobody", "k": 1})
                if answer.status_code == 200 and answer.json()["model_version"] == version:
                    after = self._ours.now() - at
                time.sleep(0.1)
        self.swaps.append(Swap(version, at, after))
        progress.print(f"  {version} " + ("is not in use" if after is None else f"in use after {after:.1f} s"))

    def _memory(self) -> dict[str, float]:
        records = Records(get_settings().home / "run")
        stack = {name: found for name in ("kafka", "redis", COLLECTOR) if (found := records.running(name))}
        processes = {f"service, process {one.pid}": one for one in self.service.processes()}
        processes |= {f"stream, {one.name()} {one.pid}": one for one in self.stream.processes()} | stack
        sizes = {}
        for name, process in processes.items():
            try:
                size = process.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                continue  # of a start that is over by now
            if size:  # a process that has ended, but was not asked for its end, has none
                sizes[name] = size
        return sizes

    def _names(self) -> list[str]:
        """Of all processes, as of the last sample."""
        return sorted(self.samples[-1].memory) if self.samples else []


def _left_out(service: Service) -> Counter[str]:
    """How many answers did without something, and how many fell back to what, by the service's own count."""
    counts: Counter[str] = Counter()
    shown = httpx.get(f"http://127.0.0.1:{service.port}/metrics", timeout=_PATIENCE_SECONDS).text
    for family in text_string_to_metric_families(shown):
        for sample in family.samples:
            if sample.name == "shelfwise_degraded_answers_total":
                counts[sample.labels["missing"]] += int(sample.value)
            elif sample.name == "shelfwise_requests_total":
                counts[f"fallback {sample.labels['fallback']}"] += int(sample.value)
    return counts


def two_models() -> list[str]:
    """Two versions in the order in which they are to be promoted; the latter is in force already, and will be in the end."""
    first = in_force()
    progress.print("training a second model ...")
    run("training", "run", settings={"TRAINING__SEED": 8})
    second = in_force()
    if not first or not second or first == second:
        raise SystemExit("two models are needed to swap, but training gave one")
    return [first, second]


@contextmanager
def soaking(
    folder: Path, sizes: Mapping[str, int], live: float
) -> Iterator[tuple[Service, Service, StreamProcess, list[str], list[str]]]:
    """A running stack with two models: service, baseline, stream, customers and versions."""
    with stack(folder, {**SMALL_MODELS, **WHOLE_ANSWERS}):
        customers = prepare(**sizes)
        models = two_models()
        with our_service(folder) as service, empty_service(folder) as empty, live_events(live) as stream:
            yield service, empty, stream, customers, models


def main() -> int:
    """Soak and print tables; 1 if a criterion is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="measured (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=30.0, help="requests per second: half of what is sustained (default: %(default)s)"
    )
    parser.add_argument("--live", type=float, default=20.0, help="events per second meanwhile (default: %(default)s)")
    parser.add_argument("--products", type=int, default=5_000, help="of the shop (default: %(default)s)")
    parser.add_argument("--events", type=int, default=100_000, help="of its history (default: %(default)s)")
    parser.add_argument("--customers", type=int, default=10_000, help="who were there (default: %(default)s)")
    parser.add_argument("--k", type=int, default=20, help="recommendations per request (default: %(default)s)")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between samples (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds asked before (default: %(default)s)")
    args = parser.parse_args()
    sizes = {"events": args.events, "customers": args.customers, "products": args.products}
    with tempfile.TemporaryDirectory() as folder, soaking(Path(folder), sizes, args.live) as running:
        service, empty, stream, customers, models = running
        body = bodies(customers, args.k)
        seconds = args.minutes * 60
        progress.print(f"{args.minutes:g} minutes at {args.rate:g} requests/s, after {args.warm_up:g} s of warm-up ...")
        soak = Soak(service, empty, stream, body, models, args.rate, args.live, seconds, args.warm_up, args.every)
        verdicts = soak.run()
        show(*soak.tables(), verdict_table(verdicts))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """What was met and what was not."""
    table = Table(title="verdict", title_justify="left", show_header=False)
    for verdict in verdicts:
        table.add_row("met" if verdict.passed else "NOT MET", verdict.criterion, verdict.says)
    return table


if __name__ == "__main__":
    sys.exit(main())
