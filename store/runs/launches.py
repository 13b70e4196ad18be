"""Queries about launches: which runs are waiting for a driver, and which Ray job each driver runs as."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Select, and_, case, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from store.postgres.values import clean_text, redacted_text
from store.schema.tables import launches, leases, runs

_TAKING = 0x65766C
"""Key of the advisory lock that lets one launcher at a time take a run from the queue."""


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """A run's launch. Since it was last requested, `restarted` of at most `restarts` dead drivers were replaced."""

    run_id: int
    state: Literal["queued", "taken", "submitted", "ended"]
    attempt: int
    job: str | None
    queued_at: datetime
    not_before: datetime
    restarts: int
    restarted: int
    backoff_s: float
    message: str | None
    idempotency_key: str | None
    body_hash: str | None


@dataclass(frozen=True, slots=True)
class SubmittedLaunch:
    """A launch whose job was submitted, and its run's state.

    `held`: a driver holds the run's lease. `silent_s`: seconds since the lease expired; None while it is held or when
    nobody has it.
    """

    launch: LaunchRow
    name: str
    status: str
    held: bool
    silent_s: float | None


def enqueue(
    conn: Connection,
    run_id: int,
    *,
    restarts: int | None = None,
    backoff_s: float | None = None,
    key: str | None = None,
    body_hash: str | None = None,
) -> None:
    """Puts a run at the end of the queue. A restart setting that is None stays as it was."""
    settings = {name: value for name, value in (("restarts", restarts), ("backoff_s", backoff_s)) if value is not None}
    fresh = {
        "state": "queued",
        "queued_at": func.clock_timestamp(),
        "not_before": func.clock_timestamp(),
        "restarted": 0,
        "message": None,
        **settings,
    }
    conn.execute(
        upsert(launches)
        .values(run_id=run_id, idempotency_key=key, body_hash=body_hash, **fresh)
        .on_conflict_do_update(index_elements=["run_id"], set_=fresh)
    )


def enqueue_again(conn: Connection, launch: LaunchRow, pause_s: float, *, counts: bool = True) -> None:
    """Queues a run again after its driver died: at its old position, and not before `pause_s` have passed.

    With `counts`, this uses up one of its restarts.
    """
    conn.execute(
        update(launches)
        .where(launches.c.run_id == launch.run_id)
        .values(
            state="queued",
            restarted=launches.c.restarted + int(counts),
            message=None,
            not_before=func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, pause_s),
        )
    )


def take_next(conn: Connection, most: int, only: int | None = None) -> LaunchRow | None:
    """Takes the first run from the queue and names its job, if fewer than `most` runs have one; else returns None.

    With `only`, takes that run or none.
    """
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TAKING})
    active = conn.execute(select(func.count()).where(launches.c.state.in_(("taken", "submitted")))).scalar_one()
    if active >= most:
        return None
    query = (
        select(launches.c.run_id, launches.c.attempt, runs.c.name, runs.c.created_at)
        .join(runs, runs.c.id == launches.c.run_id)
        .where(
            launches.c.state == "queued",
            launches.c.not_before <= func.clock_timestamp(),
            runs.c.status == "queued",
            *([] if only is None else [runs.c.id == only]),
        )
        .order_by(launches.c.queued_at, launches.c.run_id)
        .limit(1)
        .with_for_update(of=launches)
    )
    if (row := conn.execute(query).one_or_none()) is None:
        return None
    run_id, attempt, name, created_at = row
    job = job_name(name, created_at, attempt + 1)
    conn.execute(
        update(launches)
        .where(launches.c.run_id == run_id)
        .values(state="taken", attempt=attempt + 1, job=job, message=None)
    )
    return read_launch(conn, run_id)


def job_name(run: str, created_at: datetime, attempt: int) -> str:
    """Returns the name of a driver's job. The digest tells apart runs of the same name in two databases."""
    return f"eva-{run}-{attempt}-{hashlib.sha256(created_at.isoformat().encode()).hexdigest()[:6]}"


def set_submitted(conn: Connection, launch: LaunchRow) -> bool:
    """Notes that Ray has the job. False: the launch was changed meanwhile."""
    unchanged = and_(
        launches.c.run_id == launch.run_id, launches.c.state == "taken", launches.c.attempt == launch.attempt
    )
    return conn.execute(update(launches).where(unchanged).values(state="submitted", message=None)).rowcount == 1


def set_message(conn: Connection, launch: LaunchRow, message: str | None) -> None:
    """Stores what the launch is waiting for."""
    conn.execute(
        update(launches)
        .where(launches.c.run_id == launch.run_id)
        .values(message=None if message is None else redacted_text(message))
    )


def set_ended(conn: Connection, run_id: int) -> None:
    """Ends a launch: the run needs no driver any more."""
    conn.execute(update(launches).where(launches.c.run_id == run_id).values(state="ended", message=None))


def end_unwanted(conn: Connection) -> None:
    """Ends the launches of runs that were paused, cancelled or deleted while they were queued."""
    unwanted = exists().where(runs.c.id == launches.c.run_id, runs.c.status != "queued")
    conn.execute(update(launches).where(launches.c.state == "queued", unwanted).values(state="ended", message=None))


def read_launch(conn: Connection, run_id: int) -> LaunchRow | None:
    """Returns the run's launch, or None when the run was never queued."""
    row = conn.execute(select(launches).where(launches.c.run_id == run_id)).one_or_none()
    return None if row is None else LaunchRow(*row)


def list_taken(conn: Connection) -> list[LaunchRow]:
    """Returns the launches that have a job which Ray may not know yet, oldest first."""
    query = select(launches).where(launches.c.state == "taken").order_by(launches.c.queued_at)
    return [LaunchRow(*row) for row in conn.execute(query)]


def list_submitted(conn: Connection) -> list[SubmittedLaunch]:
    """Returns the launches whose jobs were submitted, with the states of their runs, oldest first."""
    now = func.clock_timestamp()
    held = and_(leases.c.owner.is_not(None), leases.c.expires_at > now)
    silent = case((held, None), else_=func.extract("epoch", now - leases.c.expires_at))
    query: Select[Any] = (
        select(*launches.c, runs.c.name, runs.c.status, func.coalesce(held, False), silent)
        .join(runs, runs.c.id == launches.c.run_id)
        .join(leases, leases.c.run_id == launches.c.run_id)
        .where(launches.c.state == "submitted")
        .order_by(launches.c.queued_at)
    )
    count = len(launches.c)
    return [
        SubmittedLaunch(
            LaunchRow(*row[:count]),
            row[count],
            row[count + 1],
            row[count + 2],
            None if row[count + 3] is None else float(row[count + 3]),
        )
        for row in conn.execute(query)
    ]


def count_ahead(conn: Connection, launch: LaunchRow) -> int:
    """Counts the runs that are in the queue before this one."""
    before = or_(
        launches.c.queued_at < launch.queued_at,
        and_(launches.c.queued_at == launch.queued_at, launches.c.run_id < launch.run_id),
    )
    return conn.execute(select(func.count()).where(launches.c.state == "queued", before)).scalar_one()


def find_by_key(conn: Connection, key: str) -> tuple[str, int] | None:
    """Returns the body's hash and the run of an idempotency key, or None.

    Locks the key until the transaction ends, so that two requests with one key do not both launch.
    """
    conn.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": clean_text(key)})
    row = conn.execute(
        select(launches.c.body_hash, launches.c.run_id).where(launches.c.idempotency_key == clean_text(key))
    ).one_or_none()
    return None if row is None else (str(row[0]), int(row[1]))
