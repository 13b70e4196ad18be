"""What `eva serve` listens with."""

from __future__ import annotations

import socket

from cli.commands.serve import listening


def test_answers_leave_at_once() -> None:
    with listening("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP, "asyncio turns Nagle's delay off for sockets that say so, only"
