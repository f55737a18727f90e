"""How time and memory of training grow with the number of events.

For each size a shop is invented and loaded by the project's own commands, and a model is trained on all of it:

  load      `python -m ingestion backfill --offline-only`, from process start to end: the baseline, as it must read and aggregate
            every event, too
  train     `python -m training run`, from process start to end, with its evaluation
  largest   the steps of training that took longest
  memory    the most resident memory of training's process

Most of what training costs is bounded by its settings: the latest `SHELFWISE_TRAINING__MAX_LISTS` lists and as many turns and
purchases as `SHELFWISE_TRAINING__MAX_TURNS` become rows. What grows is reading the events and the ALS.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from stream_stack import ROOT, progress, run, show, simulate, stack, timed

SIZES = (100_000, 300_000, 1_000_000)
EVENTS_PER_CUSTOMER = 10
STEPS_SHOWN = 3


@dataclass(frozen=True)
class Trained:
    """What was measured at one size: seconds, those of each step, and bytes."""

    events: int
    load_seconds: float
    train_seconds: float
    steps: dict[str, float]
    memory: int


def measure(events: int, products: int) -> Trained:
    """Load and train, in a running stack where nothing has happened yet."""
    progress.print("  inventing a shop ...")
    history = simulate(events, max(1, events // EVENTS_PER_CUSTOMER), products)
    progress.print("  loading it ...")
    load_seconds, _ = timed("ingestion", "backfill", str(history), "--offline-only")
    run("feast.cli.cli", "-c", "feature_repo", "apply")
    progress.print("  training ...")
    report = history.parent / "report.json"
    begun = time.monotonic()
    memory = _train(report)
    return Trained(events, load_seconds, time.monotonic() - begun, json.loads(report.read_text())["seconds"], memory)


def _train(report: Path) -> int:
    """Train; returns the most memory that it held."""
    command = [sys.executable, "-m", "training", "run", "--report", str(report)]
    with (report.parent / "training.log").open("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            log.seek(0)
            raise SystemExit(f"training failed:\n{log.read()}")
    return usage.ru_maxrss * 1024


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = f"sizes (default: {' '.join(str(size) for size in SIZES)})"
    parser.add_argument("--events", type=int, nargs="+", default=SIZES, metavar="N", help=sizes)
    parser.add_argument("--products", type=int, default=5_000, help="products of the shops (default: %(default)s)")
    args = parser.parse_args()
    measured = []
    for events in args.events:
        progress.print(f"{events:,} events ...")
        with tempfile.TemporaryDirectory() as folder, stack(Path(folder)):
            measured.append(measure(events, args.products))
    show(_table(measured))


def _table(measured: list[Trained]) -> Table:
    table = Table(title="training, seconds", title_justify="left")
    for heading in ("events", "load", "train", "ratio", "memory, MB", "largest steps"):
        table.add_column(heading, justify="left" if heading == "largest steps" else "right")
    for one in measured:
        largest = sorted(one.steps.items(), key=lambda step: -step[1])[:STEPS_SHOWN]
        table.add_row(
            f"{one.events:,}",
            f"{one.load_seconds:.0f}",
            f"{one.train_seconds:.0f}",
            f"{one.train_seconds / one.load_seconds:.1f}x",
            f"{one.memory / 1e6:,.0f}",
            "\n".join(f"{name}: {seconds:.0f}" for name, seconds in largest),
        )
    return table


if __name__ == "__main__":
    main()
