"""Totals over the closed stages of all runs, one row per stage name, added to as stages close.

A fork copies closed stages without doing their work again, so it adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

COUNTED = (
    "responses",
    "tokens",
    "cost_usd",
    "quarantined",
    "accepted",
    "engine_ms",
    "engine_busy_ms",
    "engine_filled_ms",
)
"""The counts of a stage that are summed."""

_OF_STAGES = ", ".join(
    [
        "count(*) FILTER (WHERE status = 'done') AS closed",
        "coalesce(sum(seconds), 0) AS seconds",
        "coalesce(sum(attempts - 1), 0) AS retries",
        "coalesce(sum(done), 0) AS done",
        *(f"coalesce(sum(CAST(counts ->> '{name}' AS double precision)), 0) AS {name}" for name in COUNTED),
    ]
)
_COLUMNS = ("closed", "seconds", "retries", "done", *COUNTED)
_ADDED = ", ".join(f"{name} = stage_totals.{name} + excluded.{name}" for name in _COLUMNS)

_ADD = text(f"""
    INSERT INTO stage_totals (stage, {", ".join(_COLUMNS)})
    SELECT name, {_OF_STAGES} FROM stages
    WHERE run_id = :run_id AND iteration = :iteration AND name = :name GROUP BY name
    ON CONFLICT (stage) DO UPDATE SET {_ADDED}
""")  # noqa: S608 - names of this file

_READ = text(f"""
    SELECT stage, {", ".join(f"sum({name})" for name in _COLUMNS)} FROM (
        SELECT stage, {", ".join(_COLUMNS)} FROM stage_totals
        UNION ALL
        SELECT name, {_OF_STAGES} FROM stages WHERE status <> 'done' GROUP BY name
    ) AS known GROUP BY stage ORDER BY stage
""")  # noqa: S608 - names of this file


@dataclass(frozen=True, slots=True)
class StageSums:
    """Totals over all stages of one name, in all runs. `retries` counts attempts after the first of each."""

    name: str
    closed: int
    seconds: float
    retries: int
    done: int
    responses: int
    tokens: int
    cost_usd: float
    quarantined: int
    accepted: int
    engine_ms: int
    engine_busy_ms: int
    engine_filled_ms: int


def add_closed_stage(conn: Connection, run_id: int, iteration: int, name: str) -> None:
    """Adds a stage to the totals. Call it once, in the transaction that closes the stage."""
    conn.execute(_ADD, {"run_id": run_id, "iteration": iteration, "name": name})


def stage_sums(conn: Connection) -> list[StageSums]:
    """Returns the totals by stage name, over closed and open stages."""
    return [
        StageSums(
            name,
            int(closed),
            float(seconds),
            int(retries),
            int(done),
            int(responses),
            int(tokens),
            float(cost),
            *map(int, rest),
        )
        for name, closed, seconds, retries, done, responses, tokens, cost, *rest in conn.execute(_READ)
    ]
