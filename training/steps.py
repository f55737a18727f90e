"""How training shows where it is and how long each step took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Names the running step on standard error, and leaves a line with its seconds when it is done.

    Attributes:
        seconds: time of each finished step, by name.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._console = Console(stderr=True, highlight=False, quiet=quiet)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        with self._console.status(name):
            yield
        self.seconds[name] = round(time.perf_counter() - begun, 2)
        self._console.print(f"{name:<40} {self.seconds[name]:6.1f} s")
