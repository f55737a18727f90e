"""``make demo``: the whole path with an invented shop, from its history to a customer's changed recommendations."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from deploy.demo_show import Round, Show
from deploy.services import Service, collector_listener, feast, feast_apply, python_module, serving_listener
from deploy.stack import Stack
from deploy.tasks import Task
from feature_repo.models import promotions

STEPS = 10


class Demo:
    """One run of the demo; everything that it starts is stopped again if it fails or is interrupted."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._settings = stack.settings
        self._console = stack.console
        self._times: list[tuple[str, float, str]] = []
        self._started: list[Service] = []
        # Once a lasting step runs again, the results of those after it are out of date.
        self._anew = False
        self._begun = time.monotonic()

    def run(self) -> None:
        """Run all steps and leave the stack running.

        Raises:
            StackError: a step failed; what was started has been stopped again.
        """
        simulator, warehouse = self._stack.home / "simulator", self._settings.warehouse
        history, catalog = simulator / "history", simulator / "catalog.parquet"
        with self._stack.all_or_nothing() as self._started:
            self._step("Start Kafka and Redis", lambda: self._up("kafka", "redis"))
            self._step("Register the features: feast apply", lambda: self._stack.run(feast_apply(), show=True))
            self._once("Invent a shop's history", Task("history", _ingestion("simulate", "history")), history)
            self._once("Load its catalogue", Task("catalog", _ingestion("catalog", str(catalog))), warehouse)
            self._once("Backfill its history", Task("backfill", _ingestion("backfill", str(history))), warehouse)
            self._once("Train", Task("training", python_module("training", "run")), promotions.path())
            self._step("Features online: feast materialize-incremental", self._materialise)
            self._step("Start collector, stream and service", lambda: self._up("collector", "stream", "serving"))
            self._step("Send live traffic", lambda: self._up("traffic"))
            played: list[Round] = []
            self._step("Click, and see what changes", lambda: played.append(self._play()))
        self._summary()
        self._farewell(played[0].customer)

    def _step(self, title: str, action: Callable[[], object]) -> None:
        self._console.print(f"\n[bold]\\[{len(self._times) + 1}/{STEPS}] {title}[/]", highlight=False)
        begun = time.monotonic()
        note = action()
        self._times.append((title, time.monotonic() - begun, note if isinstance(note, str) else ""))

    def _once(self, title: str, task: Task, result: Path) -> None:
        mark = self._stack.home / "demo" / f"{task.name}.done"

        def run() -> str:
            if mark.exists() and result.exists() and not self._anew:
                self._console.print("already there")
                return "already there"
            self._anew = True
            mark.unlink(missing_ok=True)
            self._stack.run(task, show=True)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
            return ""

        self._step(title, run)

    def _up(self, *names: str) -> None:
        if self._anew and "serving" in names:
            self._stack.stop(self._stack.choose(["serving"]))  # if it runs, it has an older model
        self._stack.up(self._stack.choose(names), self._started, features_applied=True)

    def _materialise(self) -> str:
        if self._stack.supervisor.running("stream"):
            self._console.print("not needed: the stream is running and keeps them fresh")
            return "the stream does it"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        self._stack.run(Task("feast-materialize", feast("materialize-incremental", now)), show=True)
        return ""

    def _play(self) -> Round:
        show = Show(self._settings, self._console)
        show.recommend("demo-first")
        since_start = time.monotonic() - self._begun
        self._console.print(f"First recommendation {since_start:.0f} s after the start of the demo", highlight=False)
        return show.play()

    def _summary(self) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("")
        for title, seconds, note in self._times:
            table.add_row(title, f"{seconds:.1f}", note)
        table.add_row("[bold]all[/]", f"[bold]{time.monotonic() - self._begun:.1f}[/]", "")
        self._console.print()
        self._console.print(table)

    def _farewell(self, customer: str) -> None:
        serving, collector = serving_listener(self._settings).url, collector_listener(self._settings).url
        json_type = "-H 'Content-Type: application/json'"
        self._console.print("\n[bold]The stack goes on running:[/]")
        for name, address in (
            ("storefront", f"{serving}  (open it in a browser, click, and watch what changes)"),
            ("recommendations", f"{serving}/docs  (to try the API)"),
            ("collector", f"{collector}  (point a Segment tracker here)"),
            ("Kafka", self._settings.kafka.servers),
            ("Redis", self._settings.redis.address),
            ("logs and data", str(self._stack.home)),
        ):
            self._plain(f"  {name:16}{address}")
        self._console.print("\n[bold]To play on:[/]")
        for command in (
            f'curl {serving}/recommend {json_type} -d \'{{"anonymous_id": "{customer}", "k": 5}}\'',
            f'curl {serving}/recommend {json_type} -d \'{{"scenario": "trending", "k": 5}}\'',
            ".venv/bin/feast -c feature_repo ui --host 127.0.0.1",
            "make status",
            "make logs",
            "make down",
        ):
            self._plain(f"  {command}")

    def _plain(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _ingestion(*arguments: str) -> list[str]:
    return python_module("ingestion", *arguments)
