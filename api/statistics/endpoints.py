"""Statistics: computed once, when a stage or an iteration ends."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.schema import LARGEST_PAGE, LARGEST_SMALL, RunName, Schema
from api.service import Here
from store.runs.runs import find_run
from store.views.statistics import list_statistics, read_curves

router = APIRouter(tags=["statistics"])


class Statistic(Schema):
    """A figure, or several, of one iteration."""

    iteration: int
    """Its iteration; -1 for what the given model did before the first."""
    name: str
    """`pool` and `batch` (informativeness, rewards), `diversity`, `audit`, `cost`, `heldout`, `win_rates`,
    `spread` (histograms of the pool), `payoff` (what operators gained)."""
    data: Any
    """The figures."""


class Statistics(Schema):
    """Statistics by iteration and name."""

    items: list[Statistic]
    """All that were asked for."""


class Point(Schema):
    """What the batch of one iteration was worth."""

    iteration: int
    """Its iteration."""
    reward: float | None
    """Mean reward of its responses."""
    info: float | None
    """Mean informativeness: the regret that is left, with the default metric."""


class Curve(Schema):
    """How a run went, in a few numbers."""

    run: str
    """Its name."""
    points: list[Point]
    """Its last 200 iterations, in order."""


class Curves(Schema):
    """Curves by the name of their run."""

    items: list[Curve]
    """Of the runs asked for that have any."""


@router.get("/v1/curves")
def read_run_curves(
    here: Here,
    run: Annotated[list[str], Query(max_length=LARGEST_PAGE, description="Names in full; may be repeated.")],
) -> Curves:
    """How did several runs go? For sparklines beside a list of runs."""
    with here.reading() as conn:
        rows = read_curves(conn, run)
    return Curves(
        items=[
            Curve(run=name, points=[Point.model_validate(row) for row in points])
            for name, points in groupby(rows, lambda row: row.run)
        ]
    )


@router.get("/v1/runs/{run}/statistics")
def read_statistics(
    here: Here,
    run: RunName,
    name: Annotated[
        list[str] | None, Query(max_length=20, description="Only those of this name; may be repeated.")
    ] = None,
    iteration: Annotated[int | None, Query(ge=0, le=LARGEST_SMALL, description="Only those of this one.")] = None,
) -> Statistics:
    """How informative, how well rewarded, how diverse, how expensive was each iteration?"""
    with here.reading() as conn:
        rows = list_statistics(conn, find_run(conn, run).id, name, iteration)
    return Statistics(items=[Statistic(iteration=row[0], name=row[1], data=row[2]) for row in rows])
