"""Starting processes so that all they start can be found again, and ending them to the last one.

Every process gets a session of its own and two environment variables that its children inherit: the stack's home and
the name of the service. The children of Spark and BentoML partly leave the process group, but they keep these.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from feature_repo.settings import HOME_VARIABLE, PROJECT_ROOT, SERVICE_VARIABLE

# How long processes get to end by themselves, first the leading one alone, then all that is left of its group.
LEADER_GRACE_SECONDS = 20.0
GROUP_GRACE_SECONDS = 5.0


def environment(home: Path, name: str) -> dict[str, str]:
    """The environment of a service's process: this one's, the marks, and no usage reporting by anybody."""
    return {
        **os.environ,
        HOME_VARIABLE: str(home),
        SERVICE_VARIABLE: name,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONUNBUFFERED": "1",
        "FEAST_USAGE": "False",
        "BENTOML_DO_NOT_TRACK": "True",
    }


def start(
    home: Path, name: str, command: Sequence[str], output: int, extra: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a marked process in a session of its own; ``output`` is the file descriptor that it writes to."""
    return subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env={**environment(home, name), **(extra or {})},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def marked(home: Path, belongs: Callable[[str], bool]) -> list[psutil.Process]:
    """Live processes of this stack whose service name ``belongs`` accepts."""
    found = []
    for process in psutil.process_iter():
        try:
            variables = process.environ()
            if (
                process.pid != os.getpid()
                and variables.get(HOME_VARIABLE) == str(home)
                and (name := variables.get(SERVICE_VARIABLE))
                and belongs(name)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def session(leader: int) -> list[psutil.Process]:
    """Live processes of the session that a live leader founded."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end(find: Callable[[], list[psutil.Process]], leader: psutil.Process | None) -> None:
    """End a service: ask its leading process, then all that ``find`` still finds, then kill what does not listen.

    Args:
        find: lists the processes that are to end, as they are at the moment of the call.
        leader: the one that knows how to end the others in good order, if it is alive.
    """
    if leader is not None:
        _signal([leader], psutil.Process.terminate)
        psutil.wait_procs([leader], timeout=LEADER_GRACE_SECONDS)
    for send in (psutil.Process.terminate, psutil.Process.kill):
        rest = find()
        _signal(rest, send)
        psutil.wait_procs(rest, timeout=GROUP_GRACE_SECONDS)


def _signal(processes: Sequence[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            send(process)
        except psutil.NoSuchProcess:
            continue
