"""A real embedded PostgreSQL for a session of tests, and an empty migrated database for each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from eva.settings import Settings
from store.postgres.embedded import SUPERUSER, EmbeddedServer
from store.schema.tables import metadata
from store.session import Store, open_store

_names = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """The server. Its database `eva` is migrated and serves as the template of all others."""
    # beside pytest's own folders, which only their owner may enter: root's server runs as another user
    folder = Path(tempfile.mkdtemp(prefix="eva-tests-"))
    server = EmbeddedServer(folder / "postgres")
    try:
        # nothing here has to outlive a power cut, and no table grows old
        for setting in ("fsync", "full_page_writes", "autovacuum"):
            _administer(server, f"ALTER SYSTEM SET {setting} = off")
        _administer(server, "SELECT pg_reload_conf()")
        open_store(Settings(folder, None, None)).close()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A data folder for an embedded server, beside pytest's own: those are closed to root's server, another user."""
    folder = Path(tempfile.mkdtemp(prefix="eva-data-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(postgres: EmbeddedServer, template: str = "eva") -> Generator[str]:
    """A new database at the newest schema, or as another template has it: its URL."""
    name = f"test_{next(_names)}"
    _administer(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield f"postgresql://{SUPERUSER}@/{name}?host={postgres.socket_dir}"
    _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


class UsedDatabase:
    """A database that tests use one after another: it is emptied in between, which is much cheaper than a new one."""

    _EMPTY = "; ".join(
        (
            """SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()""",
            "BEGIN",
            "SET LOCAL session_replication_role = replica",
            *(str(table.delete()) for table in metadata.sorted_tables),
            "SELECT setval(format('%I', sequencename), start_value, false) FROM pg_sequences",
            "COMMIT",
        )
    )
    _SCHEMA = """SELECT count(*), max(xmin::text::bigint) FROM pg_class
        UNION ALL SELECT count(*), max(xmin::text::bigint) FROM pg_attribute
        UNION ALL SELECT count(*), max(xmin::text::bigint) FROM pg_constraint
        UNION ALL SELECT count(*), max(xmin::text::bigint) FROM pg_trigger
        UNION ALL SELECT count(*), max(xmin::text::bigint) FROM pg_proc
        UNION ALL SELECT count(*), max(xmin::text::bigint) FROM alembic_version"""

    def __init__(self, url: str) -> None:
        self.url = url
        self.uses = 0
        self.store = Store(make_url(url).set(drivername="postgresql+psycopg"))
        """Kept from test to test, with the statements that it has compiled."""
        self._conn = psycopg.connect(url, autocommit=True)
        self._schema = self._read_schema()

    def empty(self) -> bool:
        """Makes it as new. False if it cannot serve again: the server was stopped, or a test has changed the schema."""
        self.store.engine.dispose()
        with suppress(psycopg.Error):
            self._conn.execute(self._EMPTY.encode())
            return self._read_schema() == self._schema
        return False

    def close(self) -> None:
        self.store.close()
        self._conn.close()

    def _read_schema(self) -> list[Any]:
        return self._conn.execute(self._SCHEMA.encode()).fetchall()


_USES = 20
"""So often is a database used; the rows that were deleted from it stay in its files, and slow it down."""


@pytest.fixture(scope="session")
def _databases(postgres: EmbeddedServer) -> Iterator[list[tuple[UsedDatabase, ExitStack]]]:
    """The databases that wait for their next test."""
    waiting: list[tuple[UsedDatabase, ExitStack]] = []
    yield waiting
    for _, kept in waiting:
        kept.close()


@pytest.fixture
def database(postgres: EmbeddedServer, _databases: list[tuple[UsedDatabase, ExitStack]]) -> Iterator[UsedDatabase]:
    """An empty database at the newest schema."""
    if not _databases:
        kept = ExitStack()
        new = UsedDatabase(kept.enter_context(fresh_database(postgres)))
        kept.callback(new.close)
        _databases.append((new, kept))
    used, kept = _databases.pop()
    yield used
    used.uses += 1
    if used.empty() and used.uses < _USES:
        _databases.append((used, kept))
    else:
        kept.close()


@pytest.fixture
def database_url(database: UsedDatabase) -> str:
    """The URL of an empty database at the newest schema, as EVA_DATABASE_URL would give it."""
    return database.url


@pytest.fixture
def store(database: UsedDatabase) -> Store:
    """A store over the empty database."""
    return database.store


@pytest.fixture
def store_settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings whose `open_store` gives the test's database."""
    return Settings(data_dir=tmp_path, database_url=database_url, ray_address=None)


def _administer(server: EmbeddedServer, statement: str) -> None:
    with psycopg.connect(host=server.socket_dir, user=SUPERUSER, dbname="postgres", autocommit=True) as conn:
        conn.execute(statement.encode())
