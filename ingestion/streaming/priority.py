"""Leaving the processor to others first."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def give_way(niceness: int) -> None:
    """Lower the priority of this process, and of all that it starts from now on, to a nice value; it is never raised.

    Linux may share the processor among sessions first, and among the processes of each only then ("autogroup"): where this
    process leads a session of its own, as under `make up`, the session is lowered as well.
    """
    lowered = os.nice(max(niceness - os.nice(0), 0))
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # a kernel without it, or a container that may not
            Path("/proc/self/autogroup").write_text(str(lowered))
