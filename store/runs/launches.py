"""Queries about launches: which runs wait for a driver, and which job each driver is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Select, and_, case, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from store.postgres.values import storable, told
from store.schema.tables import launches, leases, runs

_TAKING = 0x65766C
"""Key of the advisory lock under which one launcher at a time counts and takes."""


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """How a run is started. `restarted` of `restarts` dead drivers were replaced since somebody last asked for one."""

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
class PlayedLaunch:
    """A submitted launch and how its run stands. `silent_s`: seconds since its lease ended; None while it is held, or
    when nobody holds it."""

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
    """The run waits for a driver, behind those that wait already. A policy that is not given stays as it was."""
    policy = {name: value for name, value in (("restarts", restarts), ("backoff_s", backoff_s)) if value is not None}
    fresh = {
        "state": "queued",
        "queued_at": func.clock_timestamp(),
        "not_before": func.clock_timestamp(),
        "restarted": 0,
        "message": None,
        **policy,
    }
    conn.execute(
        upsert(launches)
        .values(run_id=run_id, idempotency_key=key, body_hash=body_hash, **fresh)
        .on_conflict_do_update(index_elements=["run_id"], set_=fresh)
    )


def enqueue_again(conn: Connection, launch: LaunchRow, pause_s: float, *, counts: bool = True) -> None:
    """Its driver died: it keeps its place in the queue, and another one starts after `pause_s`."""
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
    """Which run gets a driver now? The first in the queue, if fewer than `most` have one; its job gets a name.
    With `only`, that run or none."""
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
    if (found := conn.execute(query).one_or_none()) is None:
        return None
    run_id, attempt, name, made = found
    job = job_name(name, made, attempt + 1)
    conn.execute(
        update(launches)
        .where(launches.c.run_id == run_id)
        .values(state="taken", attempt=attempt + 1, job=job, message=None)
    )
    return read_launch(conn, run_id)


def job_name(run: str, made: datetime, attempt: int) -> str:
    """The job of a run's driver. Runs of two databases may have one name; they were not made in one microsecond."""
    return f"eva-{run}-{attempt}-{hashlib.sha256(made.isoformat().encode()).hexdigest()[:6]}"


def set_submitted(conn: Connection, launch: LaunchRow) -> bool:
    """The job is known to Ray. False: somebody has changed the launch meanwhile."""
    same = and_(launches.c.run_id == launch.run_id, launches.c.state == "taken", launches.c.attempt == launch.attempt)
    return conn.execute(update(launches).where(same).values(state="submitted", message=None)).rowcount == 1


def set_message(conn: Connection, launch: LaunchRow, message: str | None) -> None:
    """What the launch waits for."""
    conn.execute(
        update(launches)
        .where(launches.c.run_id == launch.run_id)
        .values(message=None if message is None else told(message))
    )


def set_ended(conn: Connection, run_id: int) -> None:
    """The run needs no driver any more."""
    conn.execute(update(launches).where(launches.c.run_id == run_id).values(state="ended", message=None))


def drop_unwanted(conn: Connection) -> None:
    """Launches of runs that were paused, cancelled or deleted while they waited are over."""
    unwanted = exists().where(runs.c.id == launches.c.run_id, runs.c.status != "queued")
    conn.execute(update(launches).where(launches.c.state == "queued", unwanted).values(state="ended", message=None))


def read_launch(conn: Connection, run_id: int) -> LaunchRow | None:
    """How is the run started? None when no launcher ever did."""
    row = conn.execute(select(launches).where(launches.c.run_id == run_id)).one_or_none()
    return None if row is None else LaunchRow(*row)


def taken(conn: Connection) -> list[LaunchRow]:
    """Which launches have a job that Ray may not know yet?"""
    query = select(launches).where(launches.c.state == "taken").order_by(launches.c.queued_at)
    return [LaunchRow(*row) for row in conn.execute(query)]


def submitted(conn: Connection) -> list[PlayedLaunch]:
    """Which launches have a job, and how do their runs stand?"""
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
        PlayedLaunch(
            LaunchRow(*row[:count]),
            row[count],
            row[count + 1],
            row[count + 2],
            None if row[count + 3] is None else float(row[count + 3]),
        )
        for row in conn.execute(query)
    ]


def ahead(conn: Connection, launch: LaunchRow) -> int:
    """How many runs wait before this one?"""
    before = or_(
        launches.c.queued_at < launch.queued_at,
        and_(launches.c.queued_at == launch.queued_at, launches.c.run_id < launch.run_id),
    )
    return conn.execute(select(func.count()).where(launches.c.state == "queued", before)).scalar_one()


def with_key(conn: Connection, key: str) -> tuple[str, int] | None:
    """The hash of the body and the run of an idempotency key; others who ask wait for this transaction's end."""
    conn.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": storable(key)})
    found = conn.execute(
        select(launches.c.body_hash, launches.c.run_id).where(launches.c.idempotency_key == storable(key))
    ).one_or_none()
    return None if found is None else (str(found[0]), int(found[1]))
