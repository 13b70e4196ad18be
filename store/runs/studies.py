"""Queries about studies: their configs, and the runs that they consist of."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from eva.errors import NotFoundError
from store.postgres.values import clean_json, clean_text
from store.rows import JsonObject
from store.schema.tables import runs, studies, study_runs


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study. `config` is that of eva.studies.study.StudyConfig."""

    id: int
    name: str
    config: JsonObject
    config_hash: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StudyRunRow:
    """A run of a study: an arm on a seed and a given model, or the first iterations that several arms share.

    `iteration` is the one that it plays; it is the number of iterations when the run is finished.
    """

    seed: int
    model: str
    arm: str
    shared: bool
    run_id: int
    run: str
    status: str
    iteration: int
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class StudyCount:
    """How many runs of a study stand where, without those that several arms share."""

    study: StudyRow
    by_status: dict[str, int]


def create_study(conn: Connection, name: str, config: JsonObject, config_hash: str) -> StudyRow:
    """Returns the study with this name, and creates it if there is none."""
    values = {"name": clean_text(name), "config": clean_json(config), "config_hash": config_hash}
    conn.execute(upsert(studies).values(**values).on_conflict_do_nothing(index_elements=["name"]))
    row = conn.execute(select(studies).where(studies.c.name == values["name"])).mappings().one()
    return StudyRow(**row)


def replace_config(conn: Connection, study: int, config: JsonObject, config_hash: str) -> None:
    """Gives a study another config."""
    conn.execute(
        studies.update().where(studies.c.id == study).values(config=clean_json(config), config_hash=config_hash)
    )


def find_study(conn: Connection, name: str) -> StudyRow:
    """Returns the study with this name. Raises NotFoundError with the most similar names."""
    row = conn.execute(select(studies).where(studies.c.name == clean_text(name))).mappings().one_or_none()
    if row is not None:
        return StudyRow(**row)
    names = list(conn.execute(select(studies.c.name).order_by(studies.c.id.desc()).limit(1000)).scalars())
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
    raise NotFoundError(
        f"there is no study {name!r}",
        expected=f"a study such as {', '.join(near)}" if near else "the name of a study, but there are no studies yet",
        next_move="List the studies with `eva study list`" if near else "Start one with `eva study FILE`",
    )


def list_studies(conn: Connection, limit: int | None = None, before_id: int | None = None) -> list[StudyCount]:
    """Returns the studies with the state of their runs, newest first: all, or `limit` of those before `before_id`."""
    query = select(studies).order_by(studies.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(studies.c.id < before_id)
    return _counted(conn, [StudyRow(**row) for row in conn.execute(query).mappings()])


def count_studies(conn: Connection) -> int:
    """Returns how many studies there are."""
    return int(conn.execute(select(func.count()).select_from(studies)).scalar_one())


def count_study(conn: Connection, study: StudyRow) -> StudyCount:
    """Returns a study with the state of its runs."""
    return _counted(conn, [study])[0]


def _counted(conn: Connection, rows: list[StudyRow]) -> list[StudyCount]:
    counts: dict[int, dict[str, int]] = {row.id: {} for row in rows}
    query = (
        select(study_runs.c.study_id, runs.c.status, func.count())
        .join(runs, runs.c.id == study_runs.c.run_id)
        .where(~study_runs.c.shared, study_runs.c.study_id.in_(counts))
        .group_by(study_runs.c.study_id, runs.c.status)
    )
    for study, status, count in conn.execute(query):
        counts[study][status] = count
    return [StudyCount(row, counts[row.id]) for row in rows]


def add_run(conn: Connection, study: int, *, seed: int, model: str, arm: str, shared: bool, run_id: int) -> None:
    """Stores that a run belongs to a study. Does nothing if the study has a run in this place."""
    values = {"study_id": study, "seed": seed, "model": model, "arm": arm, "shared": shared, "run_id": run_id}
    conn.execute(upsert(study_runs).values(**values).on_conflict_do_nothing())


def study_runs_of(conn: Connection, study: int) -> list[StudyRunRow]:
    """Returns the runs of a study by seed, model and arm."""
    columns = study_runs.c
    query = (
        select(
            columns.seed,
            columns.model,
            columns.arm,
            columns.shared,
            columns.run_id,
            runs.c.name,
            runs.c.status,
            runs.c.iteration,
            runs.c.error,
            runs.c.started_at,
            runs.c.finished_at,
        )
        .join(runs, runs.c.id == columns.run_id)
        .where(columns.study_id == study)
        .order_by(columns.seed, columns.model, columns.arm, columns.shared)
    )
    return [StudyRunRow(*row) for row in conn.execute(query)]
