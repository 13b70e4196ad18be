"""Statistics, which are computed once: when a stage or an iteration ends."""

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
    """Figures of one iteration."""

    iteration: int
    """Its iteration; -1: the initial model, before the first."""
    name: str
    """`pool` and `batch` (informativeness, rewards), `diversity`, `audit`, `cost`, `heldout`, `win_rates`,
    `categories` (rewards and gaps by category), `spread` (histograms of the pool), `payoff` (what operators gained),
    `operator_choice` (the probability of each operator, and why, where `evolving.choice` is not uniform)."""
    data: Any
    """The figures."""


class Statistics(Schema):
    """Statistics by iteration and name."""

    items: list[Statistic]
    """The statistics that match the request."""


class Point(Schema):
    """The batch of one iteration in two figures."""

    iteration: int
    """Its iteration."""
    reward: float | None
    """Mean reward of its responses."""
    info: float | None
    """Mean informativeness; with the default metric, the remaining regret."""


class Curve(Schema):
    """How a run went."""

    run: str
    """Its name."""
    points: list[Point]
    """Its last 200 iterations, in order."""


class Curves(Schema):
    """Curves by the name of their run."""

    items: list[Curve]
    """The curves of those requested runs that have any."""


@router.get("/v1/curves")
def read_run_curves(
    here: Here,
    run: Annotated[list[str], Query(max_length=LARGEST_PAGE, description="The full name of a run; may be repeated.")],
) -> Curves:
    """How several runs went, for sparklines in a list of runs."""
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
        list[str] | None, Query(max_length=20, description="Only statistics with this name; may be repeated.")
    ] = None,
    iteration: Annotated[
        int | None, Query(ge=0, le=LARGEST_SMALL, description="Only statistics of this iteration.")
    ] = None,
) -> Statistics:
    """How informative, well rewarded, diverse and expensive each iteration was."""
    with here.reading() as conn:
        rows = list_statistics(conn, find_run(conn, run).id, name, iteration)
    return Statistics(items=[Statistic(iteration=row[0], name=row[1], data=row[2]) for row in rows])
