"""The iterations of a run and their stages."""

from __future__ import annotations

from itertools import groupby

from fastapi import APIRouter

from api.iterations.schemas import Iterations, Stages, iteration_of, stage_of
from api.schema import RunName
from api.service import Here, secrets_in
from store.runs.runs import find_run
from store.runs.stages import read_stages

router = APIRouter(prefix="/v1/runs/{run}", tags=["iterations"])


@router.get("/iterations")
def list_iterations(here: Here, run: RunName) -> Iterations:
    """What was done in each iteration, and how fast."""
    with here.reading() as conn:
        row = find_run(conn, run)
        stages = sorted(read_stages(conn, row.id), key=lambda stage: (stage.iteration, stage.position))
    grouped = groupby(stages, lambda stage: stage.iteration)
    secrets = secrets_in(row)
    return Iterations(items=[iteration_of(number, row.iteration, list(rows), secrets) for number, rows in grouped])


@router.get("/stages")
def list_stages(here: Here, run: RunName) -> Stages:
    """All stages of the run, in the order in which they started."""
    with here.reading() as conn:
        row = find_run(conn, run)
        return Stages(items=[stage_of(stage, secrets_in(row)) for stage in read_stages(conn, row.id)])
