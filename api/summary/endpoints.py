"""A run in a few figures and examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from api.schema import RunName
from api.service import Here
from api.summary.facts import summary_of
from store.runs.runs import find_run

router = APIRouter(prefix="/v1/runs/{run}/summary", tags=["runs"])


@router.get("")
def get_summary(here: Here, run: RunName) -> Mapping[str, Any]:
    """What has the run done so far? What `eva show --json` prints: docs/report.md says what each key means."""
    with here.reading() as conn:
        return summary_of(conn, find_run(conn, run))
