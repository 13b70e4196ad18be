"""The summary of a run: what it has done, in figures and examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from api.schema import RunName
from api.service import Here
from eva.config import RunConfig
from store.runs.runs import find_run
from store.views.summary.run_summary import summary_of
from store.views.summary.schema import summary_json

router = APIRouter(prefix="/v1/runs/{run}/summary", tags=["runs"])


@router.get("")
def get_summary(here: Here, run: RunName) -> Mapping[str, Any]:
    """What the run has done so far: the JSON of `eva show --json`. docs/report.md explains every key."""
    # loads the rewarders, which a service that only shows prompts does not need
    from orchestrator.launch.preflight import rewarder_of

    with here.reading() as conn:
        row = find_run(conn, run)
        return summary_json(summary_of(conn, row, rewarder_of(RunConfig.model_validate(row.config))))
