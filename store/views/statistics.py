"""Queries about precomputed statistics, which the dashboard shows without counting anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from store.postgres.values import storable, storable_json
from store.schema.tables import statistics

MOST_POINTS = 200
"""Iterations of a curve: a run's last ones."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a run's batch of one iteration was worth."""

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

# a parent that was in no pool is itself a new prompt of this batch
_PAYOFF = text("""
    SELECT p.operator, count(*), avg(b.info - coalesce(e.info, o.info)), stddev_samp(b.info - coalesce(e.info, o.info)),
        count(b.info - coalesce(e.info, o.info))
    FROM batches b JOIN prompts p ON p.run_id = b.run_id AND p.number = b.prompt
    LEFT JOIN estimates e ON e.run_id = b.run_id AND e.iteration = b.iteration AND e.prompt = p.parent
    LEFT JOIN batches o ON o.run_id = b.run_id AND o.iteration = b.iteration AND o.prompt = p.parent
    WHERE b.run_id = :run_id AND b.iteration = :iteration AND p.born = :iteration AND p.operator IS NOT NULL
    GROUP BY p.operator ORDER BY p.operator
""")


def operator_payoff(conn: Connection, run_id: int, iteration: int) -> list[dict[str, Any]]:
    """How much more informative than their parents were the batch's new prompts? Of each operator: its children,
    the mean and deviation of the change, and how many had one (both judged)."""
    rows = conn.execute(_PAYOFF, {"run_id": run_id, "iteration": iteration})
    keys = ("operator", "children", "change", "deviation", "known")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def read_curves(conn: Connection, names: Sequence[str]) -> list[CurvePoint]:
    """How did the batches' mean reward and informativeness go in these runs? By run and iteration."""
    rows = conn.execute(_CURVES, {"names": [storable(name) for name in names], "most": MOST_POINTS})
    return [CurvePoint(*row) for row in rows]


def put_statistic(conn: Connection, run_id: int, iteration: int, name: str, data: Any) -> None:
    """Store a statistic of an iteration, a JSON value, in place of an older one."""
    value = storable_json(data)
    conn.execute(
        upsert(statistics)
        .values(run_id=run_id, iteration=iteration, name=name, data=value)
        .on_conflict_do_update(index_elements=["run_id", "iteration", "name"], set_={"data": value})
    )


def get_statistics(conn: Connection, run_id: int, name: str) -> dict[int, Any]:
    """The statistic of every iteration that has it: iteration -> JSON value."""
    query = (
        select(statistics.c.iteration, statistics.c.data)
        .where(statistics.c.run_id == run_id, statistics.c.name == name)
        .order_by(statistics.c.iteration)
    )
    return {int(iteration): data for iteration, data in conn.execute(query)}


def list_statistics(
    conn: Connection, run_id: int, names: Sequence[str] | None = None, iteration: int | None = None
) -> list[tuple[int, str, Any]]:
    """Which statistics are stored? (iteration, name, JSON value) by iteration and name; at most a few per iteration."""
    query = select(statistics.c.iteration, statistics.c.name, statistics.c.data).where(statistics.c.run_id == run_id)
    if names is not None:
        query = query.where(statistics.c.name.in_([storable(name) for name in names]))
    if iteration is not None:
        query = query.where(statistics.c.iteration == iteration)
    return [(int(row[0]), row[1], row[2]) for row in conn.execute(query.order_by("iteration", "name"))]
