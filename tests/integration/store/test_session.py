"""Transactions, and what a user reads when the database cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import StaticPool, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from eva.errors import DiskFullError, StoreError
from eva.settings import Settings
from store import session
from store.postgres.embedded import SUPERUSER, EmbeddedServer
from store.runs import runs
from store.session import Store, open_store


def _settings(folder: Path, url: str | None) -> Settings:
    return Settings(data_dir=folder, database_url=url, ray_address=None)


def test_a_block_that_raises_is_rolled_back(store: Store) -> None:
    def fail() -> None:
        with store.transaction() as conn:
            runs.create_run(conn, stem="demo", config={}, config_hash="h", seed=1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.transaction() as conn:
        assert runs.list_runs(conn) == []


def test_an_unreachable_server_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"127.0.0.1:1.*Check EVA_DATABASE_URL") as failed:
        open_store(_settings(tmp_path, "postgresql://me:hush@127.0.0.1:1/db"))
    assert "hush" not in str(failed.value)


def test_a_database_that_does_not_exist_is_named(tmp_path: Path, database_url: str) -> None:
    absent = make_url(database_url).set(database="absent").render_as_string(hide_password=False)
    with pytest.raises(StoreError, match='"absent" does not exist'):
        open_store(_settings(tmp_path, absent))


def test_a_pooler_that_shares_connections_between_transactions_is_refused(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = partial(create_engine, poolclass=StaticPool)
    # one connection to the server serves every client, as behind pgbouncer with pool_mode=transaction
    monkeypatch.setattr(session, "create_engine", lambda url, **_: shared(url))
    with pytest.raises(StoreError, match=r"behind a pooler.*Set pool_mode=session"):
        open_store(_settings(tmp_path, database_url))


@pytest.fixture
def locked_user(postgres: EmbeddedServer) -> Iterator[str]:
    """A role that needs its password."""
    rules = postgres.folder / "pg_hba.conf"
    before = rules.read_text(encoding="utf-8")
    with psycopg.connect(host=postgres.socket_dir, user=SUPERUSER, dbname="postgres", autocommit=True) as conn:
        conn.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        rules.write_text("local all locked scram-sha-256\n" + before, encoding="utf-8")
        conn.execute("SELECT pg_reload_conf()")
        yield "locked"
        rules.write_text(before, encoding="utf-8")
        conn.execute("DROP ROLE locked")
        conn.execute("SELECT pg_reload_conf()")


def test_a_wrong_password_is_reported_and_not_shown(tmp_path: Path, database_url: str, locked_user: str) -> None:
    with pytest.raises(StoreError, match="password authentication failed") as failed:
        open_store(_settings(tmp_path, database_url.replace(f"//{SUPERUSER}@", f"//{locked_user}:hush@")))
    assert "hush" not in str(failed.value)


def test_too_old_a_server_is_refused(store_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_OLDEST_SERVER", 990000)
    with pytest.raises(StoreError, match=r"runs PostgreSQL \d+\. Expected PostgreSQL >= 15"):
        open_store(store_settings)


def test_a_server_without_disk_space_is_recognised(store: Store) -> None:
    full = "DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$"
    with pytest.raises(DiskFullError, match=r"no space left.*eva run --resume"), store.transaction() as conn:
        conn.execute(text(full))


def test_a_lost_connection_is_an_infrastructure_error_and_the_next_transaction_works(store: Store) -> None:
    def lose() -> None:
        with store.transaction() as conn:
            mine = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with store.transaction() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": mine})
            conn.execute(text("SELECT 1"))

    with pytest.raises(StoreError, match="failed"):
        lose()
    with store.transaction() as conn:
        assert conn.execute(text("SELECT 1")).scalar_one() == 1


def test_a_mistake_in_a_query_is_not_blamed_on_the_server(store: Store) -> None:
    with pytest.raises(ProgrammingError), store.transaction() as conn:
        conn.execute(text("SELECT nothing"))


def test_a_store_may_be_closed_twice(store_settings: Settings) -> None:
    opened = open_store(store_settings)
    with opened.transaction() as conn:
        conn.execute(text("SELECT 1"))
    for _ in range(2):
        opened.close()
        assert opened.engine.pool.status().startswith("Pool size: 8  Connections in pool: 0"), "no connection is left"
