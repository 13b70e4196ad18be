"""What runs have achieved on held-out prompts: their first policy that was evaluated, and their newest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, select

from store.rows import JsonObject
from store.schema.tables import runs, statistics


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


def _statistic(name: str, order: ColumnElement[Any]) -> ScalarSelect[Any]:
    of_run = (statistics.c.run_id == runs.c.id, statistics.c.name == name)
    return select(statistics.c.data).where(*of_run).order_by(order).limit(1).correlate(runs).scalar_subquery()


FIRST_HELDOUT = _statistic("heldout", statistics.c.iteration.asc())
NEWEST_HELDOUT = _statistic("heldout", statistics.c.iteration.desc())
NEWEST_BATCH = _statistic("batch", statistics.c.iteration.desc())
"""Parts of a query of runs: their oldest or newest statistic of this name."""


def run_outcome(conn: Connection, run_id: int) -> tuple[SetOutcome, ...]:
    """What a run has achieved so far."""
    return outcome_of(*conn.execute(select(FIRST_HELDOUT, NEWEST_HELDOUT).where(runs.c.id == run_id)).one())


def outcome_of(first: Sequence[JsonObject] | None, newest: Sequence[JsonObject] | None) -> tuple[SetOutcome, ...]:
    """What two statistics "heldout" say of the greedy responses; the hardest set for the first policy comes first."""
    before, after = (
        {scores["split"]: scores for scores in each or () if scores["mode"] == "greedy"} for each in (first, newest)
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
