"""Queries about statistics that are computed once per iteration, so that the dashboard need not count again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from store.postgres.values import clean_json, clean_text
from store.schema.tables import statistics

MOST_POINTS = 200
"""How many iterations a curve has at most: the run's last ones."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The mean reward and informativeness of a run's batch in one iteration."""

    run: str
    iteration: int
    reward: float | None
    info: float | None


_CURVES = text("""
    SELECT r.name, s.iteration, (s.data->>'reward_mean')::float8, (s.data->>'info_mean')::float8
    FROM runs r CROSS JOIN LATERAL (
        SELECT iteration, data FROM statistics
        WHERE run_id = r.id AND name = 'batch' ORDER BY iteration DESC LIMIT :most
    ) AS s
    WHERE r.name = ANY(CAST(:names AS text[])) ORDER BY r.name, s.iteration
""")

# a parent that the creator sampled by responses of an older policy (info_from: reuse) has no comparable info
_CHILDREN = text("""
    SELECT p.number, p.operator, p.root, p.parent, e.info
    FROM batches b JOIN prompts p ON p.run_id = b.run_id AND p.number = b.prompt
    LEFT JOIN estimates e ON e.run_id = b.run_id AND e.iteration = b.iteration AND e.prompt = p.parent
        AND e.checkpoint = b.checkpoint
    WHERE b.run_id = :run_id AND b.iteration = :iteration AND p.born = :iteration AND p.operator IS NOT NULL
    ORDER BY p.number
""")


@dataclass(frozen=True, slots=True)
class BatchChild:
    """A new prompt of a batch. `parent_info` is what its parent was sampled by; None if it was not in the pool."""

    number: int
    operator: str
    root: int
    parent: int
    parent_info: float | None


def batch_children(conn: Connection, run_id: int, iteration: int) -> list[BatchChild]:
    """Returns the new prompts of an iteration's batch, in number order."""
    return [BatchChild(*row) for row in conn.execute(_CHILDREN, {"run_id": run_id, "iteration": iteration})]


def read_curves(conn: Connection, names: Sequence[str]) -> list[CurvePoint]:
    """Returns the curves of these runs' mean reward and informativeness, by run and iteration."""
    rows = conn.execute(_CURVES, {"names": [clean_text(name) for name in names], "most": MOST_POINTS})
    return [CurvePoint(*row) for row in rows]


def put_statistic(conn: Connection, run_id: int, iteration: int, name: str, data: Any) -> None:
    """Stores a statistic of an iteration, a JSON value. Replaces an older one."""
    value = clean_json(data)
    conn.execute(
        upsert(statistics)
        .values(run_id=run_id, iteration=iteration, name=name, data=value)
        .on_conflict_do_update(index_elements=["run_id", "iteration", "name"], set_={"data": value})
    )


def get_statistics(conn: Connection, run_id: int, name: str) -> dict[int, Any]:
    """Returns a statistic of all iterations that have it: iteration -> JSON value."""
    query = (
        select(statistics.c.iteration, statistics.c.data)
        .where(statistics.c.run_id == run_id, statistics.c.name == name)
        .order_by(statistics.c.iteration)
    )
    return {int(iteration): data for iteration, data in conn.execute(query)}


def list_statistics(
    conn: Connection, run_id: int, names: Sequence[str] | None = None, iteration: int | None = None
) -> list[tuple[int, str, Any]]:
    """Returns the stored statistics as (iteration, name, JSON value), by iteration and name: a few per iteration."""
    query = select(statistics.c.iteration, statistics.c.name, statistics.c.data).where(statistics.c.run_id == run_id)
    if names is not None:
        query = query.where(statistics.c.name.in_([clean_text(name) for name in names]))
    if iteration is not None:
        query = query.where(statistics.c.iteration == iteration)
    return [(int(row[0]), row[1], row[2]) for row in conn.execute(query.order_by("iteration", "name"))]
