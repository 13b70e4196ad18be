"""The leader lock: a lock in the database that makes one process the leader, for as long as its connection lives."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from store.session import Store

LAUNCHER, SENDER = 0x65766D, 0x65766F
"""Keys of the locks: whose process launches runs, and whose sends the messages of webhooks."""
_LOCK, _UNLOCK = text("SELECT pg_try_advisory_lock(:key)"), text("SELECT pg_advisory_unlock(:key)")
_PING = text("SELECT 1")


@contextmanager
def leader_lock(store: Store, key: int = LAUNCHER) -> Generator[Callable[[], bool]]:
    """Yields a function that says whether this process is the leader in what `key` names.

    Each call tries to become it if nobody is.
    """
    held: list[Connection] = []

    def is_leader() -> bool:
        try:
            if held:
                held[0].execute(_PING)
            elif not _try(store, key, held):
                return False
        except DBAPIError:
            _drop(held)
            return False
        return True

    try:
        yield is_leader
    finally:
        try:
            if held:
                held[0].execute(_UNLOCK, {"key": key})
        except DBAPIError:
            _drop(held)
        for conn in held:
            conn.close()


def _try(store: Store, key: int, held: list[Connection]) -> bool:
    conn = store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if conn.execute(_LOCK, {"key": key}).scalar_one():
        held.append(conn)
        return True
    conn.close()
    return False


def _drop(held: list[Connection]) -> None:
    """Closes a connection that failed. It must not return to the pool, because it might still hold the lock."""
    while held:
        conn = held.pop()
        conn.invalidate()
        conn.close()
