"""The store: an open database at this code's schema version, and its transactions."""

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
from store.postgres.errors import ErrorTranslator
from store.postgres.hung_server import AFTER_S, HungServerWatch
from store.schema.migration import migrate as migrate_schema

_OLDEST_SERVER = 150000
_CONNECT = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server behind a dead network is given up within half a minute. Local sockets close at once."""

_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_TIMEOUT = text("SELECT set_config('statement_timeout', :milliseconds, true)")
_DRIVERS = ("postgres", "postgresql", "postgresql+psycopg")


class Store:
    """An open database. It may be used from several threads: each transaction has its own connection."""

    def __init__(
        self,
        url: URL,
        server: EmbeddedServer | None = None,
        *,
        silent_s: float = AFTER_S,
        connect_s: int = _CONNECT["connect_timeout"],
    ) -> None:
        """A server is away when it does not answer for `silent_s` or accepts no connection within `connect_s`."""
        self._server = server
        self.url = redacted(url)
        """The URL for display, without the password."""
        self._errors = ErrorTranslator(self.url, server.folder if server else None)
        self.engine: Engine = create_engine(
            url, pool_pre_ping=True, pool_size=8, max_overflow=8, connect_args=_CONNECT | {"connect_timeout": connect_s}
        )
        options = dict[str, Any](self.engine.dialect.create_connect_args(url)[1])
        options |= _CONNECT | {"connect_timeout": connect_s}
        self._hung_server = HungServerWatch(lambda: psycopg.connect(**options), silent_s)
        event.listen(self.engine, "connect", self._opened)

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """Runs the block in one transaction: commits at its end, or rolls back when it raises.

        The database's errors become StoreAwayError (try again later), StoreError, DiskFullError or
        ValueRefusedError. An error in a query itself is raised as it is.
        """
        with self._translated(), self._hung_server.watch(), self.engine.begin() as conn:
            yield conn

    def require_sessions(self) -> None:
        """Raises StoreError behind a pooler that gives each transaction any connection to the server.

        eva holds locks of a session, and prepares statements in it. Such a pooler gives the connection that one client
        has just used to the next one, or this client another one.
        """
        with self._translated(), self.engine.connect() as first, self.engine.connect() as second:
            backends = [_backend(first), _backend(second), _backend(first)]
        if backends[0] == backends[1] or backends[0] != backends[2]:
            raise StoreError(
                f"the database {self.url} is behind a pooler that shares connections between transactions, such as "
                "pgbouncer with pool_mode=transaction",
                expected="a connection that stays with its client: eva holds locks of a session",
                next_move="Set pool_mode=session for this database, or name the server itself in EVA_DATABASE_URL",
            )

    def _opened(self, connection: psycopg.Connection, _record: object) -> None:
        self._hung_server.add(connection)

    def revive(self) -> None:
        """Restarts the embedded server if it died. Raises StoreError or DiskFullError."""
        if self._server is not None:
            self._server.revive()

    def close(self) -> None:
        """Closes all connections, and stops the embedded server when nobody else uses it. May be called repeatedly."""
        self._hung_server.close()
        self.engine.dispose()
        if self._server is not None:
            self._server.close()

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            translated = self._errors.translate(cause) if isinstance(cause, psycopg.Error) else None
            if translated is None:
                raise
            raise translated from error
        except PoolTimeout as error:
            raise StoreAwayError(
                f"all connections to the database {self.url} are in use: {error}",
                expected="a free connection",
                next_move="Try again later",
            ) from error


def open_store(settings: Settings, *, migrate: bool = True) -> Store:
    """Opens the database of EVA_DATABASE_URL, or the embedded one in the data directory, and starts it if needed.

    With `migrate`, the schema is migrated to this code's version, by one process at a time; without, it stays as it
    is. Raises StoreError or DiskFullError.
    """
    server = EmbeddedServer(settings.data_dir / "postgres") if settings.database_url is None else None
    store = Store(make_url(server.url) if server else parse_url(settings.database_url or ""), server)
    try:
        with store.transaction() as conn:
            _require_version(conn, store.url)
        if server is None:
            store.require_sessions()
        if migrate:
            with store.transaction() as conn:
                migrate_schema(conn)
    except BaseException:
        store.close()
        raise
    return store


def _backend(conn: Connection) -> int:
    """The server's process that has just run a transaction of this connection."""
    number = int(conn.execute(text("SELECT pg_backend_pid()")).scalar_one())
    conn.commit()
    return number


def begin_snapshot(conn: Connection, timeout_s: float | None = None) -> None:
    """Makes a transaction read-only and lets it see the database as it is now, whatever others write meanwhile.

    Call it first in the transaction. With `timeout_s`, a query that runs longer than this raises StoreError.
    """
    conn.execute(_SNAPSHOT)
    if timeout_s is not None:
        conn.execute(_TIMEOUT, {"milliseconds": str(max(1, int(timeout_s * 1000)))})


def parse_url(url_text: str) -> URL:
    """Parses a database URL for SQLAlchemy, with psycopg as its driver.

    Raises StoreError, whose message never shows the password.
    """
    try:
        url = make_url(url_text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in _DRIVERS:
        scheme = re.match(r"[A-Za-z0-9+.-]*", url_text)
        raise StoreError(
            f"EVA_DATABASE_URL cannot be read (it begins with {scheme.group()[:24] if scheme else ''!r})",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            next_move="Correct it, or unset it to use the embedded database",
        ) from None
    return url.set(drivername="postgresql+psycopg")


def redacted(url: URL) -> str:
    """Returns the URL for display, without a password in its own field or among the options."""
    shown = url.set(
        drivername="postgresql",
        password="***" if url.password else None,
        query={key: "***" if "password" in key.lower() else value for key, value in url.query.items()},
    )
    return shown.render_as_string(hide_password=False).replace("%2A%2A%2A", "***")


def _require_version(conn: Connection, url: str) -> None:
    number = int(conn.execute(text("SELECT current_setting('server_version_num')")).scalar_one())
    if number < _OLDEST_SERVER:
        raise StoreError(
            f"the server of {url} runs PostgreSQL {number // 10000}",
            expected="PostgreSQL >= 15",
            next_move="Update it, or unset EVA_DATABASE_URL to use the embedded PostgreSQL 18",
        )
