"""Errors that people are meant to read.

ShelfwiseError
├── SettingsError        a setting is unknown or unusable
├── InputError           a file or folder given to a command cannot be used
├── UnavailableError     Kafka, Redis or another part is not reachable
└── DefinitionError      a feature definition is wrong, or differs from what stored features were computed by
"""

from __future__ import annotations


class ShelfwiseError(Exception):
    """An expected failure; its message says what is wrong and what to do."""


class SettingsError(ShelfwiseError, ValueError):
    """A setting is unknown or has a value that cannot be used."""


class InputError(ShelfwiseError):
    """A file or folder given to a command cannot be used."""


class UnavailableError(ShelfwiseError):
    """A part that the command needs is not reachable."""


class DefinitionError(ShelfwiseError):
    """A feature definition is wrong, or differs from the one that the data at hand was computed with."""
