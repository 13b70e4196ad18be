"""Queries about stages: their start, progress and end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Double, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from store.postgres.values import clean_json, redacted_text
from store.rows import JsonObject, StageRow
from store.runs.stage_totals import add_closed_stage
from store.schema.tables import stages

_FIELDS = (
    stages.c.iteration,
    stages.c.name,
    stages.c.position,
    stages.c.status,
    stages.c.attempts,
    stages.c.done,
    stages.c.total,
    stages.c.input_hash,
    stages.c.counts,
    stages.c.seconds,
    stages.c.started_at,
    stages.c.finished_at,
    stages.c.error,
)


def open_stage(
    conn: Connection, run_id: int, iteration: int, name: str, *, total: int = 0, input_hash: str | None = None
) -> StageRow:
    """Starts a stage, or starts it again as its next attempt. A stage that is done is returned unchanged."""
    position = select(func.count()).where(stages.c.run_id == run_id).scalar_subquery()
    opened = upsert(stages).values(
        run_id=run_id, iteration=iteration, name=name, position=position, total=total, input_hash=input_hash
    )
    conn.execute(
        opened.on_conflict_do_update(
            index_elements=["run_id", "iteration", "name"],
            set_={
                "status": "running",
                "attempts": stages.c.attempts + 1,
                "total": opened.excluded.total,
                "input_hash": opened.excluded.input_hash,
                "finished_at": None,
                "error": None,
            },
            where=stages.c.status != "done",
        )
    )
    return StageRow(*conn.execute(select(*_FIELDS).where(_is_stage(run_id, iteration, name))).one())


def reopen_stage(conn: Connection, run_id: int, iteration: int, name: str, *, total: int = 0) -> StageRow:
    """Goes on with a stage that this driver has opened before: its attempt stays the same."""
    opened = upsert(stages).values(
        run_id=run_id,
        iteration=iteration,
        name=name,
        position=select(func.count()).where(stages.c.run_id == run_id).scalar_subquery(),
        total=total,
    )
    conn.execute(opened.on_conflict_do_nothing())
    return StageRow(*conn.execute(select(*_FIELDS).where(_is_stage(run_id, iteration, name))).one())


def advance_stage(
    conn: Connection,
    run_id: int,
    iteration: int,
    name: str,
    done: int,
    *,
    total: int | None = None,
    seconds: float = 0.0,
    tallies: Mapping[str, float] | None = None,
) -> None:
    """Stores a stage's progress: `done` of `total`, and the `seconds` since this attempt's last report.

    `tallies` are added to the stage's counts of these names, over all its attempts.
    """
    values: dict[str, Any] = {"done": done, "seconds": stages.c.seconds + seconds}
    if total is not None:
        values["total"] = total
    for count, number in (tallies or {}).items():
        kind = Double if isinstance(number, float) else BigInteger
        before = func.coalesce(stages.c.counts[count].astext.cast(kind), 0)
        added = func.jsonb_build_object(count, before + number)
        values["counts"] = values.get("counts", stages.c.counts).op("||")(added)
    conn.execute(update(stages).where(_is_stage(run_id, iteration, name)).values(**values))


def close_stage(
    conn: Connection,
    run_id: int,
    iteration: int,
    name: str,
    counts: JsonObject | None = None,
    *,
    seconds: float = 0.0,
) -> None:
    """Marks a stage as done; call it in the transaction of its last batch. A stage that is done stays unchanged.

    `counts` are merged into the counts that its tallies have made.
    """
    closed = conn.execute(
        update(stages)
        .where(_is_stage(run_id, iteration, name), stages.c.status != "done")
        .values(
            status="done",
            done=func.greatest(stages.c.done, stages.c.total),
            counts=stages.c.counts.op("||")(clean_json(counts or {})),
            seconds=stages.c.seconds + seconds,
            finished_at=func.clock_timestamp(),
            error=None,
        )
    )
    if closed.rowcount:
        add_closed_stage(conn, run_id, iteration, name)


def fail_stage(conn: Connection, run_id: int, iteration: int, name: str, error: str, *, seconds: float = 0.0) -> None:
    """Marks a stage's attempt as failed, with its error. The stage may be opened again."""
    conn.execute(
        update(stages)
        .where(_is_stage(run_id, iteration, name), stages.c.status != "done")
        .values(
            status="failed",
            error=redacted_text(error),
            seconds=stages.c.seconds + seconds,
            finished_at=func.clock_timestamp(),
        )
    )


def read_stages(conn: Connection, run_id: int) -> list[StageRow]:
    """Returns the run's stages in the order in which they were first started."""
    query = select(*_FIELDS).where(stages.c.run_id == run_id).order_by(stages.c.position)
    return [StageRow(*row) for row in conn.execute(query)]


def _is_stage(run_id: int, iteration: int, name: str) -> ColumnElement[bool]:
    return and_(stages.c.run_id == run_id, stages.c.iteration == iteration, stages.c.name == name)
