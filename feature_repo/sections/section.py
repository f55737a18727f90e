"""What all groups of settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, SecretStr


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def sendable(key: SecretStr) -> SecretStr:
    """A key as it is, if it can be the user name of basic auth; raises ``ValueError``."""
    text = key.get_secret_value()
    if not text or ":" in text or not text.isascii():
        raise ValueError("a key has one character or more, of ASCII, and no colon")
    return key
