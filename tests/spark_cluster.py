"""Spark's own standalone cluster, from the pyspark package: a master and workers on loopback."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark
from own_stack import free_ports
from waiting import until

START_SECONDS = 240.0
SPARK_HOME = Path(pyspark.__file__).parent
# As many as topics have partitions: one worker is enough for the stream.
CORES = 4
MEMORY = "768m"


@dataclass(frozen=True)
class SparkCluster:
    """What runs."""

    url: str
    workers: list[subprocess.Popen[bytes]]
    folder: Path

    def busy(self) -> int:
        """How many workers have been given work."""
        return len({executor.parent.parent for executor in self.folder.glob("worker-*/app-*/*")})


@contextmanager
def spark_cluster(folder: Path, workers: int = 2) -> Iterator[SparkCluster]:
    """A master and its workers; their executors end with them."""
    [port] = free_ports(1)
    url = f"spark://127.0.0.1:{port}"
    with ExitStack() as running:
        _start(running, folder / "master", "master.Master", "--port", str(port))
        of_worker = ("--cores", str(CORES), "--memory", MEMORY, "--work-dir")
        started = [
            _start(running, place, "worker.Worker", *of_worker, str(place), url)
            for place in (folder / f"worker-{number}" for number in range(workers))
        ]
        log, told = folder / "master" / "log", re.compile(r"Registering worker (\S+)")  # some more than once
        until(lambda: len(set(told.findall(log.read_text()))) == workers, START_SECONDS)
        yield SparkCluster(url, started, folder)


def _start(running: ExitStack, folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    folder.mkdir()
    own = {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
    own |= {"SPARK_DAEMON_JAVA_OPTS": "-Dspark.master.rest.enabled=false"}
    others = {key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "SHELFWISE_"))}
    command = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}"]
    command += ["--host", "127.0.0.1", "--webui-port", "0", *arguments]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env={**others, **own}, stdout=log, stderr=log)
    running.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)
