"""Statistics: computed once, when a stage or an iteration ends."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.schema import LARGEST_SMALL, RunName, Schema
from api.service import Here
from store.runs import find_run
from store.statistics import list_statistics

router = APIRouter(prefix="/v1/runs/{run}/statistics", tags=["statistics"])


class Statistic(Schema):
    """A figure, or several, of one iteration."""

    iteration: int
    """Its iteration."""
    name: str
    """`pool` and `batch` (informativeness, rewards), `diversity`, `audit`, `cost`."""
    data: Any
    """The figures."""


class Statistics(Schema):
    """Statistics by iteration and name."""

    items: list[Statistic]
    """All that were asked for."""


@router.get("")
def read_statistics(
    here: Here,
    run: RunName,
    name: Annotated[str | None, Query(max_length=100, description="Only those of this name.")] = None,
    iteration: Annotated[int | None, Query(ge=0, le=LARGEST_SMALL, description="Only those of this one.")] = None,
) -> Statistics:
    """How informative, how well rewarded, how diverse, how expensive was each iteration?"""
    with here.reading() as conn:
        rows = list_statistics(conn, find_run(conn, run).id, name, iteration)
    return Statistics(items=[Statistic(iteration=row[0], name=row[1], data=row[2]) for row in rows])
