"""Migrates the schema. Only migrations create or change tables."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from eva.errors import StoreError
from store.schema.columns import SCHEMA_REVISION

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK = 0x657661
"""Key of the advisory lock that lets one process at a time migrate ("eva" in hexadecimal)."""


def migrate(conn: Connection, revision: str = "head") -> None:
    """Migrates the schema to this code's version, or to `revision`, inside the caller's transaction.

    Raises StoreError when a newer eva made the database.
    """
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    current = schema_revision(conn)
    if revision == "head" and current == SCHEMA_REVISION:
        return
    # alembic is loaded only when there is something to migrate
    from alembic import command
    from alembic.script import ScriptDirectory

    config = alembic_config(conn)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"the database is at schema version {current}",
            expected=f"a version that this eva knows (its newest is {SCHEMA_REVISION})",
            next_move="Update eva, or use another database or data directory",
        )
    if revision == "base" or (revision != "head" and current is not None and revision < current):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def schema_revision(conn: Connection) -> str | None:
    """Returns the migration that the database is at, or None when its schema is empty."""
    if conn.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    return conn.execute(text("SELECT version_num FROM alembic_version")).scalar()


def alembic_config(conn: Connection) -> Config:
    """Returns alembic's settings, made here so that no alembic.ini has to be found at run time."""
    from alembic.config import Config

    spec = importlib.util.find_spec("migrations")
    if spec is None or not spec.submodule_search_locations:
        raise StoreError(
            "the migrations are not installed",
            expected="the package `migrations` beside `store`",
            next_move="Install eva again",
        )
    config = Config()
    config.set_main_option("script_location", spec.submodule_search_locations[0].replace("%", "%%"))
    config.attributes["connection"] = conn
    return config
