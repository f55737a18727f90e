"""Starts, watches and ends single services. It is no daemon: all it knows is in the pid files under the home."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from deploy import processes
from deploy.errors import StackError
from deploy.interrupts import held
from deploy.probes import Readiness
from deploy.records import Record, Records
from deploy.services import Service
from deploy.tasks import tail

POLL_SECONDS = 0.2
# How long a service may answer with fallbacks only before that is taken for its state and not for its start.
DEGRADED_AFTER_SECONDS = 15.0


class Supervisor:
    """The processes of one stack, whose home tells it from others."""

    def __init__(self, home: Path, start_timeout: float) -> None:
        self.home = home
        self._records = Records(home / "run")
        self._start_timeout = start_timeout
        # Those started by this very process, which must collect their exit codes.
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, name: str) -> Path:
        """Where a service's output goes."""
        return self.home / "logs" / f"{name}.log"

    def running(self, name: str) -> psutil.Process | None:
        """The leading process of a service if it is alive."""
        if name in self._children:
            self._children[name].poll()
        return self._records.running(name)

    def address(self, service: Service) -> str:
        """Where the service is: what runs may have been started with other settings than there are now."""
        record = self._records.load(service.name)
        return record.address if record and record.process() else service.address

    def known(self, name: str) -> bool:
        """Whether the service was started and not stopped since, alive or not."""
        return self._records.load(name) is not None

    def readiness(self, service: Service) -> Readiness:
        """What the service itself says."""
        return service.probe(self._records.load(service.name))

    def members(self, name: str, leader: psutil.Process | None) -> list[psutil.Process]:
        """All live processes of a service: its leader's session, and those that left it but carry its mark."""
        found = processes.marked(self.home, name.__eq__)
        if leader is not None:
            found += [process for process in processes.session(leader.pid) if process not in found]
        return found

    def start(self, service: Service) -> None:
        """Start a service that does not run; returns before it is ready."""
        command = service.command()
        output = _open_log(self.log(service.name))
        try:
            with held():
                child = processes.start(self.home, service.name, command, output, service.environment())
                self._children[service.name] = child
                self._records.save(Record.of(service.name, psutil.Process(child.pid), command, service.address))
        finally:
            os.close(output)

    def wait_ready(self, services: Sequence[Service], report: Callable[[Service, Readiness], None]) -> None:
        """Wait until all are ready, or answer with fallbacks and seem to stay that way.

        Args:
            services: started or found running.
            report: told once about each service when its state is known.

        Raises:
            StackError: one ended or was not ready in time; the message has the end of its log.
        """
        begun = time.monotonic()
        degraded_since: dict[str, float] = {}
        waiting = list(services)
        while waiting:
            for service in list(waiting):
                alive = bool(service.elsewhere) or self.running(service.name) is not None
                readiness = self.readiness(service)
                now = time.monotonic()
                if not alive:
                    raise StackError(f"{service.name} ended while starting:\n{tail(self.log(service.name))}")
                if readiness is Readiness.DEGRADED:
                    settled = now - degraded_since.setdefault(service.name, now) > DEGRADED_AFTER_SECONDS
                else:
                    settled = readiness is Readiness.READY
                if settled:
                    waiting.remove(service)
                    report(service, readiness)
                elif now - begun > self._start_timeout:
                    raise StackError(self._too_slow(service))
            time.sleep(POLL_SECONDS if waiting else 0)

    def _too_slow(self, service: Service) -> str:
        return (
            f"{service.name} runs, but was not ready within {self._start_timeout:.0f} s "
            f"(SHELFWISE_START_TIMEOUT_SECONDS):\n{tail(self.log(service.name))}"
        )

    def stop(self, name: str) -> bool:
        """End a service with all its processes; returns whether there were any."""
        leader = self.running(name)
        found = bool(self.members(name, leader))
        processes.end(lambda: self.members(name, leader), leader)
        if name in self._children:
            self._children.pop(name).wait()
        self._records.remove(name)
        return found


def _open_log(path: Path) -> int:
    """Start a new log and keep the one before as ``NAME.log.1``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        os.replace(path, path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
