"""Queries about events: what happened in a run, in commit order."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from eva.errors import NotFoundError
from store.postgres.values import told_json
from store.rows import EventRow, JsonObject
from store.schema.tables import events, runs


def append_event(
    conn: Connection,
    run_id: int,
    kind: str,
    data: JsonObject | None = None,
    *,
    iteration: int | None = None,
    stage: str | None = None,
) -> int:
    """Note that something happened; returns its number in the run.

    The number is taken under the run's row lock, which is held until the transaction ends: a reader
    who has seen number k will never see a smaller one appear.
    """
    taken = conn.execute(
        update(runs).where(runs.c.id == run_id).values(event_seq=runs.c.event_seq + 1).returning(runs.c.event_seq)
    ).scalar()
    if taken is None:
        raise NotFoundError(f"there is no run number {run_id}", next_move="List the runs with `eva runs`")
    conn.execute(
        insert(events).values(
            run_id=run_id,
            seq=taken,
            kind=kind,
            iteration=iteration,
            stage=stage,
            data=told_json(data or {}),
        )
    )
    return int(taken)


def events_after(conn: Connection, run_id: int, seq: int = 0, limit: int = 1000) -> list[EventRow]:
    """What happened after event number `seq`? In order."""
    query = (
        select(events.c.seq, events.c.at, events.c.kind, events.c.iteration, events.c.stage, events.c.data)
        .where(events.c.run_id == run_id, events.c.seq > seq)
        .order_by(events.c.seq)
        .limit(limit)
    )
    return [EventRow(*row) for row in conn.execute(query)]
