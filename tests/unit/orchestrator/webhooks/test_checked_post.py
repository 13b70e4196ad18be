"""A message is sent to the address that was checked, and to no other: not after a redirect or a second look-up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from eva.webhooks.addresses import parse_networks
from orchestrator.webhooks.checked_post import ReceiverError, checked_post

LOOPBACK = parse_networks("127.0.0.0/8")


@dataclass
class Receiver:
    """A receiver on this machine: what it was sent, and the status that it answers with."""

    port: int
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/hook?key=1"


@contextmanager
def receiving() -> Generator[Receiver]:
    class Request(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.received.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Prints nothing."""

    with HTTPServer(("127.0.0.1", 0), Request) as server:
        receiver = Receiver(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def test_a_message_arrives_where_its_network_is_allowed() -> None:
    with receiving() as receiver:
        assert checked_post(receiver.url(), b"{}", {"webhook-id": "1"}, LOOPBACK) == 204
    path, headers, body = receiver.received[0]
    assert (path, body, headers["webhook-id"]) == ("/hook?key=1", b"{}", "1")
    assert headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"])
def test_this_machine_is_not_reached_by_any_of_its_names(host: str) -> None:
    with receiving() as receiver, pytest.raises(ReceiverError, match="not public"):
        checked_post(receiver.url(host), b"{}", {}, ())
    assert not receiver.received


def test_a_name_is_looked_up_once_and_that_address_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a name that is public when it is checked, and this machine when it is connected to."""
    looked_up: list[str] = []
    connected: list[tuple[str, int]] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        looked_up.append(host)
        address = "8.8.8.8" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def create_connection(address: tuple[str, int], **_: object) -> socket.socket:
        connected.append(address)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(ReceiverError, match="did not answer"):
        checked_post("https://rebinding.example/sEcReT", b"{}", {}, ())
    assert (looked_up, connected) == (["rebinding.example"], [("8.8.8.8", 443)])


def test_a_public_address_takes_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("8.8.8.8", 80))])
    with pytest.raises(ReceiverError, match="https"):
        checked_post("http://dns.example/", b"{}", {}, ())


def test_a_redirect_is_not_followed() -> None:
    with receiving() as target, receiving() as receiver:
        receiver.status, receiver.headers = 307, {"Location": target.url()}
        assert checked_post(receiver.url(), b"{}", {}, LOOPBACK) == 307
    assert not target.received


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url())
        assert checked_post(receiver.url(), b"{}", {}, LOOPBACK) == 204
    assert not proxy.received


def test_a_receiver_that_sends_a_byte_now_and_then_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not ended.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(ReceiverError, match=r"no response within 0\.3 s"):
            checked_post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, LOOPBACK, whole_s=0.3)
        assert time.monotonic() - began < 5
        ended.set()
        thread.join()


def test_an_error_shows_no_path() -> None:
    with pytest.raises(ReceiverError) as refused:
        checked_post("https://nowhere.invalid/sEcReT", b"{}", {}, ())
    assert "sEcReT" not in str(refused.value) and "nowhere.invalid" in str(refused.value)
