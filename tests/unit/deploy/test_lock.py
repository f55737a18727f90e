"""One command at a time, and no lock survives its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.errors import StackError
from deploy.lock import exclusive

HOLDER = """
import sys
from pathlib import Path
from deploy.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "run" / "stack.lock"
    with exclusive(path), pytest.raises(StackError, match=f"process {os.getpid()}"), exclusive(path):
        pass


def test_it_can_be_taken_again_after_release(tmp_path: Path) -> None:
    path = tmp_path / "stack.lock"
    for _ in range(2):
        with exclusive(path):
            assert path.read_text() == str(os.getpid())


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "stack.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StackError, match=f"process {holder.pid}"), exclusive(path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    with exclusive(path):
        pass
