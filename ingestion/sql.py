"""Pieces of SQL with values in them, for engines and places that take no parameters."""

from __future__ import annotations

from collections.abc import Iterable


def text(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """The condition that a column's value is one of some texts."""
    texts = ", ".join(text(value) for value in sorted(values))
    return f"{column} IN ({texts})" if texts else "false"
