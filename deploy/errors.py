"""The one error of this package that people are meant to read."""

from __future__ import annotations


class StackError(Exception):
    """Something about the stack is not as it must be; the message says what and what to do."""
