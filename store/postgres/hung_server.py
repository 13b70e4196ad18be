"""A server that keeps its sockets open and says nothing, told from one that works long by asking it something else.

A closed socket tells that a server is gone, and keep-alives that a network is. A server whose processes are frozen, or
a proxy before it that hangs, is told by nothing of that: whoever waits for its answer would wait for ever.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import psycopg

AFTER_S = 30.0
"""A transaction that is open for longer than this makes the server be asked whether it is there."""

log = logging.getLogger(__name__)


class Silence:
    """Watches open transactions; where the server answers nobody any more, hangs up all connections to it.

    Whoever waited on one finds it lost, and may try again. `connect` opens one more connection, within a time-out.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], after_s: float = AFTER_S) -> None:
        self._connect, self._after_s = connect, after_s
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._connections = weakref.WeakSet[psycopg.Connection]()
        self._since: dict[object, float] = {}
        self._thread: threading.Thread | None = None

    def know(self, connection: psycopg.Connection) -> None:
        """One more connection that may have to be hung up."""
        with self._lock:
            self._connections.add(connection)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Something is asked of the server meanwhile."""
        token = object()
        with self._lock:
            self._since[token] = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="silence", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._since[token]

    def close(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._after_s / 3):
            with self._lock:
                longest = time.monotonic() - min(self._since.values(), default=time.monotonic())
            if longest > self._after_s and not self._answers():
                log.warning("the database has answered nothing for %.0f s: its connections are given up", longest)
                self._hang_up()

    def _answers(self) -> bool:
        """A refusal is an answer, too."""
        try:
            self._connect().close()
        except psycopg.errors.ConnectionTimeout:
            return False
        except psycopg.Error:
            return True
        return True

    def _hang_up(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            # one that is being closed at this moment needs no hanging up
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as shared:
                shared.shutdown(socket.SHUT_RDWR)
