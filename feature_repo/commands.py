"""What the command lines share: how failures are told, where results are printed, and how they end."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from feature_repo.errors import ShelfwiseError

if TYPE_CHECKING:
    from rich.console import Console


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command; an expected failure prints one line that says what to do and gives 1, Ctrl-C gives 130."""
    try:
        return command()
    except ShelfwiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def leave(code: int) -> NoReturn:
    """End the process as ``sys.exit`` does, but without taking the interpreter apart.

    Delta tables are read by threads of Arrow through objects of Python. A thread that lets go of one while the interpreter is
    taken apart aborts the process: its work was done, and its exit code would say that it was not.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def result_console(width_of_files: int = 160) -> Console:
    """Where a command prints its result: in a file, tables are not squeezed into the width of a terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=width_of_files)
