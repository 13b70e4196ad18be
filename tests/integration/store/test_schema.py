"""Migrations are the only way to a schema, and they lead to exactly the tables."""

from __future__ import annotations

from threading import Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from eva.errors import StoreError
from eva.settings import Settings
from store.schema.columns import SCHEMA_REVISION
from store.schema.migration import alembic_config, migrate, schema_revision
from store.schema.tables import metadata
from store.session import Store, open_store

_SCHEMA = text("""
    SELECT 'column', c.relname || '.' || a.attname,
           format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text || ' ' || a.attidentity::text
           || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = CAST(CAST(:schema AS text) AS regnamespace) AND c.relkind = 'r' AND a.attnum > 0
    UNION ALL
    SELECT 'constraint', conname, replace(pg_get_constraintdef(oid), CAST(:schema AS text) || '.', '')
    FROM pg_constraint WHERE connamespace = CAST(CAST(:schema AS text) AS regnamespace)
    UNION ALL
    SELECT 'index', indexname, replace(indexdef, CAST(:schema AS text) || '.', '') FROM pg_indexes
    WHERE schemaname = CAST(:schema AS text)
    ORDER BY 1, 2, 3
""")


def _schema(conn: Connection, name: str) -> list[tuple[str, ...]]:
    rows = conn.execute(_SCHEMA, {"schema": name}).all()
    return [tuple(row) for row in rows if not row[1].startswith("alembic_version")]


def _relations(conn: Connection) -> set[str]:
    found = conn.execute(text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"))
    return set(found.scalars())


def test_migrations_and_tables_say_the_same(store: Store) -> None:
    with store.transaction() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_and_tables_agree_on_every_constraint_and_index(store: Store) -> None:
    with store.transaction() as conn:
        migrated = _schema(conn, "public")
        conn.execute(text("CREATE SCHEMA beside"))
        conn.execute(text("SET LOCAL search_path TO beside"))
        metadata.create_all(conn)
        assert _schema(conn, "beside") == migrated


def test_the_newest_migration_is_the_one_that_the_tables_name(store: Store) -> None:
    with store.transaction() as conn:
        assert ScriptDirectory.from_config(alembic_config(conn)).get_heads() == [SCHEMA_REVISION]
        assert schema_revision(conn) == SCHEMA_REVISION


def test_migrating_down_leaves_nothing_and_up_again_leaves_the_same(store: Store) -> None:
    with store.transaction() as conn:
        before = _schema(conn, "public")
        migrate(conn, "base")
        assert _relations(conn) == {"alembic_version", "alembic_version_pkc"}
        migrate(conn)
        assert _schema(conn, "public") == before


def test_a_database_of_a_newer_eva_is_refused(store: Store, store_settings: Settings) -> None:
    with store.transaction() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"schema version 9999.*Update eva"):
        open_store(store_settings)
    open_store(store_settings, migrate=False).close()


def test_processes_that_start_at_once_migrate_one_after_the_other(store: Store, store_settings: Settings) -> None:
    with store.transaction() as conn:
        migrate(conn, "base")
        conn.execute(text("DROP TABLE alembic_version"))
    failures: list[Exception] = []

    def start() -> None:
        try:
            open_store(store_settings).close()
        except StoreError as error:
            failures.append(error)

    threads = [Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with store.transaction() as conn:
        assert schema_revision(conn) == SCHEMA_REVISION
