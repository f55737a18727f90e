"""The message key: which customer an event is of."""

from __future__ import annotations

import pytest

from ingestion.producer import message_key


@pytest.mark.parametrize(
    ("event", "key"),
    [
        ({"userId": "u1", "anonymousId": "a1"}, b"u1"),
        ({"userId": " ", "anonymousId": "a1"}, b"a1"),
        ({"userId": None, "anonymousId": "a1"}, b"a1"),
        ({"userId": 17}, b"17"),
        ({"userId": "caf\u00e9"}, "caf\u00e9".encode()),
        ({"userId": True, "anonymousId": ["a1"]}, None),
        ({}, None),
    ],
)
def test_key_is_the_user_else_the_visitor(event: dict[str, object], key: bytes | None) -> None:
    assert message_key(event) == key
