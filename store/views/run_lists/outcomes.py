"""What runs have achieved on held-out prompts: their first policy that was evaluated, and their newest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, column, func, select, true
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

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

    `newest` is None until a second policy is evaluated; `best` is the one with the largest success so far, of equal
    ones that with the largest reward, then the first. The changes are None where the statistic has none, because an
    older version of eva stored it or the first policy is not the initial model.
    """

    split: str
    first: PolicyScore
    newest: PolicyScore | None
    best: PolicyScore
    success_change: PairedChange | None
    reward_change: PairedChange | None


def _statistic(name: str, order: ColumnElement[Any]) -> ScalarSelect[Any]:
    of_run = (statistics.c.run_id == runs.c.id, statistics.c.name == name)
    return select(statistics.c.data).where(*of_run).order_by(order).limit(1).correlate(runs).scalar_subquery()


FIRST_HELDOUT = _statistic("heldout", statistics.c.iteration.asc())
NEWEST_HELDOUT = _statistic("heldout", statistics.c.iteration.desc())
NEWEST_BATCH = _statistic("batch", statistics.c.iteration.desc())
"""Parts of a query of runs: their oldest or newest statistic of this name."""


def _best_of_sets() -> ScalarSelect[Any]:
    elements = func.jsonb_array_elements(statistics.c.data).table_valued(column("value", JSONB)).lateral("elements")
    scores = elements.c.value
    split, best_first = scores["split"], (scores["accuracy"].desc(), scores["reward"].desc(), scores["checkpoint"])
    best = (
        select(scores.label("scores"))
        .select_from(statistics.join(elements, true()))
        .where(statistics.c.run_id == runs.c.id, statistics.c.name == "heldout", scores["mode"].astext == "greedy")
        .ext(distinct_on(split))
        .order_by(split, *best_first)
        .correlate(runs)
        .subquery("best")
    )
    return select(func.jsonb_agg(best.c.scores, type_=JSONB)).select_from(best).correlate(runs).scalar_subquery()


BEST_HELDOUT = _best_of_sets()
"""Part of a query of runs: the scores of their best policy on each held-out set."""
HELDOUT = (FIRST_HELDOUT, NEWEST_HELDOUT, BEST_HELDOUT)
"""What `outcome_of` reads."""


def run_outcome(conn: Connection, run_id: int) -> tuple[SetOutcome, ...]:
    """What a run has achieved so far."""
    return outcome_of(*conn.execute(select(*HELDOUT).where(runs.c.id == run_id)).one())


def outcome_of(
    first: Sequence[JsonObject] | None, newest: Sequence[JsonObject] | None, best: Sequence[JsonObject] | None
) -> tuple[SetOutcome, ...]:
    """What a run's HELDOUT says of the greedy responses; the hardest set for the first policy comes first."""
    before, after, top = (
        {scores["split"]: scores for scores in each or () if scores["mode"] == "greedy"}
        for each in (first, newest, best)
    )
    sets = [_set_outcome(scores, after.get(split), top[split]) for split, scores in before.items()]
    return tuple(sorted(sets, key=lambda row: (row.first.success, row.first.reward or 0.0, row.split)))


def later_successes(first: Sequence[JsonObject] | None, newest: Sequence[JsonObject] | None) -> dict[str, float]:
    """The greedy success of a run's newest policy on each held-out set on which its first policy was another one.

    The arguments are the run's FIRST_HELDOUT and NEWEST_HELDOUT.
    """
    before = {scores["split"]: scores["checkpoint"] for scores in first or () if scores["mode"] == "greedy"}
    greedy = (scores for scores in newest or () if scores["mode"] == "greedy" and scores["split"] in before)
    return {each["split"]: each["accuracy"] for each in greedy if each["checkpoint"] != before[each["split"]]}


def _set_outcome(first: JsonObject, newest: JsonObject | None, best: JsonObject) -> SetOutcome:
    if newest is None or newest["checkpoint"] == first["checkpoint"]:
        return SetOutcome(first["split"], _score(first), None, _score(best), None, None)
    changes = (_change(newest, "change"), _change(newest, "reward_change")) if not first["checkpoint"] else (None, None)
    return SetOutcome(first["split"], _score(first), _score(newest), _score(best), *changes)


def _score(scores: JsonObject) -> PolicyScore:
    return PolicyScore(scores["checkpoint"], scores["accuracy"], scores["reward"])


def _change(scores: JsonObject, name: str) -> PairedChange | None:
    value, interval = scores.get(name), scores.get(f"{name}_interval")
    return None if value is None or interval is None else PairedChange(value, *interval)
