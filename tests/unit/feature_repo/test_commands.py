"""How a command ends."""

from __future__ import annotations

import subprocess
import sys

_ENDING = """
import atexit, threading, time
from feature_repo.commands import leave

class Kept:
    def __del__(self):
        print("taken apart", flush=True)

kept = Kept()
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.3), print("thread ended"))).start()
print("result")
leave(3)
"""


def test_what_is_at_work_ends_first_and_the_interpreter_stays_whole() -> None:
    done = subprocess.run([sys.executable, "-c", _ENDING], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split("\n")) == (3, ["result", "thread ended", "at exit", ""]), done.stderr


def test_nobody_reads_what_it_prints() -> None:
    command = f"{sys.executable} -E -c 'from feature_repo.commands import leave; print(1); leave(4)'"
    done = subprocess.run(["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("4\n", "")
