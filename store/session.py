"""A store: the database, opened, at this code's schema, and its transactions."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from eva.errors import StoreAwayError, StoreError
from eva.settings import Settings
from store.postgres.embedded import EmbeddedServer
from store.postgres.errors import Place
from store.postgres.hung_server import AFTER_S, Silence
from store.schema.migration import migrate as migrate_schema

_OLDEST_SERVER = 150000
_CONNECT = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server behind a network that has gone silent is given up within half a minute; sockets of this machine close."""

_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_TIMEOUT = text("SELECT set_config('statement_timeout', :milliseconds, true)")
_DRIVERS = ("postgres", "postgresql", "postgresql+psycopg")


class Store:
    """An open database. Safe to use from several threads; each transaction has its own connection."""

    def __init__(
        self,
        url: URL,
        server: EmbeddedServer | None = None,
        *,
        silent_s: float = AFTER_S,
        connect_s: int = _CONNECT["connect_timeout"],
    ) -> None:
        """A server that answers nothing for `silent_s`, nor a new connection within `connect_s`, counts as away."""
        self._server = server
        self.url = redacted(url)
        """For display, without the password."""
        self._place = Place(self.url, server.folder if server else None)
        self.engine: Engine = create_engine(
            url, pool_pre_ping=True, pool_size=8, max_overflow=8, connect_args=_CONNECT | {"connect_timeout": connect_s}
        )
        given = dict[str, Any](self.engine.dialect.create_connect_args(url)[1])
        given |= _CONNECT | {"connect_timeout": connect_s}
        self._silence = Silence(lambda: psycopg.connect(**given), silent_s)
        event.listen(self.engine, "connect", self._opened)

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """One transaction: committed at the end of the block, rolled back when it raises.

        Raises StoreAwayError (try again in a while), StoreError, DiskFullError or ValueRefusedError for what the
        server says; a mistake in a query stays what it is.
        """
        with self._explained(), self._silence.watching(), self.engine.begin() as conn:
            yield conn

    def _opened(self, connection: psycopg.Connection, _record: object) -> None:
        self._silence.know(connection)

    def revive(self) -> None:
        """Start the embedded server anew if it died. Raises StoreError or DiskFullError."""
        if self._server is not None:
            self._server.revive()

    def close(self) -> None:
        """Close all connections, and the embedded server when nobody else uses it. May be repeated."""
        self._silence.close()
        self.engine.dispose()
        if self._server is not None:
            self._server.close()

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            said = error.orig if isinstance(error, DBAPIError) else error
            explained = self._place.explained(said) if isinstance(said, psycopg.Error) else None
            if explained is None:
                raise
            raise explained from error
        except PoolTimeout as error:
            raise StoreAwayError(
                f"no connection to the database {self.url} came free: {error}",
                expected="transactions that end",
                next_move="Try again in a while",
            ) from error


def open_store(settings: Settings, *, migrate: bool = True) -> Store:
    """The database of EVA_DATABASE_URL, or the embedded one in the data directory, started if need be.

    With `migrate`, the schema is brought to this code's version, by one process at a time. Without, it is
    taken as it is. Raises StoreError or DiskFullError.
    """
    server = EmbeddedServer(settings.data_dir / "postgres") if settings.database_url is None else None
    store = Store(make_url(server.url) if server else parse_url(settings.database_url or ""), server)
    try:
        with store.transaction() as conn:
            _require_version(conn, store.url)
        if migrate:
            with store.transaction() as conn:
                migrate_schema(conn)
    except BaseException:
        store.close()
        raise
    return store


def begin_snapshot(conn: Connection, timeout_s: float | None = None) -> None:
    """Makes a transaction read-only and lets it see the database as it is now, whatever others write meanwhile.

    Call it first in the transaction. With `timeout_s`, a query that runs longer than this raises StoreError.
    """
    conn.execute(_SNAPSHOT)
    if timeout_s is not None:
        conn.execute(_TIMEOUT, {"milliseconds": str(max(1, int(timeout_s * 1000)))})


def parse_url(given: str) -> URL:
    """The URL for SQLAlchemy, with psycopg as its driver. Raises StoreError that never shows the password."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in _DRIVERS:
        scheme = re.match(r"[A-Za-z0-9+.-]*", given)
        raise StoreError(
            f"EVA_DATABASE_URL cannot be read (it begins with {scheme.group()[:24] if scheme else ''!r})",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            next_move="Correct it, or unset it to use the embedded database",
        ) from None
    return url.set(drivername="postgresql+psycopg")


def redacted(url: URL) -> str:
    """The URL as one may show it: no password, neither in its place nor among the options."""
    shown = url.set(
        drivername="postgresql",
        password="***" if url.password else None,
        query={key: "***" if "password" in key.lower() else value for key, value in url.query.items()},
    )
    return shown.render_as_string(hide_password=False).replace("%2A%2A%2A", "***")


def _require_version(conn: Connection, shown: str) -> None:
    number = int(conn.execute(text("SELECT current_setting('server_version_num')")).scalar_one())
    if number < _OLDEST_SERVER:
        raise StoreError(
            f"the server of {shown} is PostgreSQL {number // 10000}",
            expected="PostgreSQL >= 15",
            next_move="Update it, or unset EVA_DATABASE_URL to use the embedded PostgreSQL 18",
        )
