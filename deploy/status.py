"""The table of `make status`."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
from rich.console import Console
from rich.table import Table

from deploy.probes import Readiness
from deploy.services import Service
from deploy.stack import Stack

_COLOURS = {"up": "green", "degraded": "yellow", "starting": "yellow", "unreachable": "red", "down": "red"}


@dataclass(frozen=True)
class Status:
    """A service as it is now."""

    service: Service
    state: str  # up, degraded (answers with fallbacks), starting, down, or for somebody else's server unreachable
    pid: int | None = None
    uptime: float = 0.0  # seconds
    memory: int = 0  # bytes resident, all processes of the service

    @property
    def is_up(self) -> bool:
        return self.state in ("up", "degraded")


def statuses(stack: Stack) -> list[Status]:
    """Every service of every day, and the others if they were started."""
    services = stack.services.values()
    return [_status(stack, service) for service in services if service.everyday or stack.supervisor.known(service.name)]


def show(stack: Stack, console: Console) -> bool:
    """Print the table; returns whether all is up."""
    found = statuses(stack)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("service", "state", "process", "uptime", "memory", "address"):
        table.add_column(heading, justify="right" if heading in ("process", "uptime", "memory") else "left")
    for status in found:
        table.add_row(
            status.service.name,
            f"[{_COLOURS[status.state]}]{status.state}[/]",
            str(status.pid or "-"),
            _duration(status.uptime) if status.pid else "-",
            f"{status.memory / 2**20:.0f} MB" if status.pid else "-",
            f"{status.service.address} (not run by this stack)"
            if status.service.elsewhere
            else stack.supervisor.address(status.service),
        )
    console.print(table)
    return all(status.is_up for status in found)


def _status(stack: Stack, service: Service) -> Status:
    if service.elsewhere:
        ready = stack.supervisor.readiness(service) is Readiness.READY
        return Status(service, "up" if ready else "unreachable")
    leader = stack.supervisor.running(service.name)
    if leader is None:
        return Status(service, "down")
    names = {Readiness.READY: "up", Readiness.DEGRADED: "degraded", Readiness.NOT_READY: "starting"}
    state = names[stack.supervisor.readiness(service)]
    memory = sum(_memory(process) for process in stack.supervisor.members(service.name, leader))
    return Status(service, state, leader.pid, time.time() - leader.create_time(), memory)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
