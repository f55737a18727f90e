"""Keys that are sent as the user name of HTTP's basic authentication (RFC 7617), without a password."""

from __future__ import annotations

import base64

# What a refusal for want of a key has to say.
CHALLENGE = {"WWW-Authenticate": 'Basic realm="shelfwise"'}


def authorization_of(key: str) -> str:
    """The header ``Authorization`` that shows a key."""
    return f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"


def key_shown(authorization: str | None) -> str | None:
    """The key that a header ``Authorization`` shows; None without the header, empty if it cannot be read."""
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except ValueError:  # not base64, or not UTF-8
        return ""
