"""Detects a hung server and closes the connections to it, so that nobody waits for it for ever.

A closed socket shows that a server is gone, and keep-alives show that the network is. Neither notices a server whose
processes are frozen, or a hung proxy in front of it. A hung server differs from a busy one in that it does not answer
a new connection either.
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
"""When a transaction is open for longer than this, the server is asked whether it is still there."""

log = logging.getLogger(__name__)


class HungServerWatch:
    """Watches open transactions, and shuts down all connections when the server no longer answers.

    Whoever waits on such a connection gets an error and may try again. `connect` opens a new connection within a
    time limit.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], after_s: float = AFTER_S) -> None:
        self._connect, self._after_s = connect, after_s
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._connections = weakref.WeakSet[psycopg.Connection]()
        self._started_at: dict[object, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, connection: psycopg.Connection) -> None:
        """Adds a connection to those that are shut down when the server hangs."""
        with self._lock:
            self._connections.add(connection)

    @contextmanager
    def watch(self) -> Generator[None]:
        """Watches the server for as long as the block runs."""
        token = object()
        with self._lock:
            self._started_at[token] = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._check_often, name="hung-server-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._started_at[token]

    def close(self) -> None:
        """Stops watching."""
        self._closed.set()

    def _check_often(self) -> None:
        while not self._closed.wait(self._after_s / 3):
            with self._lock:
                longest = time.monotonic() - min(self._started_at.values(), default=time.monotonic())
            if longest > self._after_s and not self._answers():
                log.warning("the database has not answered for %.0f s: closing all connections to it", longest)
                self._shut_down()

    def _answers(self) -> bool:
        """Whether the server answers a new connection. A refusal is an answer, too."""
        try:
            self._connect().close()
        except psycopg.errors.ConnectionTimeout:
            return False
        except psycopg.Error:
            return True
        return True

    def _shut_down(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            # a connection that is being closed at this moment raises, and needs no shutdown
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)
