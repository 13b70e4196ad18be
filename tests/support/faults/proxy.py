"""A proxy in front of PostgreSQL that loses answers to commits, refuses connections, or stops answering."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The message with which psycopg commits."""

Loses = Callable[[int], bool]


class Proxy:
    """Listens on a socket of its own in `folder` and passes everything on to the server's socket.

    `loses(k)` says whether the answer to the k-th commit is lost: the server commits, but the client gets no answer
    and finds its connection closed. While `refuses` is set, connections are refused with that text as a FATAL message.
    While `silent`, no answer passes, and new connections are accepted but not answered; none is closed.
    Without a folder it listens on a port of this machine.
    """

    def __init__(self, server: str, folder: Path | None, loses: Loses = lambda commit: False) -> None:
        self._server, self._loses = f"{server}/.s.PGSQL.5432", loses
        self.refuses, self.silent = "", False
        self._ignored: list[socket.socket] = []
        self.commits, self.lost = itertools.count(1), 0
        self._listening = socket.socket(socket.AF_INET if folder is None else socket.AF_UNIX)
        self._listening.bind(("127.0.0.1", 0) if folder is None else str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        host, port = ("127.0.0.1", self._listening.getsockname()[1]) if folder is None else (str(folder), 5432)
        self.query = {"host": host, "port": str(port)}
        """The parts of a database URL that lead to this proxy."""
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for connection in (self._listening, *self._ignored):
            connection.close()
        for thread in self._threads:
            thread.join(30)

    @property
    def unanswered(self) -> int:
        """Connections that were accepted and not answered."""
        return len(self._ignored)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.refuses:
                client.recv(8192)
                client.sendall(_fatal(self.refuses))
                client.close()
                continue
            if self.silent:
                self._ignored.append(client)
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._start(self._asked, client, server)
            self._start(self._pass_on, server, client)

    def _asked(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            if data.endswith(COMMIT) and self._loses(next(self.commits)):
                self.lost += 1
                # close the client's connection first, then pass the commit on: its answer cannot get back
                _shut(client)
                _send(server, data)
                break
            if not _send(server, data):
                break
        _shut(client)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        client.close()

    def _pass_on(self, server: socket.socket, client: socket.socket) -> None:
        while data := _received(server):
            if not self.silent and not _send(client, data):
                break
        _shut(client)
        server.close()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def _send(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _fatal(text: str) -> bytes:
    """Returns PostgreSQL's message that refuses a connection."""
    fields = b"SFATAL\x00VFATAL\x00C57P03\x00M" + text.encode() + b"\x00\x00"
    return b"E" + struct.pack("!I", len(fields) + 4) + fields
