"""A real embedded PostgreSQL for a session of tests, and a fresh migrated database for each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from eva.settings import Settings
from store.postgres.embedded import SUPERUSER, EmbeddedServer
from store.session import Store, open_store

_names = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """The server. Its database `eva` is migrated and serves as the template of all others."""
    # beside pytest's own folders, which only their owner may enter: root's server runs as another user
    folder = Path(tempfile.mkdtemp(prefix="eva-tests-"))
    folder.chmod(0o755)
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


@contextmanager
def fresh_database(postgres: EmbeddedServer, template: str = "eva") -> Generator[str]:
    """A new database at the newest schema, or as another template has it: its URL."""
    name = f"test_{next(_names)}"
    _administer(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield f"postgresql://{SUPERUSER}@/{name}?host={postgres.socket_dir}"
    _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres: EmbeddedServer) -> Iterator[str]:
    """The URL of a fresh database at the newest schema, as EVA_DATABASE_URL would give it."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store over a fresh database."""
    opened = Store(make_url(database_url).set(drivername="postgresql+psycopg"))
    yield opened
    opened.close()


@pytest.fixture
def store_settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings whose `open_store` gives the test's database."""
    return Settings(data_dir=tmp_path, database_url=database_url, ray_address=None)


def _administer(server: EmbeddedServer, statement: str) -> None:
    with psycopg.connect(host=server.socket_dir, user=SUPERUSER, dbname="postgres", autocommit=True) as conn:
        conn.execute(statement.encode())
