"""Queries about checkpoints, who holds their files, and the training steps that made them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from eva.errors import ConflictError
from eva.solver.manifest import checkpoint_place
from eva.types import Checkpoint, Player, TrainingStep
from store.postgres.bulk import copy_once
from store.postgres.values import clean_json, json_text
from store.rows import CheckpointRow, HolderRow
from store.schema.tables import checkpoints, runs, training_steps

_FILES = 0x65766E
"""Key of the advisory lock between pruning, which takes it alone, and forks, which share it."""

_PLACE = func.regexp_replace(checkpoints.c.path, "^/.*/runs/([^/]+/(creator/)?[^/]+)$", r"\1")
"""`checkpoint_place`: an earlier eva recorded absolute paths."""

_FIELDS = (
    checkpoints.c.number,
    checkpoints.c.iteration,
    checkpoints.c.parent,
    checkpoints.c.path,
    checkpoints.c.digest,
    checkpoints.c.created_at,
    checkpoints.c.dropped,
    checkpoints.c.pruned_at,
    checkpoints.c.player,
)


def insert_checkpoint(
    conn: Connection,
    run_id: int,
    checkpoint: Checkpoint,
    *,
    parent: int | None = None,
    dropped: Mapping[str, int] | None = None,
    player: Player = "solver",
) -> None:
    """Stores a published checkpoint. Repeating it is harmless.

    Raises ConflictError when the number already belongs to other weights.
    """
    conn.execute(
        upsert(checkpoints)
        .values(
            run_id=run_id,
            player=player,
            number=checkpoint.number,
            iteration=checkpoint.iteration,
            parent=parent,
            path=checkpoint_place(checkpoint.path),
            digest=checkpoint.digest,
            dropped=clean_json(dropped or {}),
        )
        .on_conflict_do_nothing()
    )
    existing = read_checkpoint(conn, run_id, checkpoint.number, player)
    if existing is not None and existing.digest != checkpoint.digest:
        raise ConflictError(
            f"checkpoint {checkpoint.number} of the {player} of run {run_id} was given with digest {checkpoint.digest}",
            expected=f"the weights registered before, digest {existing.digest}",
            next_move="Keep the registered checkpoint: a number names the same weights for ever",
        )


def read_checkpoint(conn: Connection, run_id: int, number: int, player: Player = "solver") -> CheckpointRow | None:
    """Returns a checkpoint, or None when it does not exist."""
    query = select(*_FIELDS).where(_of(run_id, player), checkpoints.c.number == number)
    row = conn.execute(query).one_or_none()
    return None if row is None else CheckpointRow(*row)


def read_checkpoints(conn: Connection, run_id: int, player: Player | None = "solver") -> list[CheckpointRow]:
    """Returns the checkpoints of a player in number order, of the solver and then the creator with `player` None.

    The solver's last is the current policy.
    """
    query = select(*_FIELDS).where(_of(run_id, player)).order_by(checkpoints.c.player.desc(), checkpoints.c.number)
    return [CheckpointRow(*row) for row in conn.execute(query)]


def _of(run_id: int, player: Player | None) -> ColumnElement[bool]:
    own = checkpoints.c.run_id == run_id
    return own if player is None else own & (checkpoints.c.player == player)


def lock_files(conn: Connection, *, shared: bool) -> None:
    """Keeps what names a checkpoint's files as it is until the transaction ends: no run is forked while another is
    pruned. Forks share the lock."""
    suffix = "_shared" if shared else ""
    conn.execute(text(f"SELECT pg_advisory_xact_lock{suffix}(:key)"), {"key": _FILES})


def read_holders(conn: Connection, paths: Sequence[str]) -> list[HolderRow]:
    """Returns the checkpoints of all runs, deleted ones too, whose files lie in one of these folders."""
    own = checkpoints.alias()
    numbers = select(func.max(own.c.number)).where(own.c.run_id == runs.c.id, own.c.player == checkpoints.c.player)
    newest = numbers.correlate(runs, checkpoints).scalar_subquery()
    of_run = (runs.c.id, runs.c.name, runs.c.status, runs.c.iteration, runs.c.config, newest)
    query = (
        select(*of_run, checkpoints.c.number, _PLACE, checkpoints.c.player)
        .join(checkpoints, checkpoints.c.run_id == runs.c.id)
        .where(_PLACE.in_([*map(checkpoint_place, paths)]))
        .order_by(runs.c.id, checkpoints.c.number)
    )
    return [HolderRow(*row) for row in conn.execute(query)]


def mark_pruned(conn: Connection, paths: Sequence[str]) -> None:
    """Records, in every run, that the checkpoints in these folders have no files any more."""
    conn.execute(
        update(checkpoints)
        .where(_PLACE.in_([*map(checkpoint_place, paths)]), checkpoints.c.pruned_at.is_(None))
        .values(pruned_at=func.clock_timestamp())
    )


def copy_training_steps(
    conn: Connection, run_id: int, checkpoint: int, steps: Sequence[TrainingStep], player: Player = "solver"
) -> None:
    """Stores logged optimiser steps; NaN and infinities become null. Rows that exist already stay as they are."""
    rows = [(run_id, checkpoint, step.step, json_text(step.values), player) for step in steps]
    copy_once(conn, training_steps, ("run_id", "checkpoint", "step", "values", "player"), rows)


def read_training_steps(
    conn: Connection, run_id: int, checkpoint: int, player: Player = "solver"
) -> list[TrainingStep]:
    """Returns the logged steps of a checkpoint's training, in step order. Values that were not finite are NaN."""
    query = (
        select(training_steps.c.step, training_steps.c["values"])
        .where(
            training_steps.c.run_id == run_id,
            training_steps.c.checkpoint == checkpoint,
            training_steps.c.player == player,
        )
        .order_by(training_steps.c.step)
    )
    return [
        TrainingStep(step, {name: math.nan if value is None else value for name, value in values.items()})
        for step, values in conn.execute(query)
    ]
