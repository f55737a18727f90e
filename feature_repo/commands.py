"""What the command lines share: how failures are told, and where results are printed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

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


def result_console(width_of_files: int = 160) -> Console:
    """Where a command prints its result: in a file, tables are not squeezed into the width of a terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=width_of_files)
