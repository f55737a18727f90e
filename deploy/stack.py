"""The stack as a whole: up in order and all or nothing, down in reverse."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from deploy import probes, tasks
from deploy.airflow import airflow_services
from deploy.errors import StackError
from deploy.interrupts import ignored
from deploy.ports import check_free
from deploy.probes import Readiness
from deploy.services import EXTRAS, Service, all_services, feast_apply
from deploy.supervisor import Supervisor
from deploy.tasks import Task
from feature_repo.settings import Settings

# They read the feature registry, so the definitions must have been applied before they start.
NEED_FEATURES = {"stream", "serving", "cdc"}


class Stack:
    """Commands on the services of one home; whoever calls holds the stack's lock."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self.home = settings.home.resolve()
        self.settings = settings.model_copy(update={"home": self.home})
        self.console = console
        self.services = {**all_services(self.settings), **airflow_services(self.settings)}
        self.supervisor = Supervisor(self.home, settings.start_timeout_seconds)

    def choose(self, names: Iterable[str], extra: str | None = None) -> list[Service]:
        """Services by name, in starting order; those of every day if no name is given.

        Args:
            extra: one of :data:`deploy.services.EXTRAS`, whose services are wanted as well.

        Raises:
            StackError: there is no service of such a name.
        """
        wanted = set(names)
        if unknown := wanted - set(self.services):
            raise StackError(f"there is no service {', '.join(sorted(unknown))}; there are {', '.join(self.services)}")
        more = EXTRAS[extra] if extra else ()
        return [s for s in self.services.values() if s.name in more or (s.name in wanted if wanted else s.everyday)]

    @contextmanager
    def all_or_nothing(self) -> Iterator[list[Service]]:
        """Yields a list to enter what is being started; if the block fails or is interrupted, all in it is stopped."""
        started: list[Service] = []
        try:
            yield started
        except BaseException:
            with ignored():
                if started:
                    self.console.print("Stopping what this command had started ...")
                    self.stop(started)
            raise

    def up(self, services: Sequence[Service], started: list[Service], features_applied: bool = False) -> None:
        """Start what does not run yet and wait until everything is ready.

        Args:
            services: in starting order.
            started: gets every service that this call starts, before it does.
            features_applied: `feast apply` has just been run.

        Raises:
            StackError: something could not be started; what was, is still running.
        """
        tasks.sweep(self.home)
        self._check_reachable(service for service in services if service.elsewhere)
        self._check_settled(service for service in services if not service.elsewhere)
        absent = [s for s in services if not s.elsewhere and self.supervisor.running(s.name) is None]
        for service in absent:
            # Children of a leader that was killed would hold the ports and write to the same files.
            self.supervisor.stop(service.name)
            service.check()
        check_free(listener for service in absent for listener in service.listeners)
        for _, stage in groupby(services, key=lambda service: service.stage):
            members = list(stage)
            starting = [service for service in members if service in absent]
            if not features_applied and NEED_FEATURES & {service.name for service in starting}:
                self.run(feast_apply())
                features_applied = True
            self._start(starting, started)
            self._wait(members)

    def _check_reachable(self, services: Iterable[Service]) -> None:
        for service in services:
            if self.supervisor.readiness(service) is not Readiness.READY:
                raise StackError(
                    f"{service.name} at {service.address} does not answer. Start it there, or unset "
                    f"{service.elsewhere} to have one run on this machine."
                )

    def _check_settled(self, services: Iterable[Service]) -> None:
        for service in services:
            if (address := self.supervisor.address(service)) != service.address:
                raise StackError(
                    f"{service.name} runs at {address}, where it was started; to have it at {service.address}, "
                    f"stop it first: `.venv/bin/python -m deploy down {service.name}`"
                )

    def _start(self, services: Sequence[Service], started: list[Service]) -> None:
        for service in services:
            for task in service.prepare():
                self.run(task)
            started.append(service)
            self.supervisor.start(service)

    def _wait(self, services: Sequence[Service]) -> None:
        begun = time.monotonic()

        def report(service: Service, readiness: Readiness) -> None:
            if service.name == "kafka":
                probes.ensure_topics(self.settings.kafka)
            mark = "[green]✓[/]" if readiness is Readiness.READY else "[yellow]![/]"
            note = "" if readiness is Readiness.READY else " (alive, but answers with fallbacks for now)"
            taken = time.monotonic() - begun
            self.console.print(f"{mark} {service.name:10} {service.address:32} {taken:5.1f} s{note}", highlight=False)

        with self.console.status(f"waiting for {', '.join(service.name for service in services)}"):
            self.supervisor.wait_ready(services, report)

    def run(self, task: Task, show: bool = False) -> None:
        """Run a command to its end and print its time.

        Args:
            task: what to run.
            show: print what it says; on a terminal its latest line is shown in either case while it runs.
        """
        begun = time.monotonic()
        live = self.console.is_terminal
        with self.console.status(task.name) as status:

            def follow(line: str) -> None:
                if live:
                    status.update(f"{task.name} [dim]{escape(line[-90:])}[/]")
                elif show:
                    self.console.print(Text(f"  {line}", style="dim"), soft_wrap=True)

            tasks.run(self.home, task, follow, live)
        taken = time.monotonic() - begun
        self.console.print(f"[green]✓[/] {task.name:43} {taken:5.1f} s", highlight=False)

    def stop(self, services: Sequence[Service]) -> bool:
        """End services in reverse order; returns whether any was there."""
        found = False
        for service in reversed(services):
            with self.console.status(f"stopping {service.name}"):
                stopped = self.supervisor.stop(service.name)
            if stopped:
                self.console.print(f"stopped {service.name}", highlight=False)
            found = found or stopped
        return found

    def down(self, names: Sequence[str]) -> None:
        """End the named services, or everything of this home, tasks that lost their command included."""
        services = self.choose(names) if names else list(self.services.values())
        with ignored():
            found = self.stop(services)
            if not names:
                tasks.sweep(self.home)
            if not found:
                self.console.print("Nothing was running.")
