"""One launcher at a time: a lock of the database that its holder's connection keeps, and loses when it dies."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from store.session import Store

_KEY = 0x65766D
_TRY, _FREE = text("SELECT pg_try_advisory_lock(:key)"), text("SELECT pg_advisory_unlock(:key)")
_LIVES = text("SELECT 1")


@contextmanager
def leading(store: Store) -> Generator[Callable[[], bool]]:
    """A question to be asked again and again: does this process lead? It tries to, whenever nobody does."""
    held: list[Connection] = []

    def leads() -> bool:
        try:
            if held:
                held[0].execute(_LIVES)
            elif not _try(store, held):
                return False
        except DBAPIError:
            _drop(held)
            return False
        return True

    try:
        yield leads
    finally:
        try:
            if held:
                held[0].execute(_FREE, {"key": _KEY})
        except DBAPIError:
            _drop(held)
        for conn in held:
            conn.close()


def _try(store: Store, held: list[Connection]) -> bool:
    conn = store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if conn.execute(_TRY, {"key": _KEY}).scalar_one():
        held.append(conn)
        return True
    conn.close()
    return False


def _drop(held: list[Connection]) -> None:
    """A connection that failed is not given back: it might hold the lock."""
    while held:
        conn = held.pop()
        conn.invalidate()
        conn.close()
