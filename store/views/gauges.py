"""Queries for monitoring all runs at once: how many there are, how far each running one is, and what went wrong.

Their cost does not grow with the store. Totals over stages are in `store.runs.stage_totals`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

MOST_RUNS = 50
"""How many running runs are listed one by one, newest first."""

INCIDENTS = (
    "engine_lost",
    "engine_back",
    "engine_waits",
    "engine_given_up",
    "trainer_lost",
    "stage_failed",
    "driver_died",
    "collapse",
    "starved",
    "steered",
    "drift",
    "tracking_failed",
)

_RUNNING = text("""
    SELECT runs.name, runs.iteration, CAST(runs.config ->> 'iterations' AS integer), runs.prompt_count,
        coalesce(CAST(runs.config -> 'fleet' ->> 'engines' AS integer), 0),
        coalesce(open_stage.name, ''), coalesce(open_stage.done, 0), coalesce(open_stage.total, 0),
        coalesce(extract(epoch FROM leases.expires_at - clock_timestamp()), 0)
    FROM runs JOIN leases ON leases.run_id = runs.id AND leases.owner IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT name, done, total FROM stages
        WHERE stages.run_id = runs.id AND status <> 'done' ORDER BY position DESC LIMIT 1
    ) AS open_stage ON true
    WHERE runs.status = 'running' ORDER BY runs.id DESC LIMIT :most
""")

_STATUSES = text("SELECT status, count(*) FROM runs GROUP BY status ORDER BY status")
_INCIDENTS = text("SELECT kind, count(*) FROM events WHERE kind = ANY(:kinds) GROUP BY kind")


@dataclass(frozen=True, slots=True)
class RunningRun:
    """A run that a driver holds, its open stage ("" between two stages), and the seconds until its lease ends."""

    name: str
    iteration: int
    iterations: int
    prompts: int
    engines: int
    stage: str
    done: int
    total: int
    lease_s: float


def running_runs(conn: Connection) -> list[RunningRun]:
    """Returns the runs that are running now, newest first."""
    return [
        RunningRun(name, iteration, iterations, prompts, engines, stage, done, total, float(lease_s))
        for name, iteration, iterations, prompts, engines, stage, done, total, lease_s in conn.execute(
            _RUNNING, {"most": MOST_RUNS}
        )
    ]


def runs_by_status(conn: Connection) -> dict[str, int]:
    """Counts the runs by stored status."""
    return {status: int(number) for status, number in conn.execute(_STATUSES)}


def incidents(conn: Connection) -> dict[str, int]:
    """Counts the incidents of each kind, 0 for those that never happened."""
    counts = {kind: int(number) for kind, number in conn.execute(_INCIDENTS, {"kinds": [*INCIDENTS]})}
    return {kind: counts.get(kind, 0) for kind in INCIDENTS}
