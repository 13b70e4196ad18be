"""Queries for whoever watches all runs at once: sums over the store, and where each run that plays stands."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

MOST_RUNS = 50
"""Runs that play at a time and are told of one by one, newest first."""

INCIDENTS = ("engine_lost", "engine_back", "engine_waits", "trainer_lost", "stage_failed", "driver_died", "collapse",
             "tracking_failed")

_STAGES = text("""
    SELECT name, count(*) FILTER (WHERE status = 'done'), sum(seconds), sum(attempts - 1), sum(done),
        coalesce(sum(CAST(counts ->> 'responses' AS bigint)), 0), coalesce(sum(CAST(counts ->> 'tokens' AS bigint)), 0),
        coalesce(sum(CAST(counts ->> 'cost_usd' AS double precision)), 0)
    FROM stages GROUP BY name ORDER BY name
""")

_PLAYING = text("""
    SELECT runs.name, runs.iteration, CAST(runs.config ->> 'iterations' AS integer), runs.prompt_count,
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
_QUARANTINED = text("SELECT count(*) FROM quarantines")
_INCIDENTS = text("SELECT kind, count(*) FROM events WHERE kind = ANY(:kinds) GROUP BY kind")


@dataclass(frozen=True, slots=True)
class StageSums:
    """All stages of one name, of all runs. `retries` counts attempts after each first."""

    name: str
    closed: int
    seconds: float
    retries: int
    done: int
    responses: int
    tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Playing:
    """A run that a driver holds, its open stage ("" between two), and for how long its lease still is."""

    name: str
    iteration: int
    iterations: int
    prompts: int
    stage: str
    done: int
    total: int
    lease_s: float


def stage_sums(conn: Connection) -> list[StageSums]:
    """What have stages done so far? By name."""
    return [StageSums(name, int(closed), float(seconds), int(retries), int(done), int(responses), int(tokens),
                      float(cost))
            for name, closed, seconds, retries, done, responses, tokens, cost in conn.execute(_STAGES)]


def playing(conn: Connection) -> list[Playing]:
    """Which runs play now? The newest first."""
    return [Playing(name, iteration, iterations, prompts, stage, done, total, float(lease_s))
            for name, iteration, iterations, prompts, stage, done, total, lease_s in conn.execute(
                _PLAYING, {"most": MOST_RUNS})]


def runs_by_status(conn: Connection) -> dict[str, int]:
    """How many runs have each stored status?"""
    return {status: int(number) for status, number in conn.execute(_STATUSES)}


def quarantined(conn: Connection) -> int:
    """How many prompts could not be answered, by policy?"""
    return int(conn.execute(_QUARANTINED).scalar_one())


def incidents(conn: Connection) -> dict[str, int]:
    """How often has each kind of incident happened? Those that never have are 0."""
    found = {kind: int(number) for kind, number in conn.execute(_INCIDENTS, {"kinds": [*INCIDENTS]})}
    return {kind: found.get(kind, 0) for kind in INCIDENTS}
