"""Queries about launches of studies: which wait for a driver, and which Ray job plays each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Select, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from store.postgres.values import redacted_text
from store.schema.tables import studies, study_launches

_TAKING = 0x65767C
"""Key of the advisory lock that lets one launcher at a time take a study from the queue."""


@dataclass(frozen=True, slots=True)
class StudyLaunch:
    """A study's launch. `attempt` counts its drivers; `job` is the Ray job of the latest one."""

    study_id: int
    name: str
    state: Literal["queued", "taken", "submitted", "ended"]
    attempt: int
    job: str | None
    message: str | None


def enqueue_study(conn: Connection, study: int) -> None:
    """Puts a study at the end of the queue. Does nothing while it is queued or played."""
    fresh = {"state": "queued", "queued_at": func.clock_timestamp(), "message": None}
    conn.execute(
        upsert(study_launches)
        .values(study_id=study, **fresh)
        .on_conflict_do_update(index_elements=["study_id"], set_=fresh, where=study_launches.c.state == "ended")
    )


def take_next_study(conn: Connection) -> StudyLaunch | None:
    """Takes the first study from the queue and names its job; None while another study is played."""
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TAKING})
    played = study_launches.c.state.in_(("taken", "submitted"))
    if conn.execute(select(func.count()).where(played)).scalar_one():
        return None
    query = (
        select(study_launches.c.study_id, study_launches.c.attempt, studies.c.name, studies.c.created_at)
        .join(studies, studies.c.id == study_launches.c.study_id)
        .where(study_launches.c.state == "queued")
        .order_by(study_launches.c.queued_at, study_launches.c.study_id)
        .limit(1)
    )
    if (row := conn.execute(query).one_or_none()) is None:
        return None
    study, attempt, name, created_at = row
    # the digest tells apart studies of the same name in two databases
    digest = hashlib.sha256(created_at.isoformat().encode()).hexdigest()[:6]
    conn.execute(
        update(study_launches)
        .where(study_launches.c.study_id == study)
        .values(state="taken", attempt=attempt + 1, job=f"eva-study-{name}-{attempt + 1}-{digest}")
    )
    return read_study_launch(conn, study)


def set_study_submitted(conn: Connection, launch: StudyLaunch) -> None:
    """Notes that Ray has the job."""
    conn.execute(
        update(study_launches)
        .where(study_launches.c.study_id == launch.study_id, study_launches.c.attempt == launch.attempt)
        .values(state="submitted", message=None)
    )


def set_study_message(conn: Connection, launch: StudyLaunch, message: str) -> None:
    """Stores what the launch is waiting for."""
    conn.execute(
        update(study_launches)
        .where(study_launches.c.study_id == launch.study_id)
        .values(message=redacted_text(message))
    )


def set_study_ended(conn: Connection, launch: StudyLaunch, message: str | None) -> None:
    """Ends a launch, with the last lines of its job if it ended early."""
    conn.execute(
        update(study_launches)
        .where(study_launches.c.study_id == launch.study_id, study_launches.c.attempt == launch.attempt)
        .values(state="ended", message=None if message is None else redacted_text(message))
    )


def read_study_launch(conn: Connection, study: int) -> StudyLaunch | None:
    """Returns the study's launch, or None when no service was asked to play it."""
    row = conn.execute(_launches().where(study_launches.c.study_id == study)).one_or_none()
    return None if row is None else StudyLaunch(*row)


def list_study_launches(conn: Connection, state: str | None = None) -> list[StudyLaunch]:
    """Returns the launches in this state, or all, oldest first."""
    query = _launches().order_by(study_launches.c.queued_at, study_launches.c.study_id)
    if state is not None:
        query = query.where(study_launches.c.state == state)
    return [StudyLaunch(*row) for row in conn.execute(query)]


def _launches() -> Select[*tuple[Any, ...]]:
    columns = study_launches.c
    return select(columns.study_id, studies.c.name, columns.state, columns.attempt, columns.job, columns.message).join(
        studies, studies.c.id == columns.study_id
    )
