"""Standing back behind other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_AUTOGROUP = Path("/proc/self/autogroup")
_LOWERED = """
import os, subprocess, sys
from pathlib import Path
from ingestion.streaming.priority import give_way

os.nice({before})
give_way(7)
subprocess.run([sys.executable, "-c", "import os; print(os.nice(0))"])
autogroup = Path("/proc/self/autogroup")
print(autogroup.read_text() if autogroup.exists() else "")
"""


def run(before: int, own_session: bool) -> list[str]:
    """The nice value of a process that was started by one that gave way, and its session with that one's."""
    command = [sys.executable, "-c", _LOWERED.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=own_session)
    return done.stdout.split()


@pytest.mark.parametrize("before", [0, 3, 11])
def test_what_it_starts_is_lowered_and_never_raised(before: int) -> None:
    assert run(before, own_session=False)[0] == str(max(7, os.nice(0) + before))


def test_a_session_of_its_own_is_lowered_and_no_other() -> None:
    own = run(0, own_session=True)[1:]
    if not own:
        pytest.skip("the processor is not shared among sessions here")
    assert own[-1] == str(max(7, os.nice(0)))
    # Empty where this process belongs to no session, as what a container starts at first.
    before = _AUTOGROUP.read_text().split()
    assert run(0, own_session=False)[1:] == before
