"""Ctrl-C, a closed terminal and `kill` all end a command the same way: an orderly KeyboardInterrupt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Gate:
    """Whether an interrupt may be raised now, must wait, or is of no interest any more."""

    held = 0
    pending = False

    @classmethod
    def on_signal(cls, _number: int, _frame: FrameType | None) -> None:
        if cls.held:
            cls.pending = True
        else:
            raise KeyboardInterrupt


def install() -> None:
    """Turn the signals that ask a process to end into KeyboardInterrupt."""
    for number in _SIGNALS:
        signal.signal(number, _Gate.on_signal)


@contextmanager
def held() -> Iterator[None]:
    """Let no interrupt come between the lines of the block; one that arrived is raised at its end."""
    _Gate.held += 1
    try:
        yield
    finally:
        _Gate.held -= 1
    if _Gate.pending and not _Gate.held:
        _Gate.pending = False
        raise KeyboardInterrupt


@contextmanager
def ignored() -> Iterator[None]:
    """Let no interrupt stop the block, which cleans up; a second Ctrl-C is the usual case."""
    _Gate.held += 1
    try:
        yield
    finally:
        _Gate.held -= 1
        _Gate.pending = False
