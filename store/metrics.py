"""Queries about training over steps: one series per metric, down-sampled where it is long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """A value of a metric. `place` counts the steps of the series from 0 across checkpoints; `total` is their number,
    `missing` how many more were no finite numbers."""

    name: str
    checkpoint: int
    step: int
    place: int
    value: float
    total: int
    missing: int


# Of each of :buckets stretches of equal length, the smallest and the largest value; of a short series, all.
_SERIES = text("""
    WITH logged AS (
        SELECT m.key AS name, t.checkpoint, t.step, CASE jsonb_typeof(m.value) WHEN 'number' THEN m.value::float8 END
            AS value
        FROM training_steps t, jsonb_each(t.values) m
        WHERE t.run_id = :run_id AND (CAST(:checkpoint AS int) IS NULL OR t.checkpoint = :checkpoint)
            AND (CAST(:names AS text[]) IS NULL OR m.key = ANY(CAST(:names AS text[])))
    ), counted AS (
        SELECT name, count(*) FILTER (WHERE value IS NULL) AS missing FROM logged GROUP BY name
    ), placed AS (
        SELECT name, checkpoint, step, value, count(*) OVER (PARTITION BY name) AS total,
            row_number() OVER (PARTITION BY name ORDER BY checkpoint, step) - 1 AS place
        FROM logged WHERE value IS NOT NULL
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY name, place * :buckets / total ORDER BY value, place) AS low,
            row_number() OVER (PARTITION BY name, place * :buckets / total ORDER BY value DESC, place) AS high
        FROM placed
    )
    SELECT name, checkpoint, step, place, value, total, missing
    FROM ranked JOIN counted USING (name)
    WHERE total <= 2 * :buckets OR low = 1 OR high = 1
    ORDER BY name COLLATE "C", place
""")

_NAMES = text("""
    SELECT DISTINCT m.key COLLATE "C" AS name FROM training_steps t, jsonb_object_keys(t.values) AS m (key)
    WHERE t.run_id = :run_id ORDER BY name
""")


def metric_names(conn: Connection, run_id: int) -> list[str]:
    """Which metrics did the run's trainings log?"""
    return list(conn.execute(_NAMES, {"run_id": run_id}).scalars())


def metric_points(
    conn: Connection, run_id: int, names: Sequence[str] | None, points: int, checkpoint: int | None = None
) -> list[MetricPoint]:
    """These metrics (None: all) over steps, by name and place: at most `points` of each, extremes kept."""
    rows = conn.execute(_SERIES, {"run_id": run_id, "names": None if names is None else list(names),
                                  "checkpoint": checkpoint, "buckets": max(1, points // 2)})
    return [MetricPoint(*row) for row in rows]
