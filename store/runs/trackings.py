"""Queries about tracking services: how far each has been told of a run."""

from __future__ import annotations

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from store.schema.tables import trackings


def points_sent(conn: Connection, run_id: int, tracker: str) -> int:
    """How many of the run's points does this service have?"""
    found = conn.execute(
        select(trackings.c.points).where(trackings.c.run_id == run_id, trackings.c.tracker == tracker)
    ).scalar()
    return int(found or 0)


def set_points_sent(conn: Connection, run_id: int, tracker: str, points: int) -> None:
    """The service has the run's points up to this number."""
    row = upsert(trackings).values(run_id=run_id, tracker=tracker, points=points)
    conn.execute(
        row.on_conflict_do_update(
            index_elements=["run_id", "tracker"], set_={"points": points, "changed_at": func.clock_timestamp()}
        )
    )
