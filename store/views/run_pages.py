"""Queries that list runs: pages, with each run's state, open stage and driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, and_, case, func, select

from store.postgres.values import clean_text
from store.rows import JsonObject, RunRow
from store.schema.tables import leases, runs, stages, statistics

STATUSES = ("created", "queued", "running", "interrupted", "paused", "finished", "failed", "cancelled")
"""The values of `standing`: a run's stored status, or `interrupted` when that is running but no driver holds it."""


@dataclass(frozen=True, slots=True)
class OpenStage:
    """The newest stage that is not done."""

    iteration: int
    name: str
    status: str
    attempts: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class PolicyScore:
    """A policy's greedy responses to a held-out set: the share that succeed, and their mean reward."""

    policy: int
    success: float
    reward: float | None


@dataclass(frozen=True, slots=True)
class PairedChange:
    """A difference between two policies with its 95 % interval, paired by prompt."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SetOutcome:
    """What a run has achieved on a held-out set: its first policy that was evaluated, and its newest one.

    `newest` is None until a second policy is evaluated. The changes are None where the statistic has none, because an
    older version of eva stored it or the first policy is not the initial model.
    """

    split: str
    first: PolicyScore
    newest: PolicyScore | None
    success_change: PairedChange | None
    reward_change: PairedChange | None


@dataclass(frozen=True, slots=True)
class StandingRow:
    """A run and its state. `standing` is one of STATUSES; `held_by` is its driver, or None; `origin` is the name of the
    run that it was forked from; `outcome` has its held-out sets, the hardest for its first policy first."""

    run: RunRow
    standing: str
    stage: OpenStage | None
    held_by: JsonObject | None
    origin: str | None
    outcome: tuple[SetOutcome, ...]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Selects runs by state, part of the name, tag and time of creation. With `deleted`, deleted runs are included."""

    standings: Sequence[str] = ()
    name: str | None = None
    tag: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    deleted: bool = False


_open = (
    select(stages.c.iteration, stages.c.name, stages.c.status, stages.c.attempts, stages.c.done, stages.c.total)
    .where(stages.c.run_id == runs.c.id, stages.c.status != "done")
    .order_by(stages.c.position.desc())
    .limit(1)
    .lateral("open_stage")
)
_origin = runs.alias("origin")


def _heldout(order: ColumnElement[Any]) -> ScalarSelect[Any]:
    of_run = (statistics.c.run_id == runs.c.id, statistics.c.name == "heldout")
    return select(statistics.c.data).where(*of_run).order_by(order).limit(1).scalar_subquery()


_first, _newest = _heldout(statistics.c.iteration.asc()), _heldout(statistics.c.iteration.desc())
_standing = case((and_(runs.c.status == "running", leases.c.owner.is_(None)), "interrupted"), else_=runs.c.status)


def read_standing(conn: Connection, run: RunRow) -> StandingRow:
    """Returns a run's state."""
    return _row(conn.execute(_query().where(runs.c.id == run.id)).one())


def run_page(conn: Connection, wanted: RunFilter, limit: int, before_id: int | None = None) -> list[StandingRow]:
    """Returns a page of runs, newest first, of those older than `before_id`."""
    query = _query().order_by(runs.c.id.desc()).limit(limit)
    for condition in _conditions(wanted):
        query = query.where(condition)
    if before_id is not None:
        query = query.where(runs.c.id < before_id)
    return [_row(row) for row in conn.execute(query)]


def _query() -> Select[Any]:
    alive = and_(leases.c.run_id == runs.c.id, leases.c.expires_at > func.clock_timestamp())
    return (
        select(*runs.c, _standing, leases.c.owner, _origin.c.name, _first, _newest, *_open.c)
        .select_from(runs)
        .outerjoin(leases, alive)
        .outerjoin(_open, _open.c.name.is_not(None))
        .outerjoin(_origin, _origin.c.id == runs.c.forked_from)
    )


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [] if wanted.deleted else [runs.c.deleted_at.is_(None)]
    if wanted.standings:
        conditions.append(_standing.in_(wanted.standings))
    if wanted.name is not None:
        conditions.append(runs.c.name.contains(clean_text(wanted.name), autoescape=True))
    if wanted.tag is not None:
        conditions.append(runs.c.tags.contains([clean_text(wanted.tag)]))
    if wanted.created_after is not None:
        conditions.append(runs.c.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(runs.c.created_at < wanted.created_before)
    return conditions


def _row(row: Sequence[Any]) -> StandingRow:
    count = len(runs.c)
    values = dict(zip(runs.c.keys(), row[:count], strict=True))
    values["tags"] = tuple(values["tags"])
    standing, owner, origin, first, newest, *stage = row[count:]
    return StandingRow(
        RunRow(**values),
        standing,
        None if stage[0] is None else OpenStage(*stage),
        owner,
        origin,
        _outcome(first or [], newest or []),
    )


def _outcome(first: Sequence[JsonObject], newest: Sequence[JsonObject]) -> tuple[SetOutcome, ...]:
    """What two statistics "heldout" say of the greedy responses."""
    before, after = (
        {scores["split"]: scores for scores in each if scores["mode"] == "greedy"} for each in (first, newest)
    )
    sets = [_set_outcome(scores, after.get(split)) for split, scores in before.items()]
    return tuple(sorted(sets, key=lambda row: (row.first.success, row.first.reward or 0.0, row.split)))


def _set_outcome(first: JsonObject, newest: JsonObject | None) -> SetOutcome:
    if newest is None or newest["checkpoint"] == first["checkpoint"]:
        return SetOutcome(first["split"], _score(first), None, None, None)
    changes = (_change(newest, "change"), _change(newest, "reward_change")) if not first["checkpoint"] else (None, None)
    return SetOutcome(first["split"], _score(first), _score(newest), *changes)


def _score(scores: JsonObject) -> PolicyScore:
    return PolicyScore(scores["checkpoint"], scores["accuracy"], scores["reward"])


def _change(scores: JsonObject, name: str) -> PairedChange | None:
    value, interval = scores.get(name), scores.get(f"{name}_interval")
    return None if value is None or interval is None else PairedChange(value, *interval)
