"""Keys come back as they were sent, and what cannot be read is no key."""

from __future__ import annotations

import pytest

from feature_repo.web.basic_auth import authorization_of, key_shown


def test_a_key_comes_back() -> None:
    assert key_shown(authorization_of("secret")) == "secret"
    assert key_shown(authorization_of("secret").replace("Basic", "bASIC")) == "secret"
    assert key_shown(None) is None, "there may be a key elsewhere"


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Bearer c2VjcmV0Og==", "Basic !", "Basic \xe9", "Basic /zo="],
)
def test_what_cannot_be_read_is_no_key(header: str) -> None:
    assert key_shown(header) == ""
