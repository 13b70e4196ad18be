"""Queries about runs."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from eva.errors import ConflictError, NotFoundError, StoreError
from store.postgres.values import storable, storable_json, told
from store.rows import JsonObject, RunRow
from store.schema.tables import leases, runs

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_NAME_TRIES = 100
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
    """Make a run called `stem` and four random characters, with a lease that nobody holds yet."""
    values = {
        "config": storable_json(config),
        "config_hash": config_hash,
        "seed": seed,
        "note": storable(note),
        "tags": [storable(tag) for tag in tags],
        "code": None if code is None else storable_json(code),
    }
    for _ in range(_NAME_TRIES):
        name = f"{stem}-{''.join(secrets.choice(_ALPHABET) for _ in range(4))}"
        made = (
            conn.execute(
                upsert(runs)
                .values(name=name, **values)
                .on_conflict_do_nothing(index_elements=["name"])
                .returning(*runs.c)
            )
            .mappings()
            .one_or_none()
        )
        if made is not None:
            conn.execute(insert(leases).values(run_id=made["id"]))
            return _run(made)
    raise StoreError(
        f"no free name was found for a run called {stem}-…",
        expected=f"one within {_NAME_TRIES} tries",
        next_move="Give the run another name",
    )


def find_run(conn: Connection, reference: str) -> RunRow:
    """Which run is meant by a name, the unique beginning of one, a number, "last" or "latest"?

    A deleted run is found by its whole name or number. Raises NotFoundError with the names that come nearest.
    """
    reference, shown = storable(reference), runs.c.deleted_at.is_(None)
    if reference in _LAST:
        found = conn.execute(select(runs).where(shown).order_by(runs.c.id.desc()).limit(1)).mappings().all()
    else:
        found = conn.execute(select(runs).where(runs.c.name == reference)).mappings().all()
        if not found and reference.isascii() and reference.isdigit() and int(reference) < 2**31:
            found = conn.execute(select(runs).where(runs.c.id == int(reference))).mappings().all()
        if not found and reference:
            found = (
                conn.execute(
                    select(runs)
                    .where(runs.c.name.startswith(reference, autoescape=True), shown)
                    .order_by(runs.c.id.desc())
                    .limit(6)
                )
                .mappings()
                .all()
            )
    if len(found) == 1:
        return _run(found[0])
    raise _not_found(conn, reference, [row["name"] for row in found])


def get_run(conn: Connection, run_id: int) -> RunRow:
    """The run with this number. Raises NotFoundError."""
    row = conn.execute(select(runs).where(runs.c.id == run_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no run number {run_id}", next_move="List the runs with `eva runs`")
    return _run(row)


def list_runs(conn: Connection, limit: int = 50, before_id: int | None = None) -> list[RunRow]:
    """Which runs are there? Newest first, a page of those older than `before_id`."""
    query = select(runs).order_by(runs.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(runs.c.id < before_id)
    return [_run(row) for row in conn.execute(query).mappings()]


def set_status(conn: Connection, run_id: int, status: str, error: str | None = None) -> None:
    """The run is in this state now; its first start and its end are dated by the database's clock."""
    now = func.clock_timestamp()
    values: dict[str, Any] = {"status": status, "error": None if error is None else told(error)}
    if status == "running":
        values |= {"started_at": func.coalesce(runs.c.started_at, now), "finished_at": None}
    if status in _ENDED:
        values["finished_at"] = now
    _change(conn, run_id, values)


def set_desired(conn: Connection, run_id: int, desired: str) -> None:
    """What the user wants of the run: run, pause or cancel."""
    _change(conn, run_id, {"desired": desired})


def desired(conn: Connection, run_id: int) -> str:
    """What does the user want of the run? Raises NotFoundError."""
    return get_run(conn, run_id).desired


def set_iteration(conn: Connection, run_id: int, iteration: int) -> None:
    """The run plays this iteration now."""
    _change(conn, run_id, {"iteration": iteration})


def set_config(conn: Connection, run_id: int, config: JsonObject, config_hash: str, code: JsonObject) -> None:
    """The run goes on with this config and this code; the seed is not among what may change."""
    values = {"config": storable_json(config), "config_hash": config_hash, "code": storable_json(code)}
    _change(conn, run_id, values)


def annotate_run(conn: Connection, run_id: int, *, note: str, tags: tuple[str, ...]) -> None:
    """The user's own words about the run."""
    _change(conn, run_id, {"note": storable(note), "tags": [storable(tag) for tag in tags]})


def rename_run(conn: Connection, run_id: int, name: str) -> None:
    """Another name; its files stay where they are. Raises ConflictError when another run has it."""
    conn.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update())
    taken = select(runs.c.id).where(runs.c.id != run_id, or_(runs.c.name == name, runs.c.folder == name))
    if conn.execute(taken).first() is not None:
        raise ConflictError(
            f"there is a run {name!r} already, or its files",
            expected="a name that no run has had",
            next_move="Choose another name",
        )
    _change(conn, run_id, {"name": name, "folder": func.coalesce(runs.c.folder, runs.c.name)})


def set_deleted(conn: Connection, run_id: int, deleted: bool) -> None:
    """Hide the run from lists, or show it again. Nothing of it is removed."""
    _change(conn, run_id, {"deleted_at": func.coalesce(runs.c.deleted_at, func.clock_timestamp()) if deleted else None})


def _change(conn: Connection, run_id: int, values: Mapping[str, Any]) -> None:
    conn.execute(update(runs).where(runs.c.id == run_id).values(**values))


def _not_found(conn: Connection, reference: str, several: list[str]) -> NotFoundError:
    if several:
        return NotFoundError(
            f"{reference!r} begins the names of several runs: {', '.join(several)}",
            expected="a name, or the beginning of only one",
            next_move="Give more of the name",
        )
    names = list(conn.execute(select(runs.c.name).order_by(runs.c.id.desc()).limit(1000)).scalars())
    near = difflib.get_close_matches(reference, names, n=3, cutoff=0.4) or names[:3]
    return NotFoundError(
        f"there is no run {reference!r}",
        expected=f"one such as {', '.join(near)}" if near else "a run's name, but there are no runs yet",
        next_move="List the runs with `eva runs`" if near else "Start one with `eva run`",
    )


def _run(row: RowMapping) -> RunRow:
    values: dict[str, Any] = dict(row)
    values["tags"] = tuple(values["tags"])
    return RunRow(**values)
