"""Queries about stages: what was started, how far it came, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Double, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from store.postgres.values import storable_json, told
from store.rows import JsonObject, StageRow
from store.runs.stage_totals import add_closed
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
    """Start a stage, or start it again with one more attempt; one that is done is returned as it is."""
    place = select(func.count()).where(stages.c.run_id == run_id).scalar_subquery()
    opened = upsert(stages).values(
        run_id=run_id, iteration=iteration, name=name, position=place, total=total, input_hash=input_hash
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
    return StageRow(*conn.execute(select(*_FIELDS).where(_this(run_id, iteration, name))).one())


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
    """`done` of `total` is stored now; `seconds` passed since the last report of this attempt.

    `tallies` add to the stage's counts of these names, over all its attempts.
    """
    values: dict[str, Any] = {"done": done, "seconds": stages.c.seconds + seconds}
    if total is not None:
        values["total"] = total
    for counted, number in (tallies or {}).items():
        kind = Double if isinstance(number, float) else BigInteger
        before = func.coalesce(stages.c.counts[counted].astext.cast(kind), 0)
        added = func.jsonb_build_object(counted, before + number)
        values["counts"] = values.get("counts", stages.c.counts).op("||")(added)
    conn.execute(update(stages).where(_this(run_id, iteration, name)).values(**values))


def close_stage(
    conn: Connection,
    run_id: int,
    iteration: int,
    name: str,
    counts: JsonObject | None = None,
    *,
    seconds: float = 0.0,
) -> None:
    """The stage is done: call it in the transaction of its last batch. A stage that is done stays so.

    `counts` are added to its tallies.
    """
    closed = conn.execute(
        update(stages)
        .where(_this(run_id, iteration, name), stages.c.status != "done")
        .values(
            status="done",
            done=func.greatest(stages.c.done, stages.c.total),
            counts=stages.c.counts.op("||")(storable_json(counts or {})),
            seconds=stages.c.seconds + seconds,
            finished_at=func.clock_timestamp(),
            error=None,
        )
    )
    if closed.rowcount:
        add_closed(conn, run_id, iteration, name)


def fail_stage(conn: Connection, run_id: int, iteration: int, name: str, error: str, *, seconds: float = 0.0) -> None:
    """The stage's attempt failed with this message; it may be opened again."""
    conn.execute(
        update(stages)
        .where(_this(run_id, iteration, name), stages.c.status != "done")
        .values(
            status="failed",
            error=told(error),
            seconds=stages.c.seconds + seconds,
            finished_at=func.clock_timestamp(),
        )
    )


def read_stages(conn: Connection, run_id: int) -> list[StageRow]:
    """What has the run done so far? In the order in which stages were first started."""
    query = select(*_FIELDS).where(stages.c.run_id == run_id).order_by(stages.c.position)
    return [StageRow(*row) for row in conn.execute(query)]


def _this(run_id: int, iteration: int, name: str) -> ColumnElement[bool]:
    return and_(stages.c.run_id == run_id, stages.c.iteration == iteration, stages.c.name == name)
