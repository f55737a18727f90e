"""One command at a time may change the stack. The lock is the kernel's: it ends with its holder, never goes stale."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.errors import StackError


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file for the length of the block.

    Raises:
        StackError: another process holds it; the message names that process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StackError(
                f"another command is starting or stopping this stack (process {holder}); wait for it or end it first"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
