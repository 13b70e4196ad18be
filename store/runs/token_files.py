"""Queries about the manifest of a run's token records: which files hold them, and which were deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from eva.solver.token_record import RecordFile
from eva.types import Player
from store.schema.tables import token_files

_FIELDS = (
    token_files.c.iteration,
    token_files.c.fence,
    token_files.c.serial,
    token_files.c.records,
    token_files.c.size,
    token_files.c.sha256,
    token_files.c.pruned_at.is_not(None),
    token_files.c.player,
)


def insert_token_files(conn: Connection, run_id: int, files: Sequence[RecordFile]) -> None:
    """Names files in the manifest, in the transaction that stores the texts of their responses. Repeating it is
    harmless."""
    rows = [
        {
            "run_id": run_id,
            "fence": file.fence,
            "serial": file.serial,
            "iteration": file.iteration,
            "records": file.records,
            "size": file.size,
            "sha256": file.sha256,
            "player": file.player,
        }
        for file in files
    ]
    if rows:
        conn.execute(upsert(token_files).values(rows).on_conflict_do_nothing())


def read_token_files(
    conn: Connection, run_id: int, iteration: int | None = None, player: Player | None = "solver"
) -> tuple[RecordFile, ...]:
    """Returns the files of a run or of one of its iterations, in the order in which they were stored.

    Those of both players with `player` None.
    """
    query = select(*_FIELDS).where(token_files.c.run_id == run_id).order_by(token_files.c.fence, token_files.c.serial)
    if iteration is not None:
        query = query.where(token_files.c.iteration == iteration)
    if player is not None:
        query = query.where(token_files.c.player == player)
    return tuple(RecordFile(*row) for row in conn.execute(query))


def mark_token_files_pruned(conn: Connection, run_id: int, iterations: Collection[int]) -> None:
    """Records that the files of these iterations are given up."""
    conn.execute(
        update(token_files)
        .where(
            token_files.c.run_id == run_id,
            token_files.c.iteration.in_([*iterations]),
            token_files.c.pruned_at.is_(None),
        )
        .values(pruned_at=func.clock_timestamp())
    )
