"""Opening the store for a command, and closing it whatever happens."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from eva.errors import NotFoundError
from eva.settings import Settings, read_settings
from store.rows import RunRow
from store.runs.runs import find_run
from store.session import Store, open_store


@contextmanager
def opened(settings: Settings) -> Generator[Store]:
    """The store, made if need be."""
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def has_database(settings: Settings) -> bool:
    """Is there a database already, as far as one can say without opening it?"""
    return settings.database_url is not None or (settings.data_dir / "postgres" / "PG_VERSION").exists()


@contextmanager
def opened_existing() -> Generator[Store]:
    """The store of a command that only looks: where no database lies, none is made. Raises NotFoundError."""
    settings = read_settings()
    if not has_database(settings):
        raise NotFoundError(
            f"there are no runs in {settings.data_dir}",
            expected="the data directory of a run (EVA_DATA_DIR, or eva-data in the current folder)",
            next_move="Change to that folder, set EVA_DATA_DIR, or start one with `eva demo`",
        )
    with opened(settings) as store:
        yield store


def find(store: Store, reference: str) -> RunRow:
    """The run that a user names. Raises NotFoundError with the nearest names."""
    with store.transaction() as conn:
        return find_run(conn, reference)
