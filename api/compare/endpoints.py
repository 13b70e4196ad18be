"""Comparisons of runs: their configs, and their results."""

from __future__ import annotations

from itertools import accumulate
from math import sqrt
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from api.compare.schemas import ComparedRun, Comparison, ConfigDifference, CurvePoint, HeldoutPoint, Paired
from api.service import Here, secrets_in
from eva.config.changes import flatten
from eva.errors import InputError
from eva.runtime.redaction import redact_json
from store.rows import RunRow
from store.runs.runs import find_run
from store.views import run_comparison
from store.views.report import heldout_scores
from store.views.run_lists.pages import read_standing
from store.views.statistics import get_statistics

router = APIRouter(prefix="/v1/compare", tags=["compare"])

FEWEST, MOST = 2, 6


@router.get("")
def compare_runs(
    here: Here,
    run: Annotated[
        list[str],
        Query(
            min_length=FEWEST,
            max_length=MOST,
            description="Runs, each as a name, the unique beginning of one, or `last`.",
        ),
    ],
) -> Comparison:
    """How the configs of runs differ, how each run went, and which responded better to the same prompts."""
    with here.reading() as conn:
        return compare(conn, run)


def compare(conn: Connection, references: list[str]) -> Comparison:
    """Compares runs; each with the first one. Raises NotFoundError, and InputError when a run is named twice."""
    rows = [find_run(conn, reference[:200]) for reference in references]
    if not FEWEST <= len({row.id for row in rows}) == len(rows):
        raise InputError(
            f"the runs are {', '.join(row.name for row in rows)}",
            expected="two or more different runs",
            next_move="Name each run once",
        )
    first, *others = rows
    return Comparison(
        runs=[
            _run(conn, row, 0 if row is first else run_comparison.shared_iterations(conn, first.id, row.id))
            for row in rows
        ],
        config=_differing(rows),
        paired=[paired for row in others for paired in _paired(conn, first, row)],
    )


def _differing(rows: list[RunRow]) -> list[ConfigDifference]:
    configs = [flatten(redact_json(row.config, secrets_in(row))) for row in rows]
    keys = sorted({key for config in configs for key in config})
    values = {key: [config.get(key) for config in configs] for key in keys}
    return [
        ConfigDifference(key=key, values=row) for key, row in values.items() if any(value != row[0] for value in row)
    ]


def _run(conn: Connection, row: RunRow, shared: int) -> ComparedRun:
    batches, costs, diversity = (get_statistics(conn, row.id, name) for name in ("batch", "cost", "diversity"))
    took = run_comparison.seconds_of(conn, row.id)
    until = dict(zip(took, accumulate(took.values()), strict=True))
    tokens = dict(zip(costs, accumulate(int(cost["tokens"]) for cost in costs.values()), strict=True))
    fleet: dict[str, Any] = row.config.get("fleet", {})
    gpus = fleet.get("engines", 1) * fleet.get("gpus_per_engine", 0)
    curve = [
        CurvePoint(
            iteration=t,
            seconds=seconds,
            gpu_seconds=seconds * gpus,
            tokens=tokens.get(t),
            effective_roots=diversity.get(t, {}).get("effective_roots"),
            **{name: batches.get(t, {}).get(name) for name in ("reward_mean", "reward_best", "info_mean")},
        )
        for t, seconds in until.items()
    ]
    success = row.config.get("evaluation", {}).get("success", 1.0)
    heldout = [
        HeldoutPoint(
            checkpoint=score.checkpoint,
            seconds=until.get(score.checkpoint - 1, 0.0),
            split=score.split,
            mode=score.mode,
            responses=score.n,
            accuracy=score.correct / score.n,
            reward_mean=score.reward,
        )
        for score in heldout_scores(conn, row.id, success)
    ]
    return ComparedRun(
        name=row.name,
        status=read_standing(conn, row).standing,
        seed=row.seed,
        shared=shared,
        curve=curve,
        heldout=heldout,
    )


def _paired(conn: Connection, first: RunRow, other: RunRow) -> list[Paired]:
    rows = (
        *run_comparison.paired_over_seeds(conn, first.id, other.id),
        *run_comparison.paired_over_heldout(conn, first.id, other.id),
    )
    return [
        Paired(
            run=other.name,
            prompts=paired.prompts,
            mode=paired.mode,
            rewarder=paired.rewarder,
            checkpoint=paired.checkpoint,
            count=paired.count,
            first=paired.first,
            second=paired.second,
            difference=paired.difference,
            standard_error=None if paired.deviation is None else paired.deviation / sqrt(paired.count),
            better=paired.better,
            worse=paired.worse,
        )
        for paired in rows
    ]
