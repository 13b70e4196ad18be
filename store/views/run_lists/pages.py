"""Queries that list runs: pages, with each run's state, open stage and driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, literal, null, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from store.postgres.values import clean_text
from store.rows import JsonObject, RunRow
from store.schema.tables import leases, runs, stages
from store.views.run_lists.outcomes import (
    FIRST_HELDOUT,
    HELDOUT,
    NEWEST_HELDOUT,
    SetOutcome,
    later_successes,
    outcome_of,
)
from store.views.run_lists.sorting import config_is, sort_value
from store.views.run_lists.spending import own_cost, own_seconds, own_steps, own_tokens
from store.views.totals import count_rows

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
    seconds: float


@dataclass(frozen=True, slots=True)
class RunSpending:
    """The time that stages took, tokens of the responses that they generated, optimiser steps, and dollars for APIs."""

    seconds: float
    tokens: float
    steps: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class StandingRow:
    """A run and its state. `standing` is one of STATUSES; `held_by` is its driver, or None; `origin` is the name of the
    run that it was forked from; `spent` is what it has spent itself, without what a fork shares.

    `outcome` has its held-out sets, the hardest for its first policy first.
    """

    run: RunRow
    standing: str
    stage: OpenStage | None
    held_by: JsonObject | None
    origin: str | None
    spent: RunSpending
    outcome: tuple[SetOutcome, ...]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Selects runs by state, part of the name, tag, words and time of creation, and with `deleted` deleted ones too.

    Each of the `words` is part of the name, the note or a tag, in upper or lower case, or is true of the config as
    `configs` are: `training.loss=rloo`.
    """

    standings: Sequence[str] = ()
    name: str | None = None
    tag: str | None = None
    words: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    deleted: bool = False
    configs: Sequence[str] = ()


_open = (
    select(
        *(stages.c[name] for name in ("iteration", "name", "status", "attempts", "done", "total", "seconds")),
    )
    .where(stages.c.run_id == runs.c.id, stages.c.status != "done")
    .order_by(stages.c.position.desc())
    .limit(1)
    .lateral("open_stage")
)
_origin = runs.alias("origin")
_spent = (own_seconds(), own_tokens(), own_steps(), own_cost())
_ALIVE = and_(leases.c.run_id == runs.c.id, leases.c.expires_at > func.clock_timestamp())
_standing = case((and_(runs.c.status == "running", leases.c.owner.is_(None)), "interrupted"), else_=runs.c.status)


def read_standing(conn: Connection, run: RunRow) -> StandingRow:
    """Returns a run's state."""
    return _row(conn.execute(_query().where(runs.c.id == run.id)).one())


def run_page(
    conn: Connection, wanted: RunFilter, limit: int, after_id: int | None = None, sort: str = "-created"
) -> list[StandingRow]:
    """Returns a page of runs, of those that come after the run `after_id` in this order.

    Among equal ones the newest come first; those without a value come last in both directions. Raises InputError for
    an unknown order.
    """
    by, falling = sort.removeprefix("-"), sort.startswith("-")
    value = sort_value(by)
    query = _query().where(*_conditions(wanted)).limit(limit)
    if by == "created":
        # the index of the ids gives this order without a look at the other runs
        query = query.order_by(runs.c.id.desc() if falling else runs.c.id)
        if after_id is not None:
            query = query.where(runs.c.id < after_id if falling else runs.c.id > after_id)
    else:
        query = query.order_by(value.desc().nulls_last() if falling else value.nulls_last(), runs.c.id.desc())
        if after_id is not None:
            bound = conn.execute(select(value).where(runs.c.id == after_id)).scalar()
            query = query.where(_beyond(value, bound, after_id, falling=falling))
    return [_row(row) for row in conn.execute(query)]


def count_runs(conn: Connection, wanted: RunFilter) -> int | None:
    """Returns how many runs there are of these, or None if they are too many to count."""
    return count_rows(conn, select(runs.c.id).outerjoin(leases, _ALIVE).where(*_conditions(wanted)))


def _beyond(value: ColumnElement[Any], bound: Any, after_id: int, *, falling: bool) -> ColumnElement[bool]:
    older = runs.c.id < after_id
    if bound is None:
        return and_(value.is_(null()), older)
    last = literal(bound, JSONB)
    return or_(value < last if falling else value > last, and_(value == last, older), value.is_(null()))


@dataclass(frozen=True, slots=True)
class GroupedRun:
    """What lists of groups need of a run: the seconds that its own stages took, and its newest policy's greedy success
    on each held-out set on which an earlier one was evaluated."""

    name: str
    tags: tuple[str, ...]
    config: JsonObject
    seconds: float
    successes: Mapping[str, float]


def runs_to_group(conn: Connection, wanted: RunFilter, limit: int) -> list[GroupedRun]:
    """Returns the newest `limit` runs with their configs."""
    columns = (runs.c.name, runs.c.tags, runs.c.config, own_seconds(), FIRST_HELDOUT, NEWEST_HELDOUT)
    query = select(*columns).select_from(runs).outerjoin(leases, _ALIVE).where(*_conditions(wanted))
    rows = conn.execute(query.order_by(runs.c.id.desc()).limit(limit))
    return [GroupedRun(row[0], tuple(row[1]), row[2], row[3], later_successes(*row[4:])) for row in rows]


def _query() -> Select[*tuple[Any, ...]]:
    return (
        select(*runs.c, _standing, leases.c.owner, _origin.c.name, *_spent, *HELDOUT, *_open.c)
        .select_from(runs)
        .outerjoin(leases, _ALIVE)
        .outerjoin(_open, _open.c.name.is_not(None))
        .outerjoin(_origin, _origin.c.id == runs.c.forked_from)
    )


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [] if wanted.deleted else [runs.c.deleted_at.is_(None)]
    if wanted.standings:
        found.append(_standing.in_(wanted.standings))
    if wanted.name is not None:
        found.append(runs.c.name.contains(clean_text(wanted.name), autoescape=True))
    if wanted.tag is not None:
        found.append(runs.c.tags.contains([clean_text(wanted.tag)]))
    for word in clean_text(wanted.words or "").split():
        tags = func.array_to_string(runs.c.tags, "\n")
        in_text = [each.icontains(word, autoescape=True) for each in (runs.c.name, runs.c.note, tags)]
        found.append(or_(*in_text, *([config_is(word)] if "=" in word[1:] else [])))
    found += [config_is(clean_text(each)) for each in wanted.configs]
    if wanted.created_after is not None:
        found.append(runs.c.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        found.append(runs.c.created_at < wanted.created_before)
    return found


def _row(row: Sequence[Any]) -> StandingRow:
    count = len(runs.c)
    values = dict(zip(runs.c.keys(), row[:count], strict=True))
    values["tags"] = tuple(values["tags"])
    standing, owner, origin, *rest = row[count:]
    spent, rest = rest[: len(_spent)], rest[len(_spent) :]
    heldout, stage = rest[: len(HELDOUT)], rest[len(HELDOUT) :]
    return StandingRow(
        RunRow(**values),
        standing,
        None if stage[0] is None else OpenStage(*stage),
        owner,
        origin,
        RunSpending(*spent),
        outcome_of(*heldout),
    )
