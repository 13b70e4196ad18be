"""Queries about runs."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Mapping
from typing import Any

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, RowMapping, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError

from eva.errors import ConflictError, NotFoundError, StoreError
from store.postgres.values import clean_json, clean_text, redacted_text
from store.rows import JsonObject, RunRow
from store.schema.tables import leases, runs

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_NAME_TRIES = 100
_LOCK_WAIT = text("SELECT set_config('lock_timeout', :milliseconds, true)")
_LAST = ("last", "latest")
_ENDED = ("finished", "failed", "cancelled")


def create_run(
    conn: Connection,
    *,
    stem: str,
    config: JsonObject,
    config_hash: str,
    seed: int,
    note: str = "",
    tags: tuple[str, ...] = (),
    code: JsonObject | None = None,
) -> RunRow:
    """Creates a run whose name is `stem` and four random characters, with a lease that nobody holds yet."""
    values = {
        "config": clean_json(config),
        "config_hash": config_hash,
        "seed": seed,
        "note": clean_text(note),
        "tags": [clean_text(tag) for tag in tags],
        "code": None if code is None else clean_json(code),
    }
    for _ in range(_NAME_TRIES):
        name = f"{stem}-{''.join(secrets.choice(_ALPHABET) for _ in range(4))}"
        row = (
            conn.execute(
                upsert(runs)
                .values(name=name, **values)
                .on_conflict_do_nothing(index_elements=["name"])
                .returning(*runs.c)
            )
            .mappings()
            .one_or_none()
        )
        if row is not None:
            conn.execute(insert(leases).values(run_id=row["id"]))
            return _run(row)
    raise StoreError(
        f"found no free name for a run called {stem}-…",
        expected=f"a free name within {_NAME_TRIES} tries",
        next_move="Give the run another name",
    )


def find_run(conn: Connection, reference: str) -> RunRow:
    """Finds a run by its name, the unique beginning of its name, its number, "last" or "latest".

    A deleted run is found only by its whole name or its number. Raises NotFoundError with the most similar names.
    """
    reference, not_deleted = clean_text(reference), runs.c.deleted_at.is_(None)
    if reference in _LAST:
        rows = conn.execute(select(runs).where(not_deleted).order_by(runs.c.id.desc()).limit(1)).mappings().all()
    else:
        rows = conn.execute(select(runs).where(runs.c.name == reference)).mappings().all()
        if not rows and reference.isascii() and reference.isdigit() and int(reference) < 2**31:
            rows = conn.execute(select(runs).where(runs.c.id == int(reference))).mappings().all()
        if not rows and reference:
            rows = (
                conn.execute(
                    select(runs)
                    .where(runs.c.name.startswith(reference, autoescape=True), not_deleted)
                    .order_by(runs.c.id.desc())
                    .limit(6)
                )
                .mappings()
                .all()
            )
    if len(rows) == 1:
        return _run(rows[0])
    raise _not_found(conn, reference, [row["name"] for row in rows])


def get_run(conn: Connection, run_id: int) -> RunRow:
    """Returns the run with this number. Raises NotFoundError."""
    row = conn.execute(select(runs).where(runs.c.id == run_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no run number {run_id}", next_move="List the runs with `eva runs`")
    return _run(row)


def list_runs(conn: Connection, limit: int = 50, before_id: int | None = None) -> list[RunRow]:
    """Returns a page of runs, newest first, of those older than `before_id`."""
    query = select(runs).order_by(runs.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(runs.c.id < before_id)
    return [_run(row) for row in conn.execute(query).mappings()]


def set_status(conn: Connection, run_id: int, status: str, error: str | None = None) -> None:
    """Sets the run's status. Its first start and its end are dated by the database's clock."""
    now = func.clock_timestamp()
    values: dict[str, Any] = {"status": status, "error": None if error is None else redacted_text(error)}
    if status == "running":
        values |= {"started_at": func.coalesce(runs.c.started_at, now), "finished_at": None}
    if status in _ENDED:
        values["finished_at"] = now
    _change(conn, run_id, values)


def lock_run(conn: Connection, run_id: int, wait_s: float) -> bool:
    """Locks the run's row until the transaction ends. False: somebody else has not let go of it for `wait_s`."""
    try:
        with conn.begin_nested():
            conn.execute(_LOCK_WAIT, {"milliseconds": str(max(1, int(wait_s * 1000)))})
            conn.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update(key_share=True))
    except DBAPIError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False
        raise
    return True


def set_desired(conn: Connection, run_id: int, desired: str) -> None:
    """Sets what the user wants the run to do: run, pause or cancel."""
    _change(conn, run_id, {"desired": desired})


def read_desired(conn: Connection, run_id: int) -> str:
    """Returns what the user wants the run to do: run, pause or cancel. Raises NotFoundError."""
    return get_run(conn, run_id).desired


def set_iteration(conn: Connection, run_id: int, iteration: int) -> None:
    """Sets the iteration that the run is playing."""
    _change(conn, run_id, {"iteration": iteration})


def set_config(conn: Connection, run_id: int, config: JsonObject, config_hash: str, code: JsonObject) -> None:
    """Sets the config and the code that the run continues with. The seed cannot change."""
    values = {"config": clean_json(config), "config_hash": config_hash, "code": clean_json(code)}
    _change(conn, run_id, values)


def annotate_run(conn: Connection, run_id: int, *, note: str, tags: tuple[str, ...]) -> None:
    """Sets the user's note and tags."""
    _change(conn, run_id, {"note": clean_text(note), "tags": [clean_text(tag) for tag in tags]})


def rename_run(conn: Connection, run_id: int, name: str) -> None:
    """Renames a run; its files stay where they are. Raises ConflictError when another run has or had the name."""
    conn.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update())
    taken = select(runs.c.id).where(runs.c.id != run_id, or_(runs.c.name == name, runs.c.folder == name))
    if conn.execute(taken).first() is not None:
        raise ConflictError(
            f"another run is called {name!r}, or its files are",
            expected="a name that no run has or had",
            next_move="Choose another name",
        )
    _change(conn, run_id, {"name": name, "folder": func.coalesce(runs.c.folder, runs.c.name)})


def set_deleted(conn: Connection, run_id: int, deleted: bool) -> None:
    """Hides the run from lists, or shows it again. Nothing is removed."""
    _change(conn, run_id, {"deleted_at": func.coalesce(runs.c.deleted_at, func.clock_timestamp()) if deleted else None})


def _change(conn: Connection, run_id: int, values: Mapping[str, Any]) -> None:
    conn.execute(update(runs).where(runs.c.id == run_id).values(**values))


def _not_found(conn: Connection, reference: str, several: list[str]) -> NotFoundError:
    if several:
        return NotFoundError(
            f"several runs have names that begin with {reference!r}: {', '.join(several)}",
            expected="a name, or the beginning of only one",
            next_move="Write more of the name",
        )
    names = list(conn.execute(select(runs.c.name).order_by(runs.c.id.desc()).limit(1000)).scalars())
    near = difflib.get_close_matches(reference, names, n=3, cutoff=0.4) or names[:3]
    return NotFoundError(
        f"there is no run {reference!r}",
        expected=f"a run such as {', '.join(near)}" if near else "the name of a run, but there are no runs yet",
        next_move="List the runs with `eva runs`" if near else "Start one with `eva run`",
    )


def _run(row: RowMapping) -> RunRow:
    values: dict[str, Any] = dict(row)
    values["tags"] = tuple(values["tags"])
    return RunRow(**values)
