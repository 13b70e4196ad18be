"""Queries about trainings: a series over steps for each metric, down-sampled if it is long, and the chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, text

from eva.types import Floats, Ints, Player
from store.postgres.bulk import read_array


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """A value of a metric. `place` counts the steps of the series from 0, across checkpoints. `total` is the number of
    finite values, `missing` the number of those that were not finite."""

    name: str
    checkpoint: int
    step: int
    place: int
    value: float
    total: int
    missing: int


@dataclass(frozen=True, slots=True)
class ChunkFigures:
    """One chunk of a batch, with the training's share in it.

    `start`: optimiser steps of the iteration before the chunk. `steps`: those taken on the chunk, with the pairs that
    earlier ones left. Both are None until the iteration's training is over. `kept`: prompts with a response that was
    sampled by the checkpoint itself. `sampled`: the step of the newest policy that sampled for the chunk. `staleness`:
    the mean age in steps of the responses in its pairs when the chunk was trained on.
    """

    iteration: int
    chunk: int
    of: int
    prompts: int
    pairs: int
    skipped: Mapping[str, int]
    reward: float | None
    kept: int
    sampled: int
    start: int | None
    steps: int | None
    staleness: float | None


_FIGURES = text("""
    WITH trained AS (
        SELECT checkpoint - 1 AS iteration, (values->>'chunk')::int - 1 AS chunk, count(*) AS steps
        FROM training_steps WHERE run_id = :run_id AND player = 'solver' AND values ? 'chunk' GROUP BY 1, 2
    ), sampled AS (
        SELECT b.iteration, b.chunk, count(DISTINCT r.prompt) FILTER (WHERE r.step = 0) AS kept, max(r.step) AS newest
        FROM batches b JOIN responses r
            ON r.run_id = b.run_id AND r.prompt = b.prompt AND r.checkpoint = b.checkpoint
        WHERE b.run_id = :run_id AND b.chunk IS NOT NULL GROUP BY 1, 2
    ), paired AS (
        SELECT b.iteration, b.chunk, avg(r.step) AS step
        FROM batches b JOIN pairs p ON p.run_id = b.run_id AND p.iteration = b.iteration AND p.prompt = b.prompt
        JOIN responses r ON r.run_id = p.run_id AND r.prompt = p.prompt AND r.checkpoint = p.checkpoint
            AND r.sample IN (p.chosen, p.rejected)
        WHERE b.run_id = :run_id AND b.chunk IS NOT NULL GROUP BY 1, 2
    )
    SELECT c.iteration, c.chunk, c.of, c.prompts, c.pairs, c.skipped, c.reward, coalesce(s.kept, 0),
        coalesce(s.newest, 0), t.start, t.steps, (t.start - p.step)::float8
    FROM chunks c
    LEFT JOIN (
        SELECT c.iteration, c.chunk, coalesce(t.steps, 0) AS steps,
            (coalesce(sum(t.steps) OVER (PARTITION BY c.iteration ORDER BY c.chunk), 0) - coalesce(t.steps, 0))::int
            AS start
        FROM chunks c LEFT JOIN trained t ON t.iteration = c.iteration AND t.chunk = c.chunk
        WHERE c.run_id = :run_id AND c.iteration IN (SELECT iteration FROM trained)
    ) t ON t.iteration = c.iteration AND t.chunk = c.chunk
    LEFT JOIN sampled s ON s.iteration = c.iteration AND s.chunk = c.chunk
    LEFT JOIN paired p ON p.iteration = c.iteration AND p.chunk = c.chunk
    WHERE c.run_id = :run_id ORDER BY c.iteration, c.chunk
""")


_NAMES = text("""
    SELECT DISTINCT m.key COLLATE "C" AS name FROM training_steps t, jsonb_object_keys(t.values) AS m (key)
    WHERE t.run_id = :run_id AND t.player = :player ORDER BY name
""")

# a finite number, NaN if the logged value was not finite, infinity if the step did not log this metric
_VALUE = """CASE jsonb_typeof(values -> %s) WHEN 'number' THEN (values ->> %s)::float8 WHEN 'null' THEN 'NaN'
    ELSE 'Infinity' END"""


def metric_names(conn: Connection, run_id: int, player: Player = "solver") -> list[str]:
    """Returns the names of the metrics that the trainings of a player logged."""
    return list(conn.execute(_NAMES, {"run_id": run_id, "player": player}).scalars())


def metric_points(
    conn: Connection,
    run_id: int,
    names: Sequence[str],
    points: int,
    checkpoint: int | None = None,
    player: Player = "solver",
) -> list[MetricPoint]:
    """Returns at most `points` values of each metric, by name and place. Down-sampling keeps the extremes."""
    sorted_names = sorted(names)
    columns = "".join(f", {_VALUE}" for _ in sorted_names)
    query = f"""SELECT checkpoint, step {columns} FROM training_steps
        WHERE run_id = %s AND player = %s AND (%s::int IS NULL OR checkpoint = %s)
        ORDER BY checkpoint, step"""  # noqa: S608 - of constants
    columns_twice = [name for name in sorted_names for _ in range(2)]
    fields = [("checkpoint", ">i2"), ("step", ">i4"), *((f"value_{at}", ">f8") for at in range(len(sorted_names)))]
    rows_S = read_array(conn, query, [*columns_twice, run_id, player, checkpoint, checkpoint], fields)
    return [
        point
        for at, name in enumerate(sorted_names)
        for point in _series(name, rows_S["checkpoint"], rows_S["step"], rows_S[f"value_{at}"], points)
    ]


def chunk_figures(conn: Connection, run_id: int) -> list[ChunkFigures]:
    """Returns all chunks of a run with what their training and their sampling say about them."""
    return [ChunkFigures(*row) for row in conn.execute(_FIGURES, {"run_id": run_id})]


def _series(name: str, checkpoints_S: Ints, steps_S: Ints, values_S: Floats, points: int) -> Iterator[MetricPoint]:
    """Yields the smallest and the largest value of each of several equal sections; of a short series, all values."""
    finite_V = np.flatnonzero(np.isfinite(values_S))
    missing, total = int(np.isnan(values_S).sum()), len(finite_V)
    buckets = max(1, points // 2)
    places = range(total) if total <= 2 * buckets else _extremes(values_S[finite_V], buckets)
    for place in places:
        row = finite_V[place]
        yield MetricPoint(
            name, int(checkpoints_S[row]), int(steps_S[row]), int(place), float(values_S[row]), total, missing
        )


def _extremes(values_V: Floats, buckets: int) -> list[int]:
    sections = np.array_split(np.arange(len(values_V)), buckets)
    extremes = {int(section[pick(values_V[section])]) for section in sections for pick in (np.argmin, np.argmax)}
    return sorted(extremes)
