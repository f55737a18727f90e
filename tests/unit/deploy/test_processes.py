"""Everything that a service or a task started is found and ended; an interrupt comes at the right moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import until

from deploy import interrupts, processes, tasks
from deploy.errors import StackError
from deploy.tasks import Task

# Starts a child that leaves the session, as Spark's and BentoML's do, and neither listens to SIGTERM.
STUBBORN_FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


def test_marked_processes_are_found_and_ended_even_if_they_leave_the_session_and_ignore_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LEADER_GRACE_SECONDS", 0.3)
    # Long enough for a busy machine to end what was killed.
    monkeypatch.setattr(processes, "GROUP_GRACE_SECONDS", 2.0)
    reader, writer = os.pipe()
    leader = processes.start(tmp_path, "service", [sys.executable, "-c", STUBBORN_FAMILY], writer)
    os.close(writer)
    with os.fdopen(reader) as output:  # the whole line: unbuffered, its end is a write of its own, which must not fail
        assert output.readline() == "started\n"

    def find() -> list[psutil.Process]:
        return processes.marked(tmp_path, "service".__eq__)

    until(lambda: len(find()) == 2)
    assert processes.marked(tmp_path / "other", lambda _: True) == []

    processes.end(find, psutil.Process(leader.pid))

    assert find() == []
    leader.wait()


def test_a_task_passes_on_its_lines_without_terminal_codes_and_keeps_a_log(tmp_path: Path) -> None:
    code = r"print('\x1b[31mred\x1b[0m'); print('10%\r20%'); print('end', end='')"
    lines: list[str] = []

    tasks.run(tmp_path, Task("talk", [sys.executable, "-c", code]), lines.append)

    assert lines == ["red", "10%", "20%", "end"]
    assert (tmp_path / "logs" / "talk.log").read_text().splitlines()[1:] == lines


def test_a_live_task_sees_a_terminal(tmp_path: Path) -> None:
    lines: list[str] = []
    command = [sys.executable, "-c", "import sys; print(sys.stdout.isatty())"]

    tasks.run(tmp_path, Task("terminal", command), lines.append, live=True)

    assert lines == ["True"]


def test_a_failed_task_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such shop')"]

    with pytest.raises(StackError, match=r"(?s)catalog failed.*exit code 1.*no such shop"):
        tasks.run(tmp_path, Task("catalog", command), lambda _: None)


def test_an_interrupted_task_leaves_no_process(tmp_path: Path) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    family = STUBBORN_FAMILY.replace("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "")
    with pytest.raises(KeyboardInterrupt):
        tasks.run(tmp_path, Task("family", [sys.executable, "-c", family]), interrupt)

    assert processes.marked(tmp_path, lambda _: True) == []


def test_an_interrupt_waits_for_the_end_of_a_held_block() -> None:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    interrupts.install()
    passed = []

    def hold() -> None:
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGTERM)
            passed.append("in the block")

    try:
        with pytest.raises(KeyboardInterrupt):
            hold()
        with interrupts.ignored():
            os.kill(os.getpid(), signal.SIGINT)
            passed.append("cleaned up")
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)

    assert passed == ["in the block", "cleaned up"]


def test_help_needs_no_settings() -> None:
    said = subprocess.run([sys.executable, "-m", "deploy", "--help"], capture_output=True, text=True, check=True)

    for command in ("up", "down", "status", "logs", "demo"):
        assert command in said.stdout
