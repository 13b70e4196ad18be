from __future__ import annotations

import socket

import pytest

from eva.runtime.ray_address import host_of, require_listener


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "http://me:secret@127.0.0.1:{}"])
def test_an_address_at_which_nothing_listens_is_told_at_once(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = form.format(listener.getsockname()[1])
        require_listener(address)
    with pytest.raises(OSError, match="refused"):
        require_listener(address)


@pytest.mark.parametrize("address", ["auto", "local", "head", "127.0.0.1", "http://head"])
def test_without_a_port_there_is_nothing_to_try(address: str) -> None:
    require_listener(address)


def test_messages_name_a_host_without_its_credentials() -> None:
    assert host_of("http://me:secret@head:8265") == "head:8265"
    assert host_of("head:6379") == "head:6379" and host_of("auto") == "auto"
