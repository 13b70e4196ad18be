"""Queries for whoever watches all runs at once: how many there are, where each that plays stands, what went wrong.

None reads more the more a store holds; sums over stages are in `totals`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

MOST_RUNS = 50
"""Runs that play at a time and are told of one by one, newest first."""

INCIDENTS = (
    "engine_lost",
    "engine_back",
    "engine_waits",
    "trainer_lost",
    "stage_failed",
    "driver_died",
    "collapse",
    "tracking_failed",
)

_PLAYING = text("""
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
class Playing:
    """A run that a driver holds, its open stage ("" between two), and for how long its lease still is."""

    name: str
    iteration: int
    iterations: int
    prompts: int
    engines: int
    stage: str
    done: int
    total: int
    lease_s: float


def playing(conn: Connection) -> list[Playing]:
    """Which runs play now? The newest first."""
    return [
        Playing(name, iteration, iterations, prompts, engines, stage, done, total, float(lease_s))
        for name, iteration, iterations, prompts, engines, stage, done, total, lease_s in conn.execute(
            _PLAYING, {"most": MOST_RUNS}
        )
    ]


def runs_by_status(conn: Connection) -> dict[str, int]:
    """How many runs have each stored status?"""
    return {status: int(number) for status, number in conn.execute(_STATUSES)}


def incidents(conn: Connection) -> dict[str, int]:
    """How often has each kind of incident happened? Those that never have are 0."""
    found = {kind: int(number) for kind, number in conn.execute(_INCIDENTS, {"kinds": [*INCIDENTS]})}
    return {kind: found.get(kind, 0) for kind in INCIDENTS}
