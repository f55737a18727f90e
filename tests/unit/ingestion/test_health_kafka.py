"""What the health says of a Kafka that cannot be asked."""

from __future__ import annotations

import socket

import pytest
from own_stack import free_ports

from feature_repo.errors import UnavailableError
from ingestion.health.kafka import open_events_topic

pytestmark = pytest.mark.usefixtures("fresh_settings")


def test_brokers_that_do_not_listen_are_named_when_the_others_cannot_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    (gone,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        servers = f"127.0.0.1:{mute.getsockname()[1]},127.0.0.1:{gone}"
        monkeypatch.setenv("SHELFWISE_KAFKA__BOOTSTRAP", servers)
        wanted = rf"does not answer \(.*\); start what does not listen: 127\.0\.0\.1:{gone}$"
        with pytest.raises(UnavailableError, match=wanted), open_events_topic():
            pass


def test_a_kafka_of_which_no_broker_listens_is_to_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_KAFKA__BOOTSTRAP", f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(UnavailableError, match=r"no Kafka broker answers .* `make up` starts one"), open_events_topic():
        pass
