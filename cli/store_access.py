"""The store of a command: opened for it, closed whatever happens."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from eva.errors import NotFoundError
from eva.settings import Settings, read_settings
from store.rows import RunRow
from store.runs.runs import find_run
from store.session import Store, open_store


@contextmanager
def store_of(settings: Settings) -> Generator[Store]:
    """The store; its database is created if there is none."""
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def has_database(settings: Settings) -> bool:
    """Whether there seems to be a database already; does not open it."""
    return settings.database_url is not None or (settings.data_dir / "postgres" / "PG_VERSION").exists()


@contextmanager
def existing_store() -> Generator[Store]:
    """The store of a command that only reads. Raises NotFoundError if there is no database; never creates one."""
    settings = read_settings()
    if not has_database(settings):
        raise NotFoundError(
            f"there are no runs in {settings.data_dir}",
            expected="the data directory of a run (EVA_DATA_DIR, or eva-data in the current folder)",
            next_move="Change to the folder that holds it, set EVA_DATA_DIR, or start a run with `eva demo`",
        )
    from orchestrator.hold.lease import end_dead_leases  # commands that only print help do not need it

    with store_of(settings) as store:
        end_dead_leases(store)
        yield store


def find(store: Store, reference: str) -> RunRow:
    """The run with this name, unique prefix or `last`. Raises NotFoundError, which suggests similar names."""
    with store.transaction() as conn:
        return find_run(conn, reference)
