"""Queries about events: what happened in a run, in commit order, and how many points tracking services have of it."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from eva.errors import NotFoundError
from store.postgres.values import redacted_json
from store.rows import EventRow, JsonObject
from store.schema.tables import events, runs, trackings
from store.webhooks.deliveries import store_deliveries


def append_event(
    conn: Connection,
    run_id: int,
    kind: str,
    data: JsonObject | None = None,
    *,
    iteration: int | None = None,
    stage: str | None = None,
) -> int:
    """Appends an event, for the webhooks that are told about it too, and returns its number in the run.

    The number is assigned under the run's row lock, which is held until the transaction ends, so a reader
    who has seen number k never sees a smaller one appear later. Raises NotFoundError when there is no such run.
    """
    seq = conn.execute(
        update(runs).where(runs.c.id == run_id).values(event_seq=runs.c.event_seq + 1).returning(runs.c.event_seq)
    ).scalar()
    if seq is None:
        raise NotFoundError(f"there is no run number {run_id}", next_move="List the runs with `eva runs`")
    shown = redacted_json(data or {})
    conn.execute(insert(events).values(run_id=run_id, seq=seq, kind=kind, iteration=iteration, stage=stage, data=shown))
    store_deliveries(conn, run_id, int(seq), kind, shown, iteration=iteration, stage=stage)
    return int(seq)


def events_after(conn: Connection, run_id: int, seq: int = 0, limit: int = 1000) -> list[EventRow]:
    """Returns the events after number `seq`, in order."""
    query = (
        select(events.c.seq, events.c.at, events.c.kind, events.c.iteration, events.c.stage, events.c.data)
        .where(events.c.run_id == run_id, events.c.seq > seq)
        .order_by(events.c.seq)
        .limit(limit)
    )
    return [EventRow(*row) for row in conn.execute(query)]


def points_sent(conn: Connection, run_id: int, tracker: str) -> int:
    """Returns how many of the run's points this tracking service has received."""
    points = conn.execute(
        select(trackings.c.points).where(trackings.c.run_id == run_id, trackings.c.tracker == tracker)
    ).scalar()
    return int(points or 0)


def set_points_sent(conn: Connection, run_id: int, tracker: str, points: int) -> None:
    """Notes that this tracking service has received the run's first `points` points."""
    row = upsert(trackings).values(run_id=run_id, tracker=tracker, points=points)
    conn.execute(
        row.on_conflict_do_update(
            index_elements=["run_id", "tracker"], set_={"points": points, "changed_at": func.clock_timestamp()}
        )
    )
