"""Queries about precomputed statistics, which the dashboard shows without counting anew."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from store.tables import statistics
from store.text import storable, storable_json


def put_statistic(conn: Connection, run_id: int, iteration: int, name: str, data: Any) -> None:
    """Store a statistic of an iteration, a JSON value, in place of an older one."""
    value = storable_json(data)
    conn.execute(
        upsert(statistics)
        .values(run_id=run_id, iteration=iteration, name=name, data=value)
        .on_conflict_do_update(index_elements=["run_id", "iteration", "name"], set_={"data": value})
    )


def get_statistic(conn: Connection, run_id: int, iteration: int, name: str) -> Any:
    """The statistic as it was stored; None when there is none."""
    return conn.execute(
        select(statistics.c.data).where(
            statistics.c.run_id == run_id, statistics.c.iteration == iteration, statistics.c.name == name
        )
    ).scalar()


def get_statistics(conn: Connection, run_id: int, name: str) -> dict[int, Any]:
    """The statistic of every iteration that has it: iteration -> JSON value."""
    query = (
        select(statistics.c.iteration, statistics.c.data)
        .where(statistics.c.run_id == run_id, statistics.c.name == name)
        .order_by(statistics.c.iteration)
    )
    return {int(iteration): data for iteration, data in conn.execute(query)}


def list_statistics(
    conn: Connection, run_id: int, name: str | None = None, iteration: int | None = None
) -> list[tuple[int, str, Any]]:
    """Which statistics are stored? (iteration, name, JSON value) by iteration and name; at most a few per iteration."""
    query = select(statistics.c.iteration, statistics.c.name, statistics.c.data).where(statistics.c.run_id == run_id)
    if name is not None:
        query = query.where(statistics.c.name == storable(name))
    if iteration is not None:
        query = query.where(statistics.c.iteration == iteration)
    return [(int(row[0]), row[1], row[2]) for row in conn.execute(query.order_by("iteration", "name"))]
