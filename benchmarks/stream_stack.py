"""What the benchmarks of the stream share: Kafka and Redis of their own, the project's commands, and the stream's process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from own_stack import OwnStack, variables_of  # noqa: E402
from own_stack import free_ports as free_ports  # noqa: E402

from feature_repo import tables  # noqa: E402
from feature_repo.online.redis_client import connect  # noqa: E402
from feature_repo.settings import get_settings  # noqa: E402
from ingestion import offsets  # noqa: E402

START_SECONDS = 180.0
STOP_SECONDS = 120.0
JAVA_SECONDS = 10.0
# Where output goes to a file or a pipe, tables need not fit a screen.
WIDTH_OF_FILES = 130

progress = Console(stderr=True, highlight=False)


@contextmanager
def stack(folder: Path, settings: Mapping[str, object] | None = None) -> Iterator[None]:
    """Kafka and Redis on free ports, the features registered, and the settings of this process pointing there.

    All of it ends with the block, also on Ctrl-C and SIGTERM.

    Args:
        folder: where it keeps its data.
        settings: further settings by the end of their variables' names, for example ``STREAM__OFFLINE_SECONDS``.
    """
    # Metrics have no port of their own here: another stack on this machine may use it.
    further = {"HEALTH__PORT": 0, **(settings or {})}
    own = OwnStack({**OwnStack.at(folder).variables, **variables_of(further)})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with own.exported():
        try:
            run("deploy", "up", "kafka", "redis")
            run("feast.cli.cli", "-c", "feature_repo", "apply")
            yield
        finally:
            own.deploy("down")


def run(*arguments: str, settings: Mapping[str, object] | None = None) -> str:
    """``python -m ...``, which must succeed; returns its output.

    Args:
        arguments: the module and its arguments.
        settings: of this command alone, by the end of their variables' names.
    """
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables_of(settings or {})}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(*arguments: str) -> tuple[float, str]:
    """``python -m ...``, which must succeed; returns its seconds from start to end, and its output."""
    begun = time.monotonic()
    output = run(*arguments)
    return time.monotonic() - begun, output


def simulate(events: int, customers: int, products: int) -> Path:
    """The history of an invented shop; returns its folder of Parquet files."""
    sizes = {"--events": events, "--customers": customers, "--products": products}
    run("ingestion", "simulate", "history", *(str(word) for size in sizes.items() for word in size))
    return get_settings().home / "simulator" / "history"


def connect_redis() -> Any:
    """A client of the stack's Redis."""
    settings = get_settings().redis
    return connect(settings, settings.timeout_seconds)


def waiting_events() -> int:
    """How many events of the topic the features in the offline store do not have yet."""
    first, following = offsets.in_kafka()
    place = offsets.reachable(offsets.covered(tables.CUSTOMER_ACTIVITY), first, following)
    return sum(following.values()) - sum(place.values())


class StreamProcess:
    """``python -m ingestion stream``; a context manager that stops it at its end."""

    def __enter__(self) -> StreamProcess:
        self._log = get_settings().home / "stream.log"
        with self._log.open("w") as log:
            command = [sys.executable, "-m", "ingestion", "stream"]
            # In a session of its own, as `make up` starts it.
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        children = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self.ask_to_stop()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Spark's Java ends a moment after Python has.
        for child in psutil.wait_procs(children, JAVA_SECONDS)[1]:
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def ask_to_stop(self) -> None:
        """Ask it to write what is waiting and to end; returns at once."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait_until_ready(self) -> None:
        """Wait until it has read all there is in Kafka."""
        ready, give_up = get_settings().home / "run" / "stream.ready", time.monotonic() + START_SECONDS
        while not ready.exists():
            self.check()
            if time.monotonic() > give_up:
                raise SystemExit(f"the stream was not ready within {START_SECONDS:.0f} s:\n{self._log.read_text()}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raises what it said if it has failed."""
        if self._process.poll():
            raise SystemExit(f"the stream ended:\n{self._log.read_text()}")

    def processes(self) -> list[psutil.Process]:
        """Its own, and those that it started."""
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Processor time used so far by it and the processes that it started."""
        used = [one.cpu_times() for one in self.processes()]
        return sum(times.user + times.system + times.children_user + times.children_system for times in used)


def show(*tables: object) -> None:
    """Print tables of results."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    for table in tables:
        console.print(table)
