"""What all groups of settings have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

Port = Annotated[int, Field(ge=1, le=65_535)]


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def sendable(key: SecretStr) -> SecretStr:
    """A key as it is, if it can be the user name of basic auth; raises ``ValueError``."""
    text = key.get_secret_value()
    if not text or ":" in text or not text.isascii():
        raise ValueError("a key has one character or more, of ASCII, and no colon")
    return key


Key = Annotated[SecretStr, AfterValidator(sendable)]
OptionalKey = Annotated[SecretStr, AfterValidator(lambda key: sendable(key) if key.get_secret_value() else key)]
