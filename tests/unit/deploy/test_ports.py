"""Taken, clashing and unusable addresses are explained before anything is started."""

from __future__ import annotations

import os
import socket

import pytest

from deploy.errors import StackError
from deploy.ports import Listener, check_free

SETTING = "SHELFWISE_KAFKA__PORT"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_free_ports_pass() -> None:
    check_free([Listener("kafka", "127.0.0.1", free_port(), SETTING)])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_named_with_its_owner_and_setting(host: str) -> None:
    with socket.create_server((host, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError) as caught:
            check_free([Listener("kafka", "127.0.0.1", port, SETTING)])

    message = str(caught.value)
    assert f"kafka cannot listen on 127.0.0.1:{port}" in message
    assert f"process {os.getpid()}" in message
    assert SETTING in message


def test_a_port_in_time_wait_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first keeps the port in TIME_WAIT
        client.close()

    check_free([Listener("kafka", "127.0.0.1", port, SETTING)])


def test_two_services_on_one_port_are_named() -> None:
    port = free_port()
    listeners = [
        Listener("collector", "127.0.0.1", port, "SHELFWISE_COLLECTOR__PORT"),
        Listener("serving", "127.0.0.1", port, "SHELFWISE_SERVING__PORT"),
    ]

    with pytest.raises(StackError, match="SHELFWISE_COLLECTOR__PORT or SHELFWISE_SERVING__PORT"):
        check_free(listeners)


def test_an_address_of_another_machine_names_the_host_setting() -> None:
    with pytest.raises(StackError, match="SHELFWISE_KAFKA__HOST"):
        check_free([Listener("kafka", "192.0.2.1", free_port(), SETTING)])


def test_a_wildcard_address_is_reached_over_loopback() -> None:
    assert Listener("serving", "0.0.0.0", 3000, "SHELFWISE_SERVING__PORT").url == "http://127.0.0.1:3000"
    assert Listener("serving", "::", 3000, "SHELFWISE_SERVING__PORT").url == "http://[::1]:3000"
