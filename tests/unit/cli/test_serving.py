"""The socket that `eva serve` listens on."""

from __future__ import annotations

import socket

from cli.commands.serve import listening_socket


def test_responses_are_sent_without_delay() -> None:
    with listening_socket("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP, (
            "asyncio turns off Nagle's algorithm only for sockets that name the protocol"
        )
