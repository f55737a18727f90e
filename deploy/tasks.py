"""Commands that the stack runs to their end: formatting, `feast apply`, the steps of the demo."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy import processes
from deploy.errors import StackError
from deploy.interrupts import held, ignored

PREFIX = "task:"
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]")
_SPINNER = re.compile(r"[\u2800-\u28ff]")
_LINE_END = re.compile(rb"[\r\n]+")


@dataclass(frozen=True)
class Task:
    """A command with the name under which its output is kept in ``logs/``."""

    name: str
    command: Sequence[str]


def run(home: Path, task: Task, on_line: Callable[[str], None], live: bool = False) -> None:
    """Run a command and pass on what it prints, line by line.

    Args:
        home: the stack's home; the whole output is kept in its ``logs/``.
        task: what to run.
        on_line: gets each line without its end and without terminal codes.
        live: give the command a terminal, so that it draws its progress as it would for a person.

    Raises:
        StackError: the command failed; the message has its last lines. After this or an interrupt, nothing that the
            command started is left running.
    """
    log = home / "logs" / f"{task.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    name = PREFIX + task.name
    process: subprocess.Popen[bytes] | None = None
    try:
        with held():
            reader, writer = pty.openpty() if live else os.pipe()
            process = processes.start(home, name, task.command, writer, {"COLUMNS": "100"})
            os.close(writer)
        with log.open("w") as file, os.fdopen(reader, "rb", buffering=0) as output:
            file.write(f"$ {shlex.join(task.command)}\n")
            for line in _lines(output.fileno()):
                file.write(line + "\n")
                on_line(line)
        code = process.wait()
    finally:
        with ignored():
            processes.end(lambda: processes.marked(home, name.__eq__), _alive(process))
    if code != 0:
        raise StackError(f"{task.name} failed (exit code {code}):\n{tail(log)}")


def sweep(home: Path) -> None:
    """End what is left of tasks whose command was killed; only for the holder of the stack's lock."""
    processes.end(lambda: processes.marked(home, lambda name: name.startswith(PREFIX)), None)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log with its path, indented for an error message."""
    try:
        last = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        last = []
    return "\n".join([*(f"    {line}" for line in last), f"(all of it: {log})"])


def _lines(reader: int) -> Iterator[str]:
    """What is printed, without empty lines and without the repetitions that an animation makes."""
    last = ""
    for line in _raw_lines(reader):
        if (text := _plain(line)) and text != last:
            yield text
            last = text


def _raw_lines(reader: int) -> Iterator[bytes]:
    rest = b""
    while chunk := _read(reader):
        *whole, rest = _LINE_END.split(rest + chunk)
        yield from whole
    yield rest


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except OSError:  # the way a terminal says that nobody writes to it any more
        return b""


def _plain(line: bytes) -> str:
    text = _TERMINAL_CODES.sub("", line.decode(errors="replace"))
    return _SPINNER.sub("", text).strip()


def _alive(process: subprocess.Popen[bytes] | None) -> psutil.Process | None:
    return psutil.Process(process.pid) if process is not None and process.poll() is None else None
